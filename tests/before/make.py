"""Make this folder with the version before: what it wrote, and what its files gave it.

    git worktree add --detach ../old cba24bd
    cd ../old && PYTHONPATH=. OMP_NUM_THREADS=1 python <here>/make.py    (ten minutes on one core)

It knows the old version by its command line alone. Nothing here is made again when medseg changes: the models and runs
that users have do not change either.

models/<name>         trained in each mode; `oldest` says of itself what the first model.json files said
runs/stopped          SIGTERM in the middle of its second epoch
runs/complete         trained, segmented, scored; what it recorded waits in its folder to be sent
expected.json         digests of segmentations, the post-processing that `tune-postprocessing` chose, and where all that
                      was computed
resumed.safetensors   the model of the stopped run after the old version had gone on with it

PHANTOMS, CACHE and RUNS stand for the folders that the texts name.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file, save_file

HERE = Path(__file__).resolve().parent

PIPELINE = """\
name: before
labels: {liver: 1, tumour: 2}
data: {manifest: PHANTOMS/manifest.csv, root: PHANTOMS, cache_dir: CACHE, fold: 0, class_shares: {tumour: 3}}
preprocessing: {spacing_mm: [6, 6, 6], intensity_range_hu: [-100, 240]}
network: {name: unet, channels: [4, 8], strides: [2], num_res_units: 0, norm: instance}
training:
  epochs: 3
  steps_per_epoch: 200
  validate_every: 3
  loss: [{name: dice}, {name: cross_entropy, class_weights: {tumour: 4}}]
  optimizer: {name: adamw, learning_rate: 0.01}
  threads: 1
  device: cpu
runs_dir: RUNS
"""

MODELS = {
    "slice": [
        "data={mode: slice, patch_size: [32, 32], batch_size: 8}",
        "inference={window_size: [24, 24], flip_axes: [R, A], scales: [0.75, 1.0, 1.25], scale_fusion: max}",
        "inference.postprocess={fill_holes: [liver], minimum_ml: {tumour: 0.5}}",
        "training.loss=[{name: cross_entropy, class_weights: {tumour: 20}}]",
    ],
    "slab": [
        "data={mode: slab, slab_neighbours: 2, patch_size: [24, 32], batch_size: 8}",
        "inference={blending: constant, crf: {iterations: 3, appearance_mm: 20}, locate: {spacing_mm: 9}}",
        "inference.postprocess={keep_largest: [liver]}",
        "training.loss=[{name: cross_entropy, class_weights: {tumour: 20}}]",
    ],
    "coarse": [
        "preprocessing.spacing_mm=[10, 10, 10]",
        "data={mode: patch, patch_size: [16, 16, 16]}",
        "inference.placement=steps",
    ],
    "patch": [
        "data={mode: patch, patch_size: [16, 16, 12]}",
        "inference={window_size: [16, 16, 16], flip_axes: [S]}",
        "inference.locate={model: COARSE, classes: [liver], margin_mm: 12}",
        "inference.postprocess.thresholds={tumour: 0.4}",
        "inference.postprocess.inside={tumour: {of: [liver], margin_mm: 6}}",
    ],
}
"""What is told of each model beside the pipeline; ``patch`` holds ``coarse``."""

STOPPED = [
    "name=stopped",
    "data={mode: patch, patch_size: [16, 16, 16]}",
    "network.dropout=0.3",
    "training={epochs: 3, steps_per_epoch: 4, validate_every: 1, ema_decay: 0.9, early_stopping: 3}",
    "training.optimizer={name: sgd, learning_rate: 0.05}",
    "training.schedule={name: cosine, warmup_steps: 3}",
    "training.loss=[{name: dice}, {name: cross_entropy, class_weights: balanced}, {name: bootstrapped_cross_entropy}]",
    "augmentation={flip: {axes: [R, A, S]}, rotate: {probability: 0.5}, elastic: {probability: 0.5}}",
    "augmentation.noise={probability: 1.0}",
    "augmentation.gamma={probability: 0.5}",
    "tracking={offline: true, system_metrics: false}",
]
"""All that draws random numbers or carries a state from step to step. Not Adam: it makes a step of every gradient that
is nothing but rounding, as a bias's before a normalisation is, and no two processors would agree."""

STOP_AFTER_STEP_6 = """
import os, signal
from medseg.training import fit
plain, steps = fit.train_step, []
def train_step(*arguments, **keywords):
    totals = plain(*arguments, **keywords)
    steps.append(1)
    if len(steps) == 6:
        os.kill(os.getpid(), signal.SIGTERM)
    return totals
fit.train_step = train_step
from medseg.cli import main
main()
"""

COMPLETE = [
    "name=complete",
    "training.steps_per_epoch=60",
    "data={mode: slice, patch_size: [32, 32], batch_size: 8}",
    "evaluation={lesions: [tumour], report: false}",
    "tracking={offline: true, system_metrics: false, tags: {site: here}}",
]

WRITE_PHANTOMS = """
import sys
from pathlib import Path
from medseg.study.phantom import SMALL, write_phantoms
write_phantoms(Path(sys.argv[1]), 6, seed=3, options=SMALL)
"""
"""As the tests' fixture ``phantoms`` does it."""

OTHER_PROCESSOR = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
"""Sums in another order: what differs with it says nothing about medseg."""

STUDIES = 2
"""Whose segmentations are remembered of each model."""


def main() -> None:
    for name in ("models", "runs"):
        shutil.rmtree(HERE / name, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        _python("-c", WRITE_PHANTOMS, str(work / "phantoms"))
        _stopped(work)
        tuned = _complete(work)
        expected = {"made_with": made_with(), "tuned": tuned, "segmentations": _models(work)}
        (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


def made_with() -> dict[str, str]:
    """All that the last bits of a weight depend on."""
    import torch

    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.is_file() else []
    processor = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    versions = {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()}
    return {"processor": processor, "vectors": torch.backends.cpu.get_cpu_capability(), **versions}


def digest(voxels: NDArray[Any]) -> str:
    """Of a label map and its shape."""
    return hashlib.sha256(repr(voxels.shape).encode() + np.ascontiguousarray(voxels, np.uint8).tobytes()).hexdigest()


def voxels_of(path: Path) -> NDArray[Any]:
    """Of a NIfTI, without any of medseg."""
    return np.asarray(nib.load(path).dataobj)


def _stopped(work: Path) -> None:
    _python("-c", STOP_AFTER_STEP_6, *_arguments("train", work, *STOPPED), code=143)
    (run,) = (work / "runs" / "stopped").iterdir()
    _keep(run, work)
    _medseg(*_arguments("train", work, *STOPPED), "--resume", str(run))
    shutil.copy(run / "model" / "weights.safetensors", HERE / "resumed.safetensors")


def _complete(work: Path) -> Any:
    run = _trained("run", work, *COMPLETE)
    _keep(run, work)
    _medseg("tune-postprocessing", str(run), "--output", str(work / "tuned.yaml"))
    return yaml.safe_load((work / "tuned.yaml").read_text())


def _keep(run: Path, work: Path) -> None:
    """A copy with placeholders, whose pictures are one pixel large: their bytes would be most of it."""
    copy = shutil.copytree(run, HERE / "runs" / run.parent.name / run.name, ignore=shutil.ignore_patterns("overlays"))
    for path in Path(copy).rglob("*.png"):
        Image.new("L", (1, 1)).save(path)
    for path in Path(copy).rglob("*"):
        if path.suffix in (".yaml", ".json", ".jsonl", ".csv"):
            text = path.read_text()
            for name, place in _places(work).items():
                text = text.replace(place, name)
            path.write_text(text)


def _models(work: Path) -> dict[str, dict[str, str]]:
    models = work / "models"
    for name, overrides in MODELS.items():
        own = [text.replace("COARSE", str(models / "coarse")) for text in overrides]
        run = _trained("train", work, f"name={name}", "tracking=none", *own)
        shutil.copytree(run / "model", models / name)
    shutil.copytree(models / "slice", models / "oldest")
    _say_what_the_first_said(models / "oldest" / "model.json")
    shutil.rmtree(models / "coarse")
    shutil.copytree(models, HERE / "models")
    return {model.name: _segmentations(model, work) for model in sorted(models.iterdir())}


def _say_what_the_first_said(path: Path) -> None:
    """A model.json of before scales, the CRF, placements and the section of post-processing were known."""
    entries = json.loads(path.read_text())
    for name in ("placement", "scales", "scale_fusion", "crf", "locate", "memory_gib", "postprocess"):
        del entries["inference"][name]
    del entries["preprocessing"]["convention"]
    entries["inference"]["keep_largest"] = ["liver"]
    path.write_text(json.dumps(entries, indent=2) + "\n")


def _segmentations(model: Path, work: Path) -> dict[str, str]:
    """study_id -> digest, of the first studies in which both classes are found wherever sums are rounded otherwise."""
    maps = _segmented(model, work)
    others = [_segmented(model, work, OTHER_PROCESSOR), _segmented(_nudged(model, work), work)]
    steady = [study_id for study_id in sorted(maps) if all(np.array_equal(o[study_id], maps[study_id]) for o in others)]
    telling = [study_id for study_id in steady if len(np.unique(maps[study_id])) == 3]
    if len(telling) < STUDIES:
        raise SystemExit(f"{model.name}: only {steady} are segmented alike, {telling} tell much; train it otherwise")
    return {study_id: digest(maps[study_id]) for study_id in telling[:STUDIES]}


def _segmented(model: Path, work: Path, environment: Mapping[str, str] | None = None) -> dict[str, NDArray[Any]]:
    output = Path(tempfile.mkdtemp(dir=work))
    images = str(work / "phantoms" / "images")
    _medseg("segment", "--model", str(model), "--input", images, "--output", str(output), environment=environment)
    return {path.name.removesuffix(".nii.gz"): voxels_of(path) for path in output.glob("*.nii.gz")}


def _nudged(model: Path, work: Path) -> Path:
    """The same model with weights that differ by a few roundings."""
    copy = Path(shutil.copytree(model, work / "nudged" / model.name))
    random = np.random.default_rng(0)
    for path in copy.rglob("weights.safetensors"):
        weights = load_file(path)
        for key, value in weights.items():
            weights[key] = (value * (1 + 1e-6 * random.standard_normal(value.shape))).astype(value.dtype)
        save_file(weights, path)
    return copy


def _trained(command: str, work: Path, *overrides: str) -> Path:
    _medseg(*_arguments(command, work, *overrides))
    (run,) = (work / "runs" / overrides[0].removeprefix("name=")).iterdir()
    return run


def _arguments(command: str, work: Path, *overrides: str) -> list[str]:
    path, text = work / "pipeline.yaml", PIPELINE
    for name, place in _places(work).items():
        text = text.replace(name, place)
    path.write_text(text)
    return [command, str(path), *overrides]


def _places(work: Path) -> dict[str, str]:
    return {"PHANTOMS": str(work / "phantoms"), "CACHE": str(work / "cache"), "RUNS": str(work / "runs")}


def _medseg(*arguments: str, environment: Mapping[str, str] | None = None) -> None:
    _python("-m", "medseg", *arguments, environment=environment)


def _python(*arguments: str, code: int = 0, environment: Mapping[str, str] | None = None) -> None:
    command, environment = [sys.executable, *arguments], {**os.environ, **(environment or {})}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode != code:
        raise SystemExit(f"{' '.join(command)}\n{ended.stdout}\n{ended.stderr}")


if __name__ == "__main__":
    main()
