"""Which studies a pipeline has, what they are for, and what their label values mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medseg.config.schema import PipelineConfig
from medseg.errors import ConfigError, ManifestError
from medseg.runs.studies import label_map_of, load_studies, segmentation_map, studies_to_score
from medseg.types import LabelMap, Study

Config = Callable[..., PipelineConfig]


def _study(label_map: str = "") -> Study:
    return Study("a", "a", "0", Path("a.nii.gz"), Path("b.nii.gz"), label_map)


class TestStudies:
    @pytest.mark.parametrize(
        ("split", "expected"),
        [("auto", ("test", ["phantom_004", "phantom_005"])), ("validation", ("validation", ["phantom_000"]))],
    )
    def test_split_to_score(self, tiny_config: Config, split: str, expected: tuple[str, list[str]]) -> None:
        config = tiny_config(f"evaluation.split={split}")
        name, chosen = studies_to_score(config, load_studies(config)[1])
        assert (name, [s.study_id for s in chosen]) == expected

    def _manifest(self, phantoms: Path, tmp_path: Path, rows: int, test: int = 0) -> list[str]:
        """The first rows, without folds, and the last ``test`` of them in fold test but without a label."""
        header, *lines = (phantoms / "manifest.csv").read_text().splitlines()
        cells = [line.split(",") for line in lines[:rows]]
        for number, row in enumerate(cells):
            row[2] = "test" if number >= rows - test else ""
            row[4] = "" if number >= rows - test else row[4]
        path = tmp_path / "own.csv"
        path.write_text("\n".join([header, *map(",".join, cells)]) + "\n")
        return [f"data.manifest={path}"]

    def test_auto_passes_over_test_studies_without_labels(
        self, tiny_config: Config, phantoms: Path, tmp_path: Path
    ) -> None:
        config = tiny_config(*self._manifest(phantoms, tmp_path, 6, test=2), "data.fold=1")
        name, chosen = studies_to_score(config, load_studies(config)[1])
        assert name == "validation"
        assert chosen

    def test_folds_by_subject_are_given_to_studies_without_one(
        self, tiny_config: Config, phantoms: Path, tmp_path: Path
    ) -> None:
        studies, splits = load_studies(tiny_config(*self._manifest(phantoms, tmp_path, 6)))
        assert {s.fold for s in studies} == {"0", "1", "2", "3", "4"}
        assert len(splits.train) + len(splits.validation) == 6
        studies, _ = load_studies(tiny_config(*self._manifest(phantoms, tmp_path, 3)))
        assert {s.fold for s in studies} == {"0", "1", "2"}

    def test_one_study_alone_trains_on_all_and_has_no_folds(
        self, tiny_config: Config, phantoms: Path, tmp_path: Path
    ) -> None:
        one = self._manifest(phantoms, tmp_path, 1)
        with pytest.raises(ManifestError, match=r"have no fold; fill the column, or set data\.fold to all"):
            load_studies(tiny_config(*one))
        _, splits = load_studies(tiny_config(*one, "data.fold=all"))
        assert [s.study_id for s in splits.train] == ["phantom_000"]


class TestLabels:
    def test_pipelines_labels_are_the_default(self, tiny_config: Config) -> None:
        assert label_map_of(tiny_config())(_study()) == LabelMap({"liver": (1,), "tumour": (2,)})

    def test_other_maps_keep_the_pipelines_class_order(self, tiny_config: Config) -> None:
        config = tiny_config("data.label_maps={organs: {tumour: 9, liver: [5, 6], ignore: 7, background: rest}}")
        found = label_map_of(config)(_study("organs"))
        assert found == LabelMap({"liver": (5, 6), "tumour": (9,)}, ignore=(7,), rest_is_background=True)

    def test_class_that_another_map_leaves_out_does_not_occur(self, tiny_config: Config) -> None:
        config = tiny_config("data.label_maps={organs: {liver: 5, background: rest}}")
        assert label_map_of(config)(_study("organs")).classes == {"liver": (5,), "tumour": ()}

    def test_map_that_the_pipeline_does_not_have_names_the_study_and_the_choices(self, tiny_config: Config) -> None:
        config = tiny_config("data.label_maps={organs: {liver: 5}, lits: {liver: 1}}")
        with pytest.raises(
            ConfigError, match=r"a: the manifest's label_map is 'msd'; data\.label_maps has lits, organs"
        ):
            label_map_of(config)(_study("msd"))

    def test_own_segmentations_have_value_c_for_class_c(self) -> None:
        assert segmentation_map(["liver", "tumour"]) == LabelMap({"liver": (1,), "tumour": (2,)})
