"""Scoring a segmentation beside MONAI's metric functions: time, memory, the same numbers; bench/results/evaluate.json.

    python bench/evaluate.py                                  # everything: minutes
    python bench/evaluate.py --parts liver organs --runs 5    # some of it: the other entries stay

Both sides get two label maps in memory and give Dice, IoU, HD95, ASSD and surface Dice of every label. The segmentation
is the reference, moved by one to three voxels here and there, with a speck far away (not in liver_near: both sides look
at the box around all of a label) and, of many labels, one missing.
Seconds are those of the processor: all of it runs on one thread, and other programs hardly change them. ``wall_s`` is
kept beside them.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measuring import DATA, ROOT, Entry, Failed, child_result, circumstances, load, medians, save
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

RESULTS = ROOT / "bench" / "results" / "evaluate.json"
WORK = ROOT / "runs" / "bench_evaluate"
LIVER = "liver/ircad17_label.nii.gz"
LABELS = {"liver": LIVER, "liver_near": LIVER, "organs": "organs_3mm/label.nii.gz"}
TOLERANCE_MM = 2.0
SIDES = ("medseg elements", "medseg voxels", "monai", "monai subvoxels")
SCORES = ("dice", "iou", "hd95_mm", "assd_mm", "nsd")
SAME = {"medseg voxels": ("monai", SCORES), "medseg elements": ("monai subvoxels", ("dice", "iou", "nsd"))}
"""Which of MONAI's numbers are defined as ours are. It knows areas (subvoxels) for the surface Dice alone."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--runs", type=int, default=5, help="of each; medians are shown")
    parser.add_argument("--studies", type=int, default=1000, help="of the part stream")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(child(json.loads(args.child))))
        return 0
    WORK.mkdir(parents=True, exist_ok=True)
    failures = []
    for part in args.parts:
        try:
            entries = load(args.output).get("cpu", {}) | {part: {**PARTS[part](args), **circumstances("cpu")}}
            save(args.output, "cpu", entries)
        except Failed as error:
            failures.append(f"{part}: {error}")
    Console(width=max(120, Console().width)).print(*tables(load(args.output).get("cpu", {})))
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


def beside_monai(name: str) -> Callable[[argparse.Namespace], Entry]:
    """One study, all sides in turn so that a busy machine is busy for all of them."""

    def part(args: argparse.Namespace) -> Entry:
        study = in_a_process({"part": name, "side": "prepare"})
        rows: dict[str, list[Entry]] = {side: [] for side in SIDES}
        for turn in range(args.runs):
            for side in SIDES:
                rows[side].append(in_a_process({"part": name, "side": side}))
            print(f"{name}: turn {turn + 1} of {args.runs}", flush=True)
        values = {side: runs[0]["values"] for side, runs in rows.items()}
        return {
            "labels_of": LABELS[name],
            **study,
            "tolerance_mm": TOLERANCE_MM,
            "runs": {side: medians(runs, "s") for side, runs in rows.items()},
            "monai_times": {
                ours: round(
                    statistics.median(t["s"] / o["s"] for t, o in zip(rows[theirs], rows[ours], strict=True)), 1
                )
                for ours, (theirs, _) in SAME.items()
            },
            "largest_difference": {
                ours: {score: difference(values[ours][score], values[theirs][score]) for score in scores}
                for ours, (theirs, scores) in SAME.items()
            },
            "undefined": {side: sum(not math.isfinite(v) for v in values[side]["hd95_mm"]) for side in SIDES},
        }

    return part


def stream(args: argparse.Namespace) -> Entry:
    """Many studies one after another, from files to rows: memory must stay where it is."""
    made = in_a_process({"part": "stream", "studies": args.studies})
    resident = made["resident_mib"]
    return {
        "studies": args.studies,
        "shape": list(PHANTOM),
        "study_ms": round(1000 * made["s"] / args.studies, 1),
        "resident_mib": resident,
        "growth_mib": round(resident[-1] - resident[len(resident) // 2], 1),
    }


PARTS: dict[str, Callable[[argparse.Namespace], Entry]] = {
    "liver": beside_monai("liver"),
    "liver_near": beside_monai("liver_near"),
    "organs": beside_monai("organs"),
    "stream": stream,
}


def in_a_process(spec: Entry) -> Entry:
    """One measurement in a process of its own, on one thread."""
    shown = ["python", "bench/evaluate.py", "--child", " ".join(str(value) for value in spec.values())]
    return child_result(__file__, spec, shown)[0]


def child(spec: Entry) -> Entry:
    """Load what is needed, then score; loading is not counted."""
    if spec["part"] == "stream":
        return streamed(spec["studies"])
    if spec["side"] == "prepare":
        return prepare(spec["part"])
    reference, segmentation = (np.load(WORK / f"{spec['part']}_{side}.npy") for side in ("reference", "segmentation"))
    affine = np.load(WORK / f"{spec['part']}_affine.npy")
    score = ours(spec["side"].removeprefix("medseg ")) if spec["side"].startswith("medseg") else theirs(spec["side"])
    idle = memory_mib("VmHWM")
    started, worked = time.perf_counter(), time.process_time()
    values = score(reference, segmentation, affine)
    return {
        "s": round(time.process_time() - worked, 3),
        "wall_s": round(time.perf_counter() - started, 3),
        "idle_gib": round(idle / 1024, 3),  # the libraries and the two label maps
        "peak_gib": round(memory_mib("VmHWM") / 1024, 3),
        "values": {name: [float(value) for value in row] for name, row in zip(SCORES, values, strict=True)},
    }


def ours(definition: Any) -> Callable[..., Sequence[Any]]:
    from medseg.metrics.overlap import confusion, overlap_scores
    from medseg.metrics.surface import label_surface_scores

    def score(reference: NDArray[Any], segmentation: NDArray[Any], affine: NDArray[Any]) -> Sequence[Any]:
        classes = int(reference.max()) + 1
        overlap = overlap_scores(confusion(reference, segmentation, classes))
        tolerances = [TOLERANCE_MM] * (classes - 1)
        surface = label_surface_scores(reference, segmentation, classes, affine, tolerances, definition=definition)
        distances = [[getattr(label, name) for label in surface] for name in SCORES[2:]]
        return [overlap.dice[1:], overlap.iou[1:], *distances]

    return score


def theirs(side: str) -> Callable[..., Sequence[Any]]:
    """MONAI's functions on one-hot tensors, which is what they take."""
    import warnings

    import torch
    from monai import metrics
    from monai.networks.utils import one_hot

    warnings.filterwarnings("ignore")  # of empty labels
    torch.set_num_threads(1)

    def score(reference: NDArray[Any], segmentation: NDArray[Any], affine: NDArray[Any]) -> Sequence[Any]:
        classes = int(reference.max()) + 1
        y, y_pred = (one_hot(torch.from_numpy(a)[None, None], classes) for a in (reference, segmentation))
        spacing = [float(length) for length in np.linalg.norm(affine[:3, :3], axis=0)]
        rows = [
            metrics.compute_dice(y_pred, y, include_background=False),
            metrics.compute_iou(y_pred, y, include_background=False),
            metrics.compute_hausdorff_distance(y_pred, y, percentile=95, spacing=spacing),
            metrics.compute_average_surface_distance(y_pred, y, symmetric=True, spacing=spacing),
            metrics.compute_surface_dice(
                y_pred, y, [TOLERANCE_MM] * (classes - 1), spacing=spacing, use_subvoxels=side == "monai subvoxels"
            ),
        ]
        return [row[0].numpy() for row in rows]

    return score


def prepare(name: str) -> Entry:
    """Write reference, segmentation and affine as arrays; labels are numbered without gaps."""
    import nibabel as nib

    image: Any = nib.load(ROOT / DATA / LABELS[name])
    values, numbers = np.unique(np.asarray(image.dataobj), return_inverse=True)
    reference = numbers.reshape(image.shape).astype(np.uint8, order="F")
    segmentation = changed(reference, speck=name != "liver_near")
    for side, array in (("reference", reference), ("segmentation", segmentation), ("affine", image.affine)):
        np.save(WORK / f"{name}_{side}.npy", array)
    return {"shape": list(reference.shape), "labels": len(values) - 1}


def changed(reference: NDArray[np.uint8], speck: bool) -> NDArray[np.uint8]:
    """What a good network might make of it."""
    from scipy import ndimage

    rng = np.random.default_rng(0)
    coarse = ndimage.gaussian_filter(rng.normal(size=[length // 6 + 2 for length in reference.shape]), 1)
    field = ndimage.zoom(coarse.astype(np.float32), 6, order=1)[tuple(slice(length) for length in reference.shape)]
    made = np.where(field > 0, shifted(reference, (2, -1, 0)), shifted(reference, (-1, 1, 1)))
    if speck:
        made[5:9, 5:9, 3:5] = 1
    labels = int(reference.max())
    if labels > 2:
        made[made == labels] = 0
    return np.asfortranarray(made)


def shifted(labels: NDArray[np.uint8], by: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Background comes in from behind."""
    moved = np.zeros_like(labels)
    moved[tuple(slice(max(n, 0), length + min(n, 0)) for n, length in zip(by, labels.shape, strict=True))] = labels[
        tuple(slice(max(-n, 0), length + min(-n, 0)) for n, length in zip(by, labels.shape, strict=True))
    ]
    return moved


PHANTOM = (64, 64, 48)
_FILES = 8
_SAMPLES = 40


def streamed(studies: int) -> Entry:
    """Score the same few files again and again, each time as a study of its own; all rows are kept, as by a run."""
    from medseg.evaluation.files import score_files
    from medseg.evaluation.options import ScoringOptions
    from medseg.study.nifti import write_labels
    from medseg.types import Grid, LabelMap

    grid, rng = Grid(PHANTOM, np.diag([0.8, 0.8, 2.5, 1.0])), np.random.default_rng(0)
    i, j, k = np.indices(PHANTOM)
    for number in range(_FILES):
        for side in ("reference", "segmentation"):
            a, b, c = 20 + rng.integers(0, 3, 3)
            organ = ((i - 32) / a) ** 2 + ((j - 32) / b) ** 2 + ((k - 24) / c) ** 2 < 1
            lesion = (i - 30) ** 2 + (j - 30) ** 2 + (k - 22) ** 2 < (a - 14) ** 2
            write_labels(WORK / f"{side}_{number}.nii.gz", (organ + (organ & lesion)).astype(np.uint8), grid)
    labels = LabelMap({"organ": (1,), "lesion": (2,)})
    rows, resident = [], []
    started = time.perf_counter()
    for number in range(studies):
        files = [WORK / f"{side}_{number % _FILES}.nii.gz" for side in ("reference", "segmentation")]
        rows.append(score_files(f"study_{number}", *files, labels, labels, ScoringOptions(lesions=("lesion",))))
        if (number + 1) % max(1, studies // _SAMPLES) == 0:
            resident.append(round(memory_mib("VmRSS"), 1))
    return {"s": round(time.perf_counter() - started, 2), "resident_mib": resident}


def difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Largest over the labels that both define; what only one defines is in ``undefined``."""
    both = [abs(a - b) for a, b in zip(ours, theirs, strict=True) if math.isfinite(a) and math.isfinite(b)]
    return float(f"{max(both):.2g}")


def memory_mib(field: str) -> float:
    """Of this process, as Linux tells it: VmRSS now, VmHWM at most. wait4 would count the parent's before the fork."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def tables(entries: dict[str, Entry]) -> list[Table]:
    """One table a part beside MONAI, one line for the stream."""
    made = []
    for part, entry in entries.items():
        if part == "stream":
            shown = Table(title="stream", box=box.SIMPLE_HEAD, title_justify="left")
            for column in ("studies", "ms a study", "resident MiB, half way and at the end"):
                shown.add_column(column, justify="right")
            resident = entry["resident_mib"]
            half = resident[len(resident) // 2]
            shown.add_row(str(entry["studies"]), f"{entry['study_ms']:.1f}", f"{half:.0f}, {resident[-1]:.0f}")
            made.append(shown)
            continue
        title = f"{part}: {' x '.join(map(str, entry['shape']))}, {entry['labels']} labels"
        shown = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
        for column in ("", "s", "MONAI / ours", "GiB", "idle", "largest difference from MONAI"):
            shown.add_column(column, justify="right" if column else "left", no_wrap=True)
        for side, run in entry["runs"].items():
            times = entry["monai_times"].get(side)
            apart = entry["largest_difference"].get(side, {})
            shown.add_row(
                side,
                f"{run['s']:.2f}",
                "" if times is None else f"{times:.1f}",
                f"{run['peak_gib']:.2f}",
                f"{run['idle_gib']:.2f}",
                ", ".join(f"{score.removesuffix('_mm')} {value:.0e}" for score, value in apart.items()),
            )
        made.append(shown)
    return made


if __name__ == "__main__":
    sys.exit(main())
