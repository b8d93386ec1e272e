"""The command line in this process: what each command prints, writes and returns; a mistake is one message, code 2."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg import __version__, cli, tracking
from medseg.config.schema import PipelineConfig
from medseg.reports.progress import Display
from medseg.study.nifti import write_labels
from medseg.study.phantom import SMALL
from medseg.tracking import registry
from medseg.types import Grid, Volume


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Medseg = Callable[..., Ended]


@pytest.fixture
def medseg(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Medseg:
    def medseg(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["medseg", *map(str, arguments)])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Ended(code, out, err)

    return medseg


def test_help_is_cheap() -> None:
    code = (
        "import sys; sys.argv = ['medseg', '--help']; from medseg.cli import main\n"
        "try: main()\n"
        "except SystemExit: print('LOADED', *sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    shown, _, loaded = out.partition("LOADED")
    assert all(name in shown for name in ("run", "train", "segment", "evaluate", "networks", "phantom", "check", "ui"))
    assert not {"torch", "monai", "mlflow", "SimpleITK", "itk", "matplotlib", "numpy", "pydantic_core"} & set(
        loaded.split()
    )


def test_python_m_medseg_is_the_same_program() -> None:
    done = subprocess.run([sys.executable, "-m", "medseg", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"{__version__}\n"


class TestMistakes:
    def test_three_mistakes_are_told_at_once_each_with_its_line(self, medseg: Medseg, tiny: Path) -> None:
        text = tiny.read_text().replace("mode: patch", "mode: slices").replace("epochs: 2", "epohs: 2")
        tiny.write_text(text.replace("name: unet", "name: unett"))
        ended = medseg("run", tiny)
        assert ended.code == 2
        lines = ended.err.splitlines()
        assert len(lines) == 3
        for line, (key, number, nearest) in zip(
            lines,
            [
                ("data.mode", 8, "slice"),
                ("network.name", 12, "unet"),
                ("training.epohs", 14, "epochs"),
            ],
            strict=True,
        ):
            assert re.search(rf"tiny\.yaml:{number}: {re.escape(key)}: .*{nearest}", line), line

    def test_wrong_override_is_named(self, medseg: Medseg, tiny: Path) -> None:
        ended = medseg("train", tiny, "training.epochs=ten")
        assert ended.code == 2
        assert "override 1 (training.epochs=ten)" in ended.err

    def test_missing_pipeline_and_manifest(self, medseg: Medseg, tiny: Path, tmp_path: Path) -> None:
        assert medseg("run", tmp_path / "none.yaml").code == 2
        ended = medseg("run", tiny, f"data.manifest={tmp_path / 'none.csv'}")
        assert ended.code == 2
        assert ended.err.startswith("error: ")
        assert "no such manifest" in ended.err

    def test_manifest_that_leaves_its_root_is_refused_with_the_row(
        self, medseg: Medseg, tiny: Path, phantoms: Path, tmp_path: Path
    ) -> None:
        manifest = tmp_path / "own.csv"
        manifest.write_text((phantoms / "manifest.csv").read_text().replace("images/phantom_001", "../phantom_001"))
        ended = medseg("run", tiny, f"data.manifest={manifest}")
        assert ended.code == 2
        assert "own.csv:3: image: '../phantom_001.nii.gz' leaves the root" in ended.err

    def test_unknown_command_and_option(self, medseg: Medseg) -> None:
        assert medseg("trian").code == 2
        assert medseg("networks", "--clases", 3).code == 2

    def test_nothing_to_resume(self, medseg: Medseg, tiny: Path) -> None:
        ended = medseg("run", tiny, "--resume", "last")
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.startswith("error: nothing to resume")

    def test_resume_and_cross_validation_do_not_go_together(self, medseg: Medseg, tiny: Path) -> None:
        ended = medseg("run", tiny, "--resume", "last", "--cross-validate")
        assert ended.code == 2
        assert "without --cross-validate" in ended.err

    @pytest.mark.parametrize(
        ("error", "code", "text"),
        [
            (OSError(28, "No space left on device", "last.ckpt"), 2, "error: No space left on device: last.ckpt"),
            (FloatingPointError("the loss is nan"), 2, "error: the loss is nan"),
            (KeyboardInterrupt(), 130, "interrupted"),
        ],
        ids=["full disk", "nan", "Ctrl-C"],
    )
    def test_what_ends_a_run_is_one_line(
        self, medseg: Medseg, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, text: str
    ) -> None:
        def fail() -> None:
            raise error

        monkeypatch.setattr(cli, "app", fail)
        ended = medseg()
        assert (ended.code, ended.err.strip()) == (code, text)


def test_version(medseg: Medseg) -> None:
    assert medseg("--version") == Ended(0, f"{__version__}\n", "")


def test_networks_lists_the_table(medseg: Medseg) -> None:
    ended = medseg("networks", "--num-classes", 3)
    assert ended.code == 0
    for name in ("fcn", "segnet", "deeplabv3plus", "unet"):
        assert re.search(rf"^\s*{name}\s", ended.out, re.M)


class TestNetworks:
    def test_one_network_as_json_with_its_options_and_the_costs_of_a_patch(self, medseg: Medseg) -> None:
        ended = medseg("networks", "--name", "segnet", "--small", "--json", "--patch", 32, 32, 16)
        row = json.loads(ended.out)
        assert (ended.code, row["name"], row["patch_size"]) == (0, "segnet", [32, 32, 16])
        assert row["macs"] > 0
        assert row["receptive_field"] == [32, 32, 16]
        assert {"name": "stages", "default": 5}.items() <= next(
            o for o in row["takes"] if o["name"] == "stages"
        ).items()

    def test_one_network_as_a_page(self, medseg: Medseg) -> None:
        ended = medseg("networks", "--name", "segnet", "--small")
        assert ended.code == 0
        assert re.search(r"^ *stages +5 ", ended.out, re.M)

    def test_all_as_json(self, medseg: Medseg) -> None:
        from medseg.networks import NETWORKS

        rows = json.loads(medseg("networks", "--small", "--json").out)
        assert [row["name"] for row in rows] == list(NETWORKS)
        assert all(row["macs"] is None for row in rows)

    @pytest.mark.parametrize("arguments", [("--patch",), ("--patch", 64), ("64", 64), ("--patch", 9, 9, 9, 9)])
    def test_a_patch_has_two_or_three_sizes(self, medseg: Medseg, arguments: tuple[object, ...]) -> None:
        ended = medseg("networks", *arguments)
        assert ended.code == 2
        assert "--patch: expected two or three sizes, as in --patch 128 128 64" in ended.err

    def test_an_unknown_name_is_a_message(self, medseg: Medseg) -> None:
        ended = medseg("networks", "--name", "segnett")
        assert ended.code == 2
        assert "did you mean 'segnet'?" in ended.err


def test_schema_writes_both_files(medseg: Medseg, tmp_path: Path) -> None:
    ended = medseg("schema", "--output", tmp_path)
    assert [Path(line).name for line in ended.out.split()] == ["pipeline.schema.json", "fragment.schema.json"]
    assert "training" in json.loads((tmp_path / "pipeline.schema.json").read_text())["properties"]


class TestPhantom:
    def test_studies_and_manifest_are_written(
        self, medseg: Medseg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from medseg.study import phantom

        plain = phantom.write_phantoms
        monkeypatch.setattr(phantom, "write_phantoms", lambda *args: plain(*args, options=SMALL))
        ended = medseg("phantom", "--output", tmp_path, "--studies", 2, "--seed", 5)
        assert ended == Ended(0, f"2 studies: {tmp_path / 'manifest.csv'}\n", "")
        assert len(list((tmp_path / "images").iterdir())) == 2

    @pytest.mark.parametrize("option", [("--studies", 0), ("--seed", -1)])
    def test_senseless_numbers_are_refused(self, medseg: Medseg, tmp_path: Path, option: tuple[str, int]) -> None:
        assert medseg("phantom", "--output", tmp_path, *option).code == 2


class TestManifest:
    def _pairs(self, phantoms: Path, folder: Path, count: int) -> Path:
        for kind in ("images", "labels"):
            (folder / kind).mkdir(parents=True)
            for path in sorted((phantoms / kind).iterdir())[:count]:
                shutil.copy(path, folder / kind)
        return folder

    def _folds(self, path: Path) -> list[str]:
        return [line.split(",")[2] for line in path.read_text().splitlines()[1:]]

    def test_folder_is_recognised_and_cut_into_folds(self, medseg: Medseg, phantoms: Path, tmp_path: Path) -> None:
        folder, output = self._pairs(phantoms, tmp_path / "data", 6), tmp_path / "own.csv"
        ended = medseg("manifest", folder, "--output", output, "--folds", 3)
        assert ended.code == 0
        assert "recognised folders images and labels: 6 training and 0 test studies" in ended.out
        assert f"data.manifest={output} data.root={folder}" in ended.out
        assert sorted(self._folds(output)) == ["0", "0", "1", "1", "2", "2"]

    def test_fewer_subjects_than_folds_lower_the_number_and_it_is_said(
        self, medseg: Medseg, phantoms: Path, tmp_path: Path
    ) -> None:
        ended = medseg("manifest", self._pairs(phantoms, tmp_path / "data", 3), "--output", tmp_path / "own.csv")
        assert ended.code == 0
        assert "3 subjects are too few for 5 folds; made 3 folds" in ended.out
        assert sorted(self._folds(tmp_path / "own.csv")) == ["0", "1", "2"]

    def test_one_subject_gets_no_fold(self, medseg: Medseg, phantoms: Path, tmp_path: Path) -> None:
        ended = medseg("manifest", self._pairs(phantoms, tmp_path / "data", 1), "--output", tmp_path / "own.csv")
        assert ended.code == 0
        assert "train with data.fold=all" in ended.out
        assert self._folds(tmp_path / "own.csv") == [""]

    def test_empty_folder_is_an_error(self, medseg: Medseg, tmp_path: Path) -> None:
        ended = medseg("manifest", tmp_path, "--output", tmp_path / "own.csv")
        assert ended.code == 2
        assert ended.err.startswith("error: ")
        assert not (tmp_path / "own.csv").exists()


class TestCheck:
    def test_good_pipeline_is_a_table_and_a_count(self, medseg: Medseg, tiny: Path) -> None:
        ended = medseg("check", tiny)
        assert ended.code == 0
        assert "6 studies (3 train, 1 validate, 2 test): 0 errors" in ended.out
        assert re.search(r"phantom_000 .*3,521 +189", ended.out)

    def test_headers_only_reads_no_voxels(self, medseg: Medseg, tiny: Path) -> None:
        assert re.search(r"phantom_000 .* - +- *$", medseg("check", tiny, "--headers-only").out, re.M)

    def test_every_broken_study_is_named_and_the_code_is_1(
        self, medseg: Medseg, tiny: Path, phantoms: Path, tmp_path: Path
    ) -> None:
        folder = tmp_path / "damaged"
        shutil.copytree(phantoms, folder)
        image = folder / "images" / "phantom_001.nii.gz"
        image.write_bytes(image.read_bytes()[:2000])
        shutil.copy(folder / "labels" / "phantom_000.nii.gz", folder / "labels" / "phantom_003.nii.gz")
        ended = medseg("check", tiny, f"data.manifest={folder / 'manifest.csv'}", f"data.root={folder}")
        assert ended.code == 1
        assert re.search(r"^error: phantom_001: ", ended.out, re.M)
        assert re.search(r"^error: phantom_003: .*grid", ended.out, re.M)
        assert "2 errors" in ended.out

    def test_label_values_that_nothing_names_are_found(self, medseg: Medseg, tiny: Path) -> None:
        tiny.write_text(tiny.read_text().replace("labels: {liver: 1, tumour: 2}", "labels: {liver: 1}"))
        ended = medseg("check", tiny)
        assert ended.code == 1
        assert "2" in re.search(r"^error: phantom_000: (.*)$", ended.out, re.M)[1]  # type: ignore[index]


class TestEvaluate:
    @pytest.fixture
    def folders(self, tmp_path: Path) -> tuple[Path, Path]:
        grid = Grid((4, 4, 4), np.eye(4))
        reference, found = np.zeros(grid.shape, np.uint8), np.zeros(grid.shape, np.uint8)
        reference[0], reference[1] = 1, 2  # 16 voxels each
        found[0, :2], found[1] = 1, 1
        for folder, voxels in (("reference", reference), ("found", found)):
            write_labels(tmp_path / folder / "a.nii.gz", voxels, Volume(voxels, grid))
        return tmp_path / "reference", tmp_path / "found"

    def _evaluate(self, medseg: Medseg, folders: tuple[Path, Path], labels: str, *more: str) -> Ended:
        output = folders[0].parent / "eval.csv"
        arguments = ["--reference", folders[0], "--segmentation", folders[1], "--output", output, "--labels", labels]
        return medseg("evaluate", *arguments, *more)

    def test_scores_are_printed_and_written(self, medseg: Medseg, folders: tuple[Path, Path]) -> None:
        ended = self._evaluate(medseg, folders, "liver=1+2", "--segmentation-labels", "liver=1")
        assert ended.code == 0
        assert re.search(r"liver +Dice .*0\.857", ended.out)  # 2 * 24 / (32 + 24)
        document = json.loads((folders[0].parent / "eval.json").read_text())
        assert document["studies"][0]["rows"][0]["dice"] == pytest.approx(48 / 56)
        assert "a,liver,0.857" in (folders[0].parent / "eval.csv").read_text()

    def test_study_that_cannot_be_scored_gives_code_1(self, medseg: Medseg, folders: tuple[Path, Path]) -> None:
        shutil.copy(folders[0] / "a.nii.gz", folders[0] / "b.nii.gz")
        ended = self._evaluate(medseg, folders, "liver=1,tumour=2")
        assert ended.code == 1
        assert "1 failed, not scored (reasons above): b" in ended.err
        assert re.search(r"tumour +Dice .*0\.000", ended.out)

    def test_labels_of_the_wrong_form_are_explained(self, medseg: Medseg, folders: tuple[Path, Path]) -> None:
        ended = self._evaluate(medseg, folders, "liver")
        assert ended.code == 2
        assert "expected name=value pairs such as liver=1,tumour=2+3" in ended.err


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with an untrained network for patches of 16 voxels."""
    from medseg.inference.model import save_model
    from medseg.networks import build_network
    from medseg.types import ModelSpec

    options = {"channels": (4, 8), "strides": (2,), "num_res_units": 0}
    preprocessing = {
        "spacing_mm": (8, 8, 8),
        "intensity_range_hu": (-100, 240),
        "crop_to_body": True,
        "antialias": True,
    }
    inference = {"size": (16, 16, 16), "overlap": 0.0}
    folder = tmp_path_factory.mktemp("model")
    spec = ModelSpec("unet", options, 3, 1, ("liver",), "patch", 0, preprocessing, inference)
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

        monkeypatch.setattr(Segmenter, "segment_volume", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
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
        assert not (tmp_path / "out").exists()


class TestRun:
    def test_train_then_run_resumed_then_complete(self, medseg: Medseg, tiny: Path, tmp_path: Path) -> None:
        trained = medseg("train", tiny, "training.epochs=1")
        assert trained.code == 0
        folder = re.search(r"^run folder: (.*)$", trained.out, re.M)[1]  # type: ignore[index]
        assert Path(folder).parent == tmp_path / "runs" / "tiny"
        done = medseg("run", tiny, "training.epochs=1", "--resume", folder)
        assert done.code == 0
        assert "test studies, each scored on its own grid:" in done.out
        assert re.search(r"liver +Dice", done.out)
        assert f"run folder: {folder}" in done.out
        assert "medseg ui" not in done.out
        assert "is complete" in medseg("run", tiny, "training.epochs=1", "--resume", "last").err

    def test_failed_study_gives_code_1(self, medseg: Medseg, tiny: Path, phantoms: Path, tmp_path: Path) -> None:
        folder = tmp_path / "damaged"
        shutil.copytree(phantoms, folder)
        image = folder / "images" / "phantom_005.nii.gz"
        image.write_bytes(image.read_bytes()[:2000])
        overrides = [f"data.manifest={folder / 'manifest.csv'}", f"data.root={folder}", "training.epochs=1"]
        ended = medseg("run", tiny, *overrides)
        assert ended.code == 1
        assert "1 failed, not scored (reasons above): phantom_005" in ended.err

    def test_cross_validation_prints_the_mean_over_the_folds(
        self, medseg: Medseg, tiny: Path, phantoms: Path, tmp_path: Path
    ) -> None:
        lines = (phantoms / "manifest.csv").read_text().splitlines(keepends=True)
        (tmp_path / "two.csv").write_text("".join(lines[:3]))
        ended = medseg("run", tiny, f"data.manifest={tmp_path / 'two.csv'}", "training.epochs=1", "--cross-validate")
        assert ended.code == 0
        assert ended.out.count("validation studies, each scored on its own grid") == 2
        assert re.search(r"^cv/dice/liver +\d\.\d{4}$", ended.out, re.M)
        assert re.search(r"^cv/dice_sd/liver +\d\.\d{4}$", ended.out, re.M)

    def test_other_ranks_print_no_result(self, tiny_config: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RANK", "1")
        monkeypatch.setenv("WORLD_SIZE", "2")
        cli._print_result(None, tiny_config())  # type: ignore[arg-type]
        assert capsys.readouterr().out == ""


def test_tune_postprocessing_prints_writes_and_changes_the_model(
    medseg: Medseg, tiny_config: Any, tmp_path: Path
) -> None:
    from medseg import build
    from medseg.inference.model import save_model
    from medseg.run_folder import new_run

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
    assert json.loads((folder.model / "model.json").read_text())["inference"]["postprocess"] == {}
    assert medseg("tune-postprocessing", tmp_path, "--quiet").code == 2


class TestSigterm:
    """The signal is sent by the training itself, at a known step, so that nothing depends on the clock."""

    @pytest.fixture
    def config(self, tiny: Path, tracking_uri: str) -> list[object]:
        return [tiny, "name=stopped", "training.epochs=3", f"tracking={{uri: '{tracking_uri}'}}"]

    def test_training_saves_and_stops_with_143_and_goes_on_in_the_same_run(
        self,
        medseg: Medseg,
        config: list[object],
        tiny_config: Callable[..., PipelineConfig],
        mlflow_client: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        from medseg.training.checkpoint import load_checkpoint

        plain = Display.advance

        def advance(self: Display, note: str = "", *, completed: int | None = None) -> None:
            plain(self, note, completed=completed)
            if completed == 5:
                os.kill(os.getpid(), signal.SIGTERM)

        with monkeypatch.context() as patched:
            patched.setattr(Display, "advance", advance)
            ended = medseg("run", *config)
        assert ended.code == 143
        assert "stopped by SIGTERM; go on with --resume" in ended.out
        folder = Path(re.search(r"--resume (.*)$", ended.out.strip())[1])  # type: ignore[index]
        assert load_checkpoint(folder / "checkpoints" / "last.ckpt")[1].step == 5
        assert not (folder / "model").exists()
        run_id = json.loads((folder / "tracking.json").read_text())["run_id"]
        record = mlflow_client.get_run(run_id)
        assert (record.info.status, record.data.tags["medseg.failure"]) == ("KILLED", "stopped by SIGTERM")

        assert medseg("run", *config, "--resume", folder).code == 0
        record = mlflow_client.get_run(run_id)
        assert (record.info.status, "medseg.failure" in record.data.tags) == ("FINISHED", False)
        assert [m.step for m in mlflow_client.get_metric_history(run_id, "train/loss")] == [1, 2, 3]
        assert (folder / "evaluation.csv").is_file()


def test_ui_prints_where_to_look_and_serves_the_runs(
    medseg: Medseg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[tuple[Path, int]] = []

    def serve(runs: Path, port: int) -> int:
        served.append((runs, port))
        return 3

    monkeypatch.setattr(tracking, "serve_ui", serve)
    ended = medseg("ui", "--runs", tmp_path, "--port", 5001)
    assert (ended.code, served) == (3, [(tmp_path, 5001)])
    assert "http://127.0.0.1:5001/#/experiments?workflowType=machine_learning" in ended.out
