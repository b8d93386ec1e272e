"""`segment` and `tune-postprocessing`."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from medseg.tracking import registry
from tests.cli.ended import Ended, Medseg


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with an untrained network for patches of 16 voxels."""
    from medseg.model.classes import Classes
    from medseg.model.folder import save_model
    from medseg.model.inference import Inference
    from medseg.model.spec import ModelSpec
    from medseg.model.view import View
    from medseg.networks import build_network
    from medseg.transforms.settings import Preprocessing

    options = {"channels": (4, 8), "strides": (2,), "num_res_units": 0}
    preprocessing = Preprocessing(spacing_mm=(8, 8, 8), intensity_range_hu=(-100, 240))
    inference = Inference(window_size=(16, 16, 16), overlap=0.0)
    folder = tmp_path_factory.mktemp("model")
    spec = ModelSpec("unet", options, Classes(("liver",)), View(), preprocessing, inference)
    save_model(folder, build_network("unet", 3, 1, 2, **options), spec)
    return folder


class TestSegment:
    def _segment(self, medseg: Medseg, model: Path, source: Path, tmp_path: Path, *more: object) -> Ended:
        return medseg("segment", "--model", model, "--input", source, "--output", tmp_path / "out", *more)

    def test_folder_gives_a_label_map_a_study(
        self, medseg: Medseg, model: Path, phantoms: Path, tmp_path: Path
    ) -> None:
        ended = self._segment(medseg, model, phantoms / "images", tmp_path, "--device", "cpu", "--quiet")
        assert (ended.code, ended.err) == (0, "")
        lines = ended.out.splitlines()
        assert lines[0] == "6 of 6 studies segmented"
        assert re.fullmatch(rf"[\d.]+ studies a minute, log: {tmp_path / 'out' / 'segment.jsonl'}", lines[1])
        names = sorted(p.name for p in (tmp_path / "out").glob("*.nii.gz"))
        assert names == [f"phantom_00{n}.nii.gz" for n in range(6)]

    def test_manifest_names_the_studies(self, medseg: Medseg, model: Path, phantoms: Path, tmp_path: Path) -> None:
        manifest = tmp_path / "own.csv"
        manifest.write_text("".join((phantoms / "manifest.csv").open().readlines()[:2]))
        ended = self._segment(medseg, model, manifest, tmp_path, "--root", phantoms)
        assert (ended.code, "1 of 1 studies" in ended.out) == (0, True)

    def test_broken_study_gives_code_1_and_stops_no_other(
        self, medseg: Medseg, model: Path, phantoms: Path, tmp_path: Path
    ) -> None:
        images = tmp_path / "images"
        images.mkdir()
        shutil.copy(phantoms / "images" / "phantom_005.nii.gz", images / "whole.nii.gz")
        (images / "broken.nii.gz").write_bytes((images / "whole.nii.gz").read_bytes()[:2000])
        ended = self._segment(medseg, model, images, tmp_path)
        assert ended.code == 1
        lines = ended.out.splitlines()
        assert lines[:2] == ["1 of 2 studies segmented", "1 failed:"]
        assert re.match("  broken: .*cut short", lines[2])
        assert re.fullmatch(r"segmenting: 2\n\[2/2\] whole ok [\d.]+ s\n", ended.err)  # pytest has the log
        assert [p.name for p in (tmp_path / "out").glob("*.nii.gz")] == ["whole.nii.gz"]

    def test_second_run_skips_again_does_not_and_json_is_one_line_each(
        self, medseg: Medseg, model: Path, phantoms: Path, tmp_path: Path
    ) -> None:
        def statuses(*more: object) -> list[str]:
            ended = self._segment(medseg, model, phantoms / "images", tmp_path, "--json", "--shard", "1/3", *more)
            *studies, summary = [json.loads(line) for line in ended.out.splitlines()]
            assert [study["study_id"] for study in studies] == ["phantom_000", "phantom_003"]
            assert (summary["studies"], summary["failures"]) == (2, {})
            return [study["status"] for study in studies]

        assert [statuses(), statuses(), statuses("--again")] == [["ok"] * 2, ["skipped"] * 2, ["ok"] * 2]
        (tmp_path / "out" / "phantom_003.nii.gz").unlink()
        assert statuses() == ["skipped", "ok"]

    def test_formats_are_named_by_write_or_by_their_old_flags(
        self, medseg: Medseg, model: Path, phantoms: Path, tmp_path: Path
    ) -> None:
        def names(*more: object) -> list[str]:
            image, output = phantoms / "images" / "phantom_000.nii.gz", tmp_path / "_".join(map(str, more))
            assert medseg("segment", "--model", model, "--input", image, "--output", output, *more).code == 0
            return sorted(path.name.removeprefix("phantom_000") for path in output.iterdir())

        always, mask, probability = [".nii.gz", "segment.jsonl"], "__liver.nii.gz", "__probability_liver.nii.gz"
        assert names() == [".json", *always]
        assert names("--no-document") == always
        written = [".nii.gz", mask, probability, "__uncertainty.nii.gz", "segment.jsonl"]
        new = ("--write", "masks", "--write", "probabilities", "--write", "uncertainty")
        assert names(*new, "--no-document") == written
        old = ("--masks", "--probabilities", "liver", "--uncertainty", "entropy")
        assert names(*old, "--no-document") == written
        assert names("--write", "label_map", "--dicom-seg") == [".json", *always]  # no DICOM, and the document says so

    def test_new_format_is_one_row_and_one_function(
        self, medseg: Medseg, model: Path, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from medseg.batch.writers import WRITERS, Segmented, Writer

        def write_names(path: Path, study: Segmented, part: str) -> None:
            path.write_text(" ".join(study.segmentation.class_names))

        image = phantoms / "images" / "phantom_000.nii.gz"
        monkeypatch.setitem(WRITERS, "names", Writer("names of the classes", ".txt", write_names))
        assert self._segment(medseg, model, image, tmp_path, "--write", "names").code == 0
        assert (tmp_path / "out" / "phantom_000.txt").read_text() == "liver"
        assert "phantom_000.txt" in (tmp_path / "out" / "phantom_000.json").read_text()
        ended = self._segment(medseg, model, image, tmp_path, "--write", "name")
        assert (ended.code, "or names, found 'name'" in ended.err) == (2, True)

    def test_help_lists_the_formats(self, medseg: Medseg) -> None:
        text = " ".join(medseg("segment", "--help").out.replace("│", " ").split())
        assert "label_map (always), masks (0 and 1, for each class)" in text

    @pytest.mark.slow
    def test_two_workers_give_the_same_label_maps(
        self, medseg: Medseg, model: Path, phantoms: Path, tmp_path: Path
    ) -> None:
        manifest = tmp_path / "two.csv"
        manifest.write_text("".join((phantoms / "manifest.csv").open().readlines()[:3]))
        for workers in (1, 2):
            output = ("--output", tmp_path / f"out{workers}")
            arguments = ("--model", model, "--input", manifest, "--root", phantoms, "--workers", workers)
            assert medseg("segment", *arguments, *output, "--device", "cpu").code == 0
        for name in ("phantom_000.nii.gz", "phantom_001.nii.gz"):
            assert (tmp_path / "out1" / name).read_bytes() == (tmp_path / "out2" / name).read_bytes()

    def test_model_can_be_named_by_its_mlflow_uri(
        self, medseg: Medseg, model: Path, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = []
        monkeypatch.setattr(registry, "download_model", lambda uri: asked.append(uri) or model)
        image = phantoms / "images" / "phantom_000.nii.gz"
        ended = medseg("segment", "--model", "models:/liver@champion", "--input", image, "--output", tmp_path / "out")
        assert (ended.code, asked) == (0, ["models:/liver@champion"])

    def test_interruption_by_sigterm_is_code_143(
        self, medseg: Medseg, model: Path, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from medseg.inference.segmenter import Segmenter

        monkeypatch.setattr(Segmenter, "segment", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        ended = self._segment(medseg, model, phantoms / "images", tmp_path)
        assert (ended.code, ended.err.splitlines()[-1]) == (143, "interrupted; the same command goes on")
        assert list((tmp_path / "out").iterdir()) == []

    def test_what_is_no_model_no_input_or_no_device_is_code_2(
        self, medseg: Medseg, model: Path, phantoms: Path, tmp_path: Path
    ) -> None:
        empty = tmp_path / "empty"
        empty.mkdir()
        assert "or DICOM files in this folder, found none" in self._segment(medseg, model, empty, tmp_path).err
        assert "expected a model folder" in self._segment(medseg, empty, phantoms / "images", tmp_path).err
        assert "such as 1/8" in self._segment(medseg, model, phantoms / "images", tmp_path, "--shard", "3/2").err
        assert self._segment(medseg, model, phantoms / "images", tmp_path, "--device", "gpu").code == 2
        assert "found spleen" in self._segment(medseg, model, empty, tmp_path, "--lesions", "spleen").err
        assert not (tmp_path / "out").exists()


def test_tune_postprocessing_prints_writes_and_changes_the_model(
    medseg: Medseg, tiny_config: Any, tmp_path: Path
) -> None:
    from medseg.model.folder import read_spec, save_model
    from medseg.model.postprocess import PostProcessing
    from medseg.runs import build
    from medseg.runs.folder import new_run

    config = tiny_config()
    folder = new_run(config)
    shutil.copy(config.data.manifest, folder.manifest)
    save_model(folder.model, build.network(config), build.model_spec(config))
    yaml = tmp_path / "tuned.yaml"
    before = (folder.model / "model.json").read_text()
    ended = medseg("tune-postprocessing", folder.path, "--device", "cpu", "--quiet", "--min-gain", 1, "--output", yaml)
    assert (ended.code, ended.err) == (0, "")
    assert "gains too little" in ended.out
    assert yaml.read_text() == "inference:\n  postprocess: {}\n"
    assert yaml.read_text() in ended.out
    assert (folder.model / "model.json").read_text() == before
    assert (
        medseg("tune-postprocessing", folder.path, "--device", "cpu", "--quiet", "--min-gain", 1, "--write").code == 0
    )
    assert read_spec(folder.model).inference.postprocess == PostProcessing()
    assert medseg("tune-postprocessing", tmp_path, "--quiet").code == 2
