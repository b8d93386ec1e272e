"""How `medseg segment` scales: over workers, over voxels, and, simulated, over 10,000 studies on 64 workers.

    python bench/segment_scale.py                                    # everything, on the CPU
    python bench/segment_scale.py --parts simulation                 # from the times that were measured before
    python bench/segment_scale.py --studies 3 --size 64 --output scale.json    # small, to see that it works

The network is an untrained U-Net, the studies are phantoms. The simulation draws its times from those of the part
`voxels`; 1 % of its studies fail and are tried once more, 2 % take ten times as long, and nobody knows which.
"""

from __future__ import annotations

import argparse
import heapq
import json
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from measuring import ROOT, Entry, Failed, circumstances, costs, load, measure, save
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

from medseg.types import Grid

RESULTS = ROOT / "bench" / "results" / "segment_scale.json"
PARTS = ("workers", "voxels", "simulation")
WORKERS = (1, 2, 4)
SHARES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Sizes of the part `voxels`: slices of the phantom, repeated beyond the whole."""

UNET = {"channels": [16, 32, 64, 128], "strides": [2, 2, 2], "num_res_units": 0, "norm": "instance"}
FAILING, SLOW, SLOWER = 0.01, 0.02, 10.0
"""Of the simulation: share that fails, share that is slow, and how much slower."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--studies", type=int, default=12, help="copies of the phantom for the part `workers`")
    parser.add_argument("--size", type=int, default=256, help="voxels of the phantom along I and J; half along K")
    parser.add_argument("--repeats", type=int, default=3, help="of every size of the part `voxels`")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    entries = load(arguments.output).get(arguments.device, {})
    for part in arguments.parts:
        try:
            with tempfile.TemporaryDirectory(prefix="medseg_scale_") as scratch:
                entries[part] = globals()[f"measure_{part}"](Path(scratch), arguments, entries)
        except Failed as failure:
            print(f"{part}: {failure}", file=sys.stderr)
            return 1
        save(arguments.output, arguments.device, entries)
    show(entries)
    return 0


def measure_workers(scratch: Path, arguments: argparse.Namespace, entries: dict[str, Entry]) -> Entry:
    """Seconds and memory of one batch by number of workers.

    ``startup_s`` ends when the first study begins to be read; ``studies_per_minute`` is of the time after it.
    """
    write_model(scratch / "model")
    image = phantom(arguments.size)
    for index in range(arguments.studies):
        write(scratch / "all" / f"study_{index:03d}.nii.gz", image)
    rows: dict[str, Entry] = {}
    for workers in WORKERS:
        started_s = time.time()
        cost, summary, outcomes = segment(scratch, "all", workers, arguments.device)
        ended_s = [datetime.fromisoformat(o["ended"]).timestamp() for o in outcomes]
        begun_s = min(end_s - o["total_s"] for end_s, o in zip(ended_s, outcomes, strict=True))
        rows[str(workers)] = {
            **cost,
            "startup_s": round(begun_s - started_s, 1),
            "studies_per_minute": round(60.0 * len(outcomes) / (max(ended_s) - begun_s), 2),
            "largest_process_gib": summary["peak_gib"],
            "predict_s": round(float(np.median([o["predict_s"] for o in outcomes])), 2),
        }
    about = {"studies": arguments.studies, "voxels": int(image.size)}
    return {**circumstances(arguments.device), **about, "workers": rows}


def measure_voxels(scratch: Path, arguments: argparse.Namespace, entries: dict[str, Entry]) -> Entry:
    """Seconds of a study against its voxels, all in one batch by one worker; least squares."""
    write_model(scratch / "model")
    image = phantom(arguments.size)
    write(scratch / "sizes" / "000_warm_up.nii.gz", image)
    for place, share in enumerate(SHARES):
        slices = np.arange(max(1, round(share * image.shape[2]))) % image.shape[2]
        for repeat in range(arguments.repeats):
            write(scratch / "sizes" / f"{place + 1:03d}_{repeat}.nii.gz", image[:, :, slices])
    _, _, outcomes = segment(scratch, "sizes", 1, arguments.device)
    studies = [o for o in outcomes if not o["study_id"].endswith("warm_up")]
    voxels = np.array([o["voxels"] for o in studies], dtype=float)
    seconds = np.array([o["read_s"] + o["predict_s"] + o["write_s"] for o in studies])
    slope, offset = np.polyfit(voxels, seconds, 1)
    left = seconds - (slope * voxels + offset)
    return {
        **circumstances(arguments.device),
        "s_per_megavoxel": round(1e6 * float(slope), 4),
        "s_per_study": round(float(offset), 3),
        "r_squared": round(1.0 - float(left.var() / seconds.var()), 4),
        "largest_process_gib": max(o["peak_gib"] for o in studies),
        "studies": [{"voxels": int(v), "seconds": round(float(s), 3)} for v, s in zip(voxels, seconds, strict=True)],
    }


def measure_simulation(scratch: Path, arguments: argparse.Namespace, entries: dict[str, Entry]) -> Entry:
    """Makespan of 10,000 studies on 64 workers against the ideal: all their seconds, evenly shared.

    Raises:
        Failed: there are no measured times.
    """
    if "voxels" not in entries:
        raise Failed("no measured times: run the part `voxels` first")
    number, workers = 10_000, 64
    rng = np.random.default_rng(arguments.seed)
    expected = rng.choice([study["seconds"] for study in entries["voxels"]["studies"]], number)
    seconds = np.where(rng.random(number) < SLOW, SLOWER, 1.0) * expected
    fails = rng.random(number) < FAILING
    ideal_s = float((seconds * (1 + fails)).sum()) / workers
    orders = {"as they come": np.arange(number), "largest first": np.argsort(-expected, kind="stable")}
    makespans = {
        f"{name}{', read ahead' if ahead else ''}": makespan(seconds[order], fails[order], workers, read_ahead=ahead)
        for name, order in orders.items()
        for ahead in (False, True)
    }
    return {
        **circumstances(arguments.device),
        "studies": number,
        "workers": workers,
        "seed": arguments.seed,
        "failing": FAILING,
        "slow": SLOW,
        "slower": SLOWER,
        "longest_study_s": round(float(seconds.max()), 2),
        "ideal_s": round(ideal_s, 1),
        "orders": {n: {"makespan_s": round(s, 1), "ratio": round(s / ideal_s, 4)} for n, s in makespans.items()},
    }


def makespan(seconds: NDArray[np.float64], fails: NDArray[np.bool_], workers: int, *, read_ahead: bool) -> float:
    """When the last study ends, if a free worker takes the next one and those that failed once come first.

    Args:
        seconds: of every study, in the order in which they are handed out.
        fails: which ones fail, twice.
        workers: how many.
        read_ahead: a worker takes its next study when it begins one, as long as there is one for every worker.
    """
    left, failed = deque(range(len(seconds))), deque[int]()
    reserved: dict[int, int] = {}
    tried: set[int] = set()
    free = [(0.0, worker, -1) for worker in range(workers)]
    heapq.heapify(free)
    end = 0.0
    while free:
        now, worker, done = heapq.heappop(free)
        end = max(end, now)
        if done >= 0 and fails[done] and done not in tried:
            tried.add(done)
            failed.append(done)
        if worker in reserved:
            study = reserved.pop(worker)
        elif failed or left:
            study = failed.popleft() if failed else left.popleft()
        else:
            continue
        if read_ahead and len(left) > workers:
            reserved[worker] = left.popleft()
        heapq.heappush(free, (now + float(seconds[study]), worker, study))
    return end


def segment(scratch: Path, source: str, workers: int, device: str) -> tuple[Entry, Entry, list[Entry]]:
    """Run the command line; what it cost, its summary, and its outcomes."""
    output = scratch / "out"
    shutil.rmtree(output, ignore_errors=True)
    options = ["--workers", str(workers), "--device", device, "--json", "--quiet"]
    places = ["--model", str(scratch / "model"), "--input", str(scratch / source), "--output", str(output)]
    shown = ["medseg", "segment", "--model", "model", "--input", source, "--output", "out", *options]
    made = measure([sys.executable, "-m", "medseg", "segment", *places, *options], shown)
    *outcomes, summary = [json.loads(line) for line in made.output.splitlines()]
    return costs(made), summary, outcomes


def write_model(folder: Path) -> None:
    """An untrained 3D U-Net of 16 to 128 channels for windows of 96 x 96 x 64."""
    import torch

    from medseg.model.classes import Classes
    from medseg.model.folder import save_model
    from medseg.model.inference import Inference
    from medseg.model.spec import ModelSpec
    from medseg.model.view import View
    from medseg.networks import build_network
    from medseg.transforms.settings import Preprocessing

    torch.manual_seed(0)
    preprocessing = Preprocessing(spacing_mm=(1.5, 1.5, 2.0), intensity_range_hu=(-100.0, 240.0))
    inference = Inference(window_size=(96, 96, 64), overlap=0.5)
    spec = ModelSpec("unet", UNET, Classes(("liver", "tumour")), View(), preprocessing, inference)
    save_model(folder, build_network("unet", 3, 1, 3, **UNET), spec)


def phantom(size: int) -> NDArray[np.int16]:
    """Voxels of an adult, ``size`` x ``size`` x ``size / 2``."""
    from medseg.phantom.make import PhantomOptions, make_phantom

    extent_mm = (370.0, 370.0, 300.0)
    spacing = (extent_mm[0] / size, extent_mm[0] / size), (2 * extent_mm[2] / size, 2 * extent_mm[2] / size)
    options = PhantomOptions(extent_mm, *spacing, oblique_share=0.0)
    image, _ = make_phantom(0, 0, options)
    return np.ascontiguousarray(image.voxels.astype(np.int16))


def write(path: Path, voxels: NDArray[np.int16]) -> None:
    from medseg.study.nifti import write_image

    path.parent.mkdir(exist_ok=True)
    step_mm = 370.0 / voxels.shape[0]
    write_image(path, voxels, Grid(voxels.shape, np.diag([step_mm, step_mm, 2.0, 1.0])))


def show(entries: dict[str, Entry]) -> None:
    """One table for what there is."""
    table = Table("part", "case", "result", box=box.SIMPLE)
    for workers, row in entries.get("workers", {}).get("workers", {}).items():
        facts: Sequence[str] = (
            f"{row['studies_per_minute']:g} studies a minute",
            f"{row['wall_s']:g} s, {row['startup_s']:g} s of it start-up",
            f"largest process {row['largest_process_gib']:.2f} GiB",
        )
        table.add_row("workers", workers, "; ".join(facts))
    if fit := entries.get("voxels"):
        line = f"{fit['s_per_study']:g} s + {fit['s_per_megavoxel']:g} s a megavoxel, R^2 {fit['r_squared']:.4f}"
        table.add_row("voxels", f"{len(fit['studies'])} studies", line)
    for name, row in entries.get("simulation", {}).get("orders", {}).items():
        table.add_row("simulation", name, f"{row['makespan_s']:g} s, {row['ratio']:.4f} of the ideal")
    Console().print(table)


if __name__ == "__main__":
    raise SystemExit(main())
