"""From run folders to a section that the model then uses; label maps with known faults stand in for training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.config.load import dump, load_pipeline
from medseg.config.schema import PipelineConfig
from medseg.errors import CheckpointError, ConfigError, ManifestError, StudyError
from medseg.evaluation.candidates import Step
from medseg.evaluation.tuning import Gain, Tuning
from medseg.inference import segmenter as segmenters
from medseg.inference.load import load_segmenter
from medseg.inference.request import Request
from medseg.inference.result import Segmentation
from medseg.model.folder import save_model
from medseg.model.postprocess import Inside, PostProcessing
from medseg.reports.progress import Display
from medseg.runs import build
from medseg.runs.folder import RunFolder, new_run
from medseg.runs.studies import segmentation_map
from medseg.runs.tune import as_yaml, tune_postprocessing, write_into_model
from medseg.study.inputs import read_input
from medseg.study.manifest import read_manifest, write_manifest
from medseg.study.nifti import read_fractions, read_labels
from medseg.types import StudyInput, Volume

QUIET = Display(quiet=True)
SECTION = {"inside": {"tumour": {"of": ["liver"], "margin_mm": 20.0}}}


def make_run(config: PipelineConfig, folds: dict[str, str] | None = None) -> Path:
    """A run folder as training leaves it, with random weights."""
    folder = new_run(config, f"-fold{config.data.fold}")
    studies = read_manifest(config.data.manifest, config.data.root)
    changed = [type(s)(**{**s.__dict__, "fold": (folds or {}).get(s.study_id, s.fold)}) for s in studies]
    write_manifest(folder.manifest, changed, config.data.root)
    save_model(folder.model, build.network(config), build.model_spec(config))
    return folder.path


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every study comes out as its reference with a tumour in the corner; a list of what was segmented."""
    seen: list[str] = []

    paths: list[Path] = []

    def read(study: StudyInput) -> Volume:
        paths.append(study.path)
        return read_input(study)

    def segment(self: segmenters.Segmenter, image: Volume, request: Request) -> Segmentation:
        assert request.postprocess is not None
        assert request.postprocess.cleaned == ()
        names = self.spec.classes.names
        seen.append(paths[-1].name)
        label = paths[-1].parents[1] / "labels" / paths[-1].name
        classes = read_labels(label, segmentation_map(names)).voxels.copy()
        classes[0, 0, 0] = 2
        probabilities = {n: np.uint8(255) * (classes == c) for c, n in enumerate(names, start=1)}
        return Segmentation(classes, names, probabilities if request.probabilities else {})

    monkeypatch.setattr("medseg.study.inputs.read_input", read)
    monkeypatch.setattr(segmenters.Segmenter, "segment", segment)
    return seen


Config = Callable[..., PipelineConfig]


@pytest.mark.parametrize("tried", [None, False])
def test_the_step_that_mends_is_found_on_the_validation_fold_and_used_by_the_model(
    tiny_config: Config, faulty: list[str], tried: bool | None
) -> None:
    config = tiny_config("inference.postprocess.fill_holes=[liver]", "inference.postprocess.thresholds={tumour: 0.3}")
    run = make_run(config)
    tuning = tune_postprocessing([run], thresholds=tried, device="cpu", display=QUIET)
    assert faulty == ["phantom_000.nii.gz"]  # fold 0 alone
    assert tuning.studies == 1
    assert tuning.section == SECTION
    assert any(gain.step.kind == "thresholds" for gain in tuning.refused) is (tried is None)
    path = write_into_model(run, tuning)
    written = load_segmenter(run, "cpu").spec.inference
    kept = {} if tried is None else {"tumour": 0.3}
    assert written.postprocess == PostProcessing(kept, {"tumour": Inside(("liver",), 20.0)})
    assert written.overlap == 0.25
    assert sorted(p.name for p in path.parent.iterdir()) == ["model.json", "weights.safetensors"]


def test_a_second_call_segments_nothing_again_until_the_weights_change(tiny_config: Config, faulty: list[str]) -> None:
    run = make_run(tiny_config())
    first = tune_postprocessing([run], device="cpu", display=QUIET)
    write_into_model(run, first)  # post-processing is no part of a raw label map
    assert tune_postprocessing([run], device="cpu", display=QUIET) == first
    assert len(faulty) == 1
    stored = sorted(p.name for p in run.glob("tuning/*/*"))
    assert stored == [f"phantom_000{end}.nii.gz" for end in ("", "__probability_1", "__probability_2")]
    assert len(tune_postprocessing([run], thresholds=False, device="cpu", display=QUIET).refused) < len(first.refused)
    assert len(faulty) == 2  # the models' own thresholds are a setting of their own
    other = build.network(tiny_config("training.seed=1"))
    save_model(run / "model", other, build.model_spec(tiny_config()))
    tune_postprocessing([run], device="cpu", display=QUIET)
    assert len(faulty) == 3


def test_folds_are_pooled_each_segmented_by_its_own_run(tiny_config: Config, faulty: list[str]) -> None:
    runs = [make_run(tiny_config(f"data.fold={fold}")) for fold in (0, 2)]
    assert tune_postprocessing(runs, device="cpu", display=QUIET).studies == 2
    assert faulty == ["phantom_000.nii.gz", "phantom_002.nii.gz"]
    assert [len(list(run.glob("tuning/*/*.nii.gz"))) for run in runs] == [3, 3]


def test_a_study_twice_is_refused(tiny_config: Config, faulty: list[str]) -> None:
    runs = [make_run(tiny_config()), make_run(tiny_config())]
    with pytest.raises(
        ManifestError, match=r"phantom_000: a validation study of .* and of .*give each fold's run once"
    ):
        tune_postprocessing(runs, display=QUIET)
    assert faulty == []


def test_a_test_study_of_any_run_is_refused(tiny_config: Config, faulty: list[str]) -> None:
    runs = [make_run(tiny_config()), make_run(tiny_config("data.fold=4"), {"phantom_004": "4"})]
    with pytest.raises(ManifestError, match=r"phantom_004: .* nothing is tuned on test studies"):
        tune_postprocessing(runs, display=QUIET)
    assert faulty == []


def test_runs_without_validation_or_with_other_classes_are_refused(tiny_config: Config) -> None:
    everything = make_run(tiny_config("data.fold=all"))
    with pytest.raises(ConfigError, match=r"data\.fold all, so no study is left to tune on"):
        tune_postprocessing([everything], display=QUIET)
    runs = [make_run(tiny_config()), make_run(tiny_config("labels.tumour=[2, 3]", "labels.vein=4", "data.fold=1"))]
    with pytest.raises(ConfigError, match="expected the classes"):
        tune_postprocessing(runs, display=QUIET)


@pytest.mark.parametrize("missing", ["config.yaml", "manifest.csv", "model/model.json"])
def test_what_is_no_run_folder_is_refused(tiny_config: Config, missing: str) -> None:
    run = make_run(tiny_config())
    (run / missing).unlink()
    with pytest.raises(CheckpointError, match=f"found no {Path(missing).name} in it"):
        tune_postprocessing([run], display=QUIET)


def test_a_broken_study_is_left_out_and_nothing_but_broken_ones_is_an_error(
    tiny_config: Config, tmp_path: Path, phantoms: Path, faulty: list[str]
) -> None:
    root = tmp_path / "data"
    shutil.copytree(phantoms, root)
    runs = [make_run(tiny_config(f"data.root={root}", f"data.fold={fold}")) for fold in (0, 1)]
    (root / "images" / "phantom_001.nii.gz").write_bytes(b"no image")
    assert tune_postprocessing(runs, device="cpu", display=QUIET).studies == 1
    with pytest.raises(StudyError, match="none of the 1 validation studies"):
        tune_postprocessing(runs[1:], device="cpu", display=QUIET)


def test_the_yaml_can_be_included(tiny: Path) -> None:
    fragment = tiny.parent / "tuned.yaml"
    fragment.write_text(as_yaml(SECTION))
    tiny.write_text("include: tuned.yaml\n" + tiny.read_text())
    config = load_pipeline(tiny)
    assert config.inference.postprocess.inside["tumour"].margin_mm == 20.0
    assert "margin_mm: 20.0" in dump(config)
    assert load_pipeline(tiny, ["inference.overlap=0.5"]).inference.postprocess.keep_largest == ()


def test_a_model_older_than_the_section_is_written_anew(tiny_config: Config) -> None:
    run = make_run(tiny_config())
    path = RunFolder(run).model / "model.json"
    today = json.loads(path.read_text())
    entries = {key: today[key] for key in ("network", "options", "preprocessing")} | {
        "format": 1,
        "spatial_dims": 3,
        "in_channels": 1,
        "class_names": ["liver", "tumour"],
        "mode": "patch",
        "slab_neighbours": 0,
        "inference": {"size": [16, 16, 16], "keep_largest": ["tumour"]},
    }
    path.write_text(json.dumps(entries))
    assert load_segmenter(run, "cpu").spec.inference.postprocess == PostProcessing(keep_largest=("tumour",))
    write_into_model(run, Tuning((Gain(Step("fill_holes", "liver"), 0.5, 1.0, 1, 0),), (), 1))
    assert load_segmenter(run, "cpu").spec.inference.postprocess == PostProcessing(fill_holes=("liver",))


def test_the_network_itself_segments_without_post_processing(tiny_config: Config, monkeypatch: Any) -> None:
    config = tiny_config("inference.postprocess.minimum_ml={liver: 1000, tumour: 1000}")  # would clear everything
    run = make_run(config)
    tune_postprocessing([run], device="cpu", display=QUIET)
    (raw,) = run.glob("tuning/*/phantom_000.nii.gz")
    liver = read_fractions(raw.with_name("phantom_000__probability_1.nii.gz"))
    assert liver.dtype == np.uint8
    assert len(np.unique(liver)) > 2
    classes = read_labels(raw, segmentation_map(config.label_map.names)).voxels
    assert np.count_nonzero(classes) > 0
