"""Segmenting a study beside the peers, around one network: seconds, memory, the same mask; bench/results/segment.json.

    python bench/segment.py --peers DIR                            # everything: about half an hour on two cores
    python bench/segment.py --peers DIR --parts liver organs      # some of it: the other entries stay
    python bench/segment.py --parts memory locate                 # without the peers
    python bench/segment.py --parts cuda                          # where there is a GPU

DIR is a virtual environment with nnU-Net and MONAI, and isal; --peers-script the script that runs them, which prints a
JSON line of seconds and GiB. The networks are trained first where runs/segment_* is absent: minutes each.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from measuring import DATA, ROOT, Entry, Failed, child_result, circumstances, load, measure, medians, save
from rich import box
from rich.console import Console
from rich.table import Table

RESULTS = ROOT / "bench" / "results" / "segment.json"
IRCAD = "liver/ircad17_image.nii.gz"
ORGANS = "organs_3mm/image.nii.gz"
CLASSES = {"liver": 3, "organs": 24}
PEERS = ("monai", "nnunet")
SETTINGS = ["--spacing", "1.5", "1.5", "2", "--patch", "96", "96", "64", "--overlap", "0.5", "--window", "-175", "250"]
CASES = ["3 classes, 119 slices", "3 classes, 1000 slices", "105 classes, 119 slices", "105 classes, 1000 slices"]
WORK = ROOT / "runs" / "bench_segment"
HEADINGS = ("read + preprocess", "predict", "restore + write", "whole", "windows", "peak GiB", "of needed")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=[p for p in PARTS if p != "cuda"])
    parser.add_argument("--peers", type=Path, help="virtual environment with the peers")
    parser.add_argument("--peers-script", type=Path, default=ROOT.parent / "shared" / "bench" / "peers_segment.py")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES, help="of the part `memory`")
    parser.add_argument("--runs", type=int, default=3, help="of each; medians are shown")
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


def beside_peers(name: str) -> Callable[[argparse.Namespace], Entry]:
    """A full study with one of the two networks: ours, with torch and with OpenVINO, and the peers', in turn."""

    def part(args: argparse.Namespace) -> Entry:
        model, image = trained(f"segment_{name}"), data(IRCAD)
        rows: dict[str, list[Entry]] = {}
        for turn in range(args.runs):
            for backend in ("torch", "openvino"):
                spec = {"model": str(model), "image": image, "backend": backend, "output": out(f"{name}_{backend}")}
                rows.setdefault(f"medseg {backend}", []).append(ours(spec))
            for peer in PEERS if args.peers else ():
                rows.setdefault(peer, []).append(theirs(args, peer, image, out(f"{name}_{peer}"), model, CLASSES[name]))
            print(f"{name}: turn {turn + 1} of {args.runs}", flush=True)
        runs = {key: medians(values, "whole_s") for key, values in rows.items()}
        entry: Entry = {"image": IRCAD, "classes": CLASSES[name], "runs": runs}
        if args.peers:
            entry["dice_beside_monai"] = {
                backend: agreement(out(f"{name}_monai"), out(f"{name}_{backend}")) for backend in ("torch", "openvino")
            }
        return entry

    return part


def locating(args: argparse.Namespace) -> Entry:
    """Coarse to fine on a thorax-abdomen CT, beside our own full pass and the peers'."""
    model, coarse, image = trained("segment_whole"), trained("segment_locate"), data(ORGANS)
    rows: dict[str, list[Entry]] = {}
    for _ in range(args.runs):
        for name, extra in {"full": {}, "located": {"coarse": str(coarse)}}.items():
            rows.setdefault(f"medseg {name}", []).append(
                ours({"model": str(model), "image": image, "backend": "openvino", "output": out(name), **extra})
            )
        for peer in PEERS if args.peers else ():
            rows.setdefault(peer, []).append(theirs(args, peer, image, out(f"locate_{peer}"), model, 2))
    return {
        "image": ORGANS,
        "runs": {k: medians(v, "whole_s") for k, v in rows.items()},
        "note": rows["medseg located"][-1]["notes"],
        "dice_beside_full_pass": agreement(out("full"), out("located")),
    }


def flat(args: argparse.Namespace) -> Entry:
    """Peak memory with 3 and 105 classes, on a study as it is and on one of 1000 slices; random weights.

    What was measured before stays unless it is measured again: every case is kept as soon as it is there.
    """
    entry: Entry = load(args.output).get("cpu", {}).get("memory", {"runs": {}})
    long = WORK / "long.nii.gz"
    if not long.is_file():
        repeat(data(IRCAD), long, 1000)
    for case in args.cases:
        classes, shown = int(case.split()[0]), case.split(", ")[1]
        model, image = untrained(classes), str(long) if shown == "1000 slices" else data(IRCAD)
        spec = {
            "model": str(model),
            "image": image,
            "backend": "openvino",
            "output": out(f"flat_{classes}_{shown[:4]}"),
        }
        entry["runs"][f"medseg, {case}"] = ours(spec)
        keep(args.output, entry)
        if args.peers and "119" in shown:
            for peer in PEERS:
                try:
                    run = theirs(args, peer, image, out(f"flat_{peer}"), model, classes)
                except Failed as error:  # 105 classes on the study's own grid are 13 GiB, and more while they move
                    run = {"failed": str(error)}
                entry["runs"][f"{peer}, {case}"] = run
                keep(args.output, entry)
    return entry


def keep(output: Path, memory: Entry) -> None:
    """Save the part `memory` as far as it is."""
    save(output, "cpu", load(output).get("cpu", {}) | {"memory": {**memory, **circumstances("cpu")}})


def card(args: argparse.Namespace) -> Entry:
    """A full study on a GPU, several windows at once."""
    rows = []
    for _ in range(args.runs):
        spec = {"model": str(trained("segment_liver")), "image": data(IRCAD), "backend": "torch", "device": "cuda"}
        rows.append(ours({**spec, "output": out("cuda")}))
    return {"image": IRCAD, "runs": {"medseg cuda": medians(rows, "whole_s")}}


PARTS: dict[str, Callable[[argparse.Namespace], Entry]] = {
    "liver": beside_peers("liver"),
    "organs": beside_peers("organs"),
    "locate": locating,
    "memory": flat,
    "cuda": card,
}


def ours(spec: Entry) -> Entry:
    """One study in a process of its own."""
    shown = f"python bench/segment.py --child ({spec['backend']}, {Path(spec['image']).name})".split()
    result, made = child_result(__file__, spec, shown)
    needed = sum(result[f"{part}_gib"] for part in ("volume", "result", "slab", "network"))
    return {**result, "peak_gib": round(made.peak_gib, 2), "peak_of_needed": round(made.peak_gib / needed, 2)}


def child(spec: Entry) -> Entry:
    """Load, then read, segment and write one study; loading is not counted, as with the peers."""
    from medseg.inference.load import load_segmenter
    from medseg.inference.memory import bytes_of, resident_bytes
    from medseg.study.nifti import read_image, write_labels

    device = spec.get("device", "cpu")
    segmenter = load_segmenter(spec["model"], device, backend=spec["backend"], coarse=spec.get("coarse"))
    idle, window = resident_bytes(), bytes_of(lambda: one_window(segmenter))
    seconds: dict[str, float] = {}
    windows: list[int] = []
    segmenter = counting(segmenter, windows)
    with clock(seconds, "read"):
        image = read_image(Path(spec["image"]))
    with clock(seconds, "predict"):
        box, notes = segmenter.locate(image)
    with clock(seconds, "preprocess"):
        study = segmenter.prepare(image)
    with clock(seconds, "restore"):
        result = segmenter.restore(timed(seconds, segmenter.predict(study, box=box)), study, box=box)
        result = segmenter.clean(result, image.grid)
    seconds["restore"] -= seconds["predict of slices"]
    seconds["predict"] += seconds.pop("predict of slices")
    with clock(seconds, "write"):
        write_labels(Path(spec["output"]), result.classes, image)
    everything = {**seconds, "whole": sum(seconds.values())}
    slab_voxels = grid_voxels(segmenter, image)
    slab = segmenter.spec.classes.num_channels * 4 * slab_voxels
    return {
        **{f"{key}_s": round(value, 2) for key, value in everything.items()},
        "windows": sum(windows),
        "notes": list(notes),
        "volume_gib": gib(image.voxels.nbytes),
        "result_gib": gib(result.classes.nbytes),
        "slab_gib": gib(slab),
        "network_gib": gib(idle + window),  # the libraries, the weights and one window's feature maps
        **(on_card(sum(windows) / seconds["predict"]) if device == "cuda" else {}),
    }


def on_card(windows_per_s: float) -> Entry:
    """What only a GPU has to say."""
    import torch
    from networks import convolution_speed

    from medseg.networks.macs import count_macs

    options = {"filters": [16, 16, 32, 64, 128], "strides": [1, 2, 2, 2, 2], "norm": "instance"}
    gmac = count_macs("dynunet", (96, 96, 64), **options) / 1e9
    return {
        "windows_per_s": round(windows_per_s, 1),
        "gpu_peak_gib": gib(torch.cuda.max_memory_allocated()),
        "speed_share": round(gmac * windows_per_s / convolution_speed(3, "cuda"), 3),
    }


def one_window(segmenter: Any) -> None:
    import torch

    (runner, *_) = segmenter.runners or segmenter.networks
    with torch.inference_mode():
        runner(torch.zeros((1, *segmenter.windows.input_shape), device=segmenter.device))


def grid_voxels(segmenter: Any, image: Any) -> int:
    """Voxels of the slab: the network grid's plane times a window's depth."""
    shape = segmenter.prepare(image).grid.shape
    return int(shape[0] * shape[1] * segmenter.windows.size[2])


def counting(segmenter: Any, windows: list[int]) -> Any:
    """The same segmenter, which notes how many windows each forward pass has."""

    def counted(runner: Any) -> Any:
        def run(batch: Any) -> Any:
            windows.append(len(batch))
            return runner(batch)

        return run

    runners = tuple(counted(runner) for runner in segmenter.runners or segmenter.networks)
    coarse = segmenter.coarse and counting(segmenter.coarse, windows)
    return replace(segmenter, runners=runners, coarse=coarse)


@contextmanager
def clock(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started


def timed(seconds: dict[str, float], slices: Iterable[Any]) -> Iterator[Any]:
    """The slices, with the time that making them takes."""
    rest = iter(slices)
    while True:
        with clock(seconds, "predict of slices"):
            scores = next(rest, None)
        if scores is None:
            return
        yield scores


def theirs(args: argparse.Namespace, peer: str, image: str, output: str, model: Path, classes: int) -> Entry:
    """One study with a peer's own pipeline around our network.

    Raises:
        Failed: it did not end well.
    """
    command = [str(args.peers / "bin" / "python"), str(args.peers_script), peer, image, output, "--model", str(model)]
    command += [*SETTINGS, "--classes", str(classes)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, preexec_fn=limit)
    if run.returncode:
        raise Failed(f"{peer}: {(run.stderr.strip() or 'killed, most likely for memory').splitlines()[-1]}")
    found = json.loads(run.stdout.splitlines()[-1])
    parts = {f"{k.replace('+', '_')}_s": round(found[k], 2) for k in ("read+preprocess", "predict", "restore+write")}
    return {**parts, "whole_s": round(sum(parts.values()), 2), "peak_gib": round(found["peak_GiB"], 2)}


def limit() -> None:
    """A peer that wants more memory than the machine has fails by itself, and takes nothing else with it."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    resource.setrlimit(resource.RLIMIT_AS, (installed * 8 // 10,) * 2)


def agreement(first: str, second: str) -> dict[str, float]:
    """Dice of each value of two label maps."""
    import nibabel as nib
    import numpy as np

    a, b = (np.asarray(nib.load(path).dataobj).astype(int) for path in (first, second))
    both = np.bincount(a[a == b], minlength=256)
    sizes = np.bincount(a.ravel(), minlength=256) + np.bincount(b.ravel(), minlength=256)
    return {str(v): round(float(2 * both[v] / sizes[v]), 5) for v in range(1, 256) if sizes[v]}


def trained(name: str) -> Path:
    """The model folder of bench/<name>.yaml, trained now if it is not there."""
    found = sorted((ROOT / "runs" / name).glob("*/model/model.json"))
    if not found:
        arguments = ["train", f"bench/{name}.yaml"]
        measure([sys.executable, "-m", "medseg", *arguments], ["medseg", *arguments])
        found = sorted((ROOT / "runs" / name).glob("*/model/model.json"))
    return found[-1].parent


def untrained(classes: int) -> Path:
    """The liver network with random weights and so many classes."""
    import torch

    from medseg.inference.load import load_segmenter
    from medseg.model.classes import Classes
    from medseg.model.folder import save_model
    from medseg.networks import build_network

    folder = WORK / f"untrained_{classes}"
    if not (folder / "model.json").is_file():
        spec = load_segmenter(trained("segment_liver"), "cpu").spec
        names = tuple(f"class_{n}" for n in range(1, classes))
        spec = replace(spec, classes=Classes(names))
        torch.manual_seed(0)
        save_model(folder, build_network(spec.network, 3, 1, classes, **spec.options), spec)
    return folder


def repeat(source: str, target: Path, slices: int) -> None:
    """A study as long as asked for, made of one that goes up and down again and again."""
    import numpy as np

    from medseg.study.nifti import read_image, write_image
    from medseg.types import Grid

    image = read_image(Path(source))
    there_and_back = np.concatenate([image.voxels, image.voxels[..., ::-1]], axis=2)
    times = -(-slices // there_and_back.shape[2])
    voxels = np.tile(there_and_back, (1, 1, times))[..., :slices]
    write_image(target, np.asfortranarray(voxels), Grid(voxels.shape, image.grid.affine))


def data(path: str) -> str:
    return str((ROOT / DATA / path).resolve())


def out(name: str) -> str:
    return str(WORK / f"{name}.nii.gz")


def gib(count: float) -> float:
    return round(count / 2**30, 3)


def tables(entries: dict[str, Entry]) -> list[Table]:
    """One table a part: every run beside the peers'. Needed: the volume, the result, a slab of logits, the network."""
    made = []
    for part, entry in entries.items():
        shown = Table(title=part, box=box.SIMPLE_HEAD, title_justify="left")
        for column in (
            "",
            "read + preprocess",
            "predict",
            "restore + write",
            "whole",
            "windows",
            "peak GiB",
            "of needed",
        ):
            shown.add_column(column, justify="left" if not column else "right", no_wrap=True)
        for name, run in entry["runs"].items():
            if "failed" in run:
                shown.add_row(name, *["-"] * 6, run["failed"])
                continue
            before = run.get("read_preprocess_s", run.get("read_s", 0) + run.get("preprocess_s", 0))
            after = run.get("restore_write_s", run.get("restore_s", 0) + run.get("write_s", 0))
            figures = [f"{v:.2f}" for v in (before, run["predict_s"], after, run["whole_s"])]
            windows, share = str(round(run.get("windows", 0)) or "-"), run.get("peak_of_needed", "-")
            shown.add_row(name, *figures, windows, f"{run['peak_gib']:.2f}", str(share))
        made.append(shown)
    return made


if __name__ == "__main__":
    sys.exit(main())
