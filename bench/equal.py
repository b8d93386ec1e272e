"""Does a change of the code leave every number as it was? Train, segment and score, and write down what came out.

    python bench/equal.py --output before           # with the code as it was: PYTHONPATH=<its checkout>
    python bench/equal.py --output after --against before/equal.json
    python bench/equal.py --output after --models before    # models and runs of the older code, loaded by this one

Three tiny runs (slice, slab, patch) with every augmentation, loss and post-processing step of a fixed seed; then two
phantoms and a CT segmented by the models, with probabilities, uncertainty, an ensemble, a coarse pass and a CRF. What
is written down are digests of weights, of voxels with their headers, and of the tables of scores: equal or not, no
tolerance. Everything goes through the command line, so that the same script runs with any version of the code.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from safetensors.numpy import load_file

DATA = Path(os.environ.get("MEDSEG_DATA", "../shared/data"))
"""Folder of real CT; without it the CT is left out, and said to be."""

MODES = {"slice": "[24, 24]", "slab": "[24, 24]", "patch": "[24, 24, 16]"}
"""Mode -> patch size."""

PIPELINE = """\
name: {mode}
labels: {{liver: 1, tumour: 2}}
data:
  manifest: {output}/phantoms/manifest.csv
  root: {output}/phantoms
  mode: {mode}
  patch_size: {patch}
  batch_size: 2
  foreground_share: 0.7
  class_shares: {{tumour: 2}}
preprocessing: {{spacing_mm: [5, 5, 5], intensity_range_hu: [-100, 240]}}
augmentation:
  flip: {{axes: [R, A], probability: 0.5}}
  rotate: {{probability: 0.7}}
  scale: {{probability: 0.7}}
  translate: {{probability: 0.7}}
  elastic: {{probability: 0.5}}
  class_shift: {{probability: 0.5}}
  noise: {{probability: 0.5}}
  blur: {{probability: 0.5}}
  contrast: {{probability: 0.5, shift: [-0.1, 0.1]}}
  gamma: {{probability: 0.5}}
  low_resolution: {{probability: 0.5}}{truncate}
network: {{name: unet, channels: [4, 8], strides: [2], num_res_units: 0, norm: instance}}
training:
  epochs: 3
  steps_per_epoch: 20
  validate_every: 1
  accumulate: 2
  ema_decay: 0.9
  optimizer: {optimizer}
  schedule: {{name: cosine, warmup_steps: 3}}
  loss:
    - {{name: dice, batch: true}}
    - {{name: cross_entropy, class_weights: {weights}}}
    - {{name: bootstrapped_cross_entropy, weight: 0.5}}
  threads: 1
  device: cpu
  seed: 7
inference:
  overlap: 0.25
  flip_axes: [R]
  scales: [0.75, 1.0]
  postprocess: {{keep_largest: [liver], fill_holes: [liver], minimum_ml: {{tumour: 0.2}}, thresholds: {{tumour: 0.4}},
                inside: {{tumour: {{of: [liver], margin_mm: 10}}}}}}
evaluation: {{split: test, lesions: [tumour], tolerance_mm: {{liver: 5}}, report: false}}
tracking: none
runs_dir: {output}/runs
"""

OPTIMIZERS = {
    "slice": "{name: sgd, learning_rate: 0.02}",
    "slab": "{name: adamw, learning_rate: 0.003}",
    "patch": "{name: adamw, learning_rate: 0.01, betas: [0.9, 0.99]}",
}
WEIGHTS = {"slice": "balanced", "slab": "{background: 0.5, tumour: 2}", "patch": "null"}


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output", type=Path, required=True, help="folder for everything; a folder that is there goes on"
    )
    parser.add_argument("--against", type=Path, help="equal.json to compare with")
    parser.add_argument("--models", type=Path, help="output folder of another version, whose models segment here too")
    arguments = parser.parse_args()
    output = arguments.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    if not (output / "phantoms/manifest.csv").is_file():
        medseg("phantom", "--output", output / "phantoms", "--studies", "8", "--seed", "5")
    digests: dict[str, str] = {}
    for mode in MODES:
        digests |= trained(mode, output)
    digests |= segmented(output, output)
    (output / "equal.json").write_text(json.dumps(digests, indent=1) + "\n")
    print(f"{len(digests)} digests: {output / 'equal.json'}")
    differences = 0
    if arguments.against:
        differences += compared(json.loads(arguments.against.read_text()), digests, str(arguments.against))
    if arguments.models:
        theirs = arguments.models.resolve()
        expected = {k: v for k, v in json.loads((theirs / "equal.json").read_text()).items() if k.startswith("segment")}
        differences += compared(expected, segmented(theirs, output, "theirs"), f"models of {theirs}")
    sys.exit(1 if differences else 0)


def medseg(*words: object) -> None:
    """One command line; a failure ends the script."""
    command = [sys.executable, "-m", "medseg", *map(str, words)]
    print("$ medseg", *words[:6], "...", flush=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def trained(mode: str, output: Path) -> dict[str, str]:
    """A run of one mode: its weights, segmentations and scores."""
    pipeline = output / f"{mode}.yaml"
    truncate = "\n  truncate: {probability: 0.5}" if mode == "patch" else ""
    pipeline.write_text(
        PIPELINE.format(
            mode=mode,
            patch=MODES[mode],
            output=output,
            truncate=truncate,
            optimizer=OPTIMIZERS[mode],
            weights=WEIGHTS[mode],
        )
    )
    if not list((output / "runs" / mode).glob("*/evaluation.csv")):
        medseg("run", pipeline)
    run = run_of(output, mode)
    found = {f"{mode}: weights": weights_digest(run / "model/weights.safetensors")}
    found[f"{mode}: evaluation.csv"] = hashlib.sha256((run / "evaluation.csv").read_bytes()).hexdigest()[:32]
    for path in sorted((run / "segmentations").glob("*.nii.gz")):
        found[f"{mode}: {path.name}"] = volume_digest(path)
    return found


def segmented(models: Path, output: Path, name: str = "segmented") -> dict[str, str]:
    """Phantoms and CT with everything that a segmentation can come with."""
    slice_, slab, patch = (run_of(models, mode) for mode in MODES)
    inputs = {"phantoms": models / "phantoms/images"}
    ct = DATA / "liver/ircad17_image.nii.gz"
    if ct.is_file():
        inputs["ct"] = ct
    else:
        print(f"no CT at {ct}: left out")
    extras = ("--masks", "--probabilities", "liver", "--uncertainty", "entropy", "--lesions", "tumour")
    found = {}
    for what, source in inputs.items():
        calls = {
            "patch": (patch, *extras),
            "slab": (slab,),
            "slice": (slice_,),
            "ensemble": (patch, "--model", patch, "--uncertainty", "disagreement"),
            "locate": (patch, "--locate", patch),
            "budget": (patch, "--memory-gib", "12"),
        }
        for call, (model, *options) in calls.items():
            if what == "ct" and call in ("slice", "ensemble"):
                continue
            folder = output / name / what / call
            medseg("segment", "--model", model, "--input", source, "--output", folder, "--quiet", *options)
            for path in sorted(folder.glob("*.nii.gz")):
                found[f"segment {what} {call} {path.name}"] = volume_digest(path)
            for path in sorted(folder.glob("*.json")):
                document = {k: v for k, v in json.loads(path.read_text()).items() if k != "model"}
                digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:32]
                found[f"segment {what} {call} {path.name}"] = digest
    return found


def run_of(output: Path, mode: str) -> Path:
    """The one run folder of a mode."""
    (run,) = (path.parent for path in (output / "runs" / mode).glob("*/evaluation.csv"))
    return run


def weights_digest(path: Path) -> str:
    """Of names, types and bytes of all tensors."""
    digest = hashlib.sha256()
    for name, array in sorted(load_file(path).items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:32]


def volume_digest(path: Path) -> str:
    """Of header and voxels, whatever the compression made of them."""
    return hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()[:32]


def compared(before: dict[str, str], after: dict[str, str], what: str) -> int:
    """Print what differs, and give the number of differences."""
    differing = [key for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key)]
    for key in differing:
        print(f"DIFFERS {key}: {before.get(key)} before, {after.get(key)} now")
    print(f"{what}: {len(before)} digests, {len(differing)} differ")
    return len(differing)


if __name__ == "__main__":
    main()
