"""What each network costs: parameters, MACs, milliseconds and memory; one table, bench/results/networks.json, a plot.

    python bench/networks.py                                                # everything, on the CPU
    python bench/networks.py --networks unet fcn --forms small --dims 3     # some of it: the other entries stay
    python bench/networks.py --device cuda --missing                        # what has no entry yet

Each entry is a process of its own. A network that does not fit is an entry too, with the reason.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measuring import ROOT, Entry, Failed, child_result, circumstances, load, save
from rich import box
from rich.console import Console
from rich.table import Table

from medseg.networks import NETWORKS

if TYPE_CHECKING:
    from torch import nn

RESULTS = ROOT / "bench" / "results" / "networks.json"
FORMS = ("small", "full")
"""Of a network: the table's small one, and the paper's width with the defaults."""

PATCHES = {
    "cpu": {2: (256, 256), 3: (64, 64, 64)},
    "cuda": {2: (512, 512), 3: (128, 128, 128)},
}
"""Voxels of one image of one channel, by device and spatial dimensions."""

REFERENCES = {
    "cpu": {2: (128, (128, 128)), 3: (64, (48, 48, 48))},
    "cuda": {2: (256, (512, 512)), 3: (256, (64, 64, 64))},
}
"""Channels and size of the convolution, 3 voxels wide along each axis, that says how fast the machine convolves."""

SAMPLES = 50
"""Passes of a kind at most."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--dims", nargs="+", type=int, choices=[2, 3], default=[2, 3])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="of timing for each entry; one pass may take longer"
    )
    parser.add_argument("--memory-gib", type=float, help="for each process on the CPU; what is free, if not given")
    parser.add_argument("--missing", action="store_true", help="only what has no entry yet")
    parser.add_argument("--output", type=Path, default=RESULTS, help="the plots stand beside it")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(child(json.loads(args.child))))
        return 0
    for name, form, dims in [(n, f, d) for n in args.networks for f in args.forms for d in args.dims]:
        entries = load(args.output).get(args.device, {})
        key = f"{name} {form} {dims}D"
        if dims in NETWORKS[name].dims and not (args.missing and key in entries):
            options = dict(NETWORKS[name].small) if form == "small" else {}
            entries[key] = cost(name, form, options, dims, args.device, args.seconds, args.memory_gib)
            save(args.output, args.device, entries)
    results = load(args.output)
    Console(width=max(110, Console().width)).print(table(results))
    for device, entries in results.items():
        for key in (key for key, entry in entries.items() if "failed" in entry):
            print(f"failed: {key} on {device}: {entries[key]['failed']}")
        if plot(entries, args.output.with_name(f"{args.output.stem}_{device}.png")):
            print(f"plot: {args.output.with_name(f'{args.output.stem}_{device}.png')}")
    return 0


def cost(
    name: str,
    form: str,
    options: Entry,
    dims: int,
    device: str,
    seconds: float = 10.0,
    memory_gib: float | None = None,
    *,
    patch: Sequence[int] | None = None,
) -> Entry:
    """Measure one network in a process of its own; ``failed`` says what could not be measured, and why."""
    spec = {"name": name, "options": options, "dims": dims, "device": device, "seconds": seconds, "gib": memory_gib}
    spec["patch"] = list(patch or PATCHES[device][dims])
    shown = f"python bench/networks.py --networks {name} --forms {form} --dims {dims} --device {device}".split()
    entry: Entry = {"name": name, "form": form, "dims": dims, "options": options, **circumstances(device)}
    try:
        result, _ = child_result(__file__, spec, shown)
    except Failed as error:  # nothing came back
        reason = "killed, most likely for memory: " if "code -9" in str(error) else ""
        return entry | {"failed": f"{reason}{error}"}
    return entry | result


def child(spec: Entry) -> Entry:
    """All that is measured of one network, in this process."""
    import torch

    from medseg.networks import build_network
    from medseg.networks.macs import count_macs
    from medseg.networks.table import count_parameters

    name, options, dims, device = spec["name"], spec["options"], spec["dims"], spec["device"]
    patch = spec["patch"]
    entry: Entry = {"patch_size": patch, "precision": "bfloat16" if device == "cuda" else "float32"}
    entry["parameters"] = count_parameters(name, dims, **options)  # imports all that the limit should not meet
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    if device == "cpu":
        limit_memory(spec["gib"])
    phase = "reference"
    try:
        entry["reference_gmac_per_s"] = round(convolution_speed(dims, device), 2)
        entry["idle_gib"] = peak_gib(device)
        phase = "building"
        network = build_network(name, dims, 1, 2, **options).to(device)
        phase = "forward"
        entry |= forward(network, patch, device, spec["seconds"] / 3)
        phase = "training"
        entry |= training(network, patch, device, spec["seconds"] * 2 / 3)
        del network
    except (RuntimeError, MemoryError, ImportError) as error:
        entry["failed"] = f"{phase}: {(str(error).strip() or repr(error)).splitlines()[0]}"
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    entry["gmac"] = round(count_macs(name, patch, **options) / 1e9, 4)
    if "forward_ms" in entry:
        speed = entry["gmac"] / entry["forward_ms"] * 1000
        entry["speed_share"] = round(speed / entry["reference_gmac_per_s"], 3)
    return entry


def forward(network: nn.Module, patch: Sequence[int], device: str, seconds: float) -> Entry:
    """Milliseconds of an image in eval mode, and the memory at most."""
    import torch

    image = channels_last(torch.randn(1, 1, *patch, device=device), len(patch))
    channels_last(network.eval(), len(patch))

    def step() -> None:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            network(image)

    return passes("forward", step, device, seconds)


def training(network: nn.Module, patch: Sequence[int], device: str, seconds: float) -> Entry:
    """The same of forward and backward in train mode, auxiliary outputs included; no optimiser."""
    import torch
    from torch import Tensor

    image = channels_last(torch.randn(1, 1, *patch, device=device), len(patch))
    network.train()

    def step() -> None:
        network.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            output = network(image)
        outputs = [output] if isinstance(output, Tensor) else [output.logits, *(a.logits for a in output.auxiliary)]
        torch.stack([logits.float().square().mean() for logits in outputs]).sum().backward()

    return passes("training", step, device, seconds)


def passes(kind: str, step: Callable[[], None], device: str, seconds: float) -> Entry:
    """Median time of as many passes as fit, without the first one where there are more; peak memory."""
    import torch

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    times: list[float] = []
    started = time.perf_counter()
    while not times or (time.perf_counter() - started < seconds and len(times) <= SAMPLES):
        times.append(timed(step, device))
    counted = times[1:] or times
    return {
        f"{kind}_ms": round(statistics.median(counted) * 1000, 3),
        f"{kind}_n": len(counted),
        f"{kind}_gib": peak_gib(device),
    }


def timed(step: Callable[[], None], device: str) -> float:
    """Seconds of one pass."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def convolution_speed(dims: int, device: str) -> float:
    """GMAC/s of a plain convolution: what the machine can do, in the precision and layout of the networks."""
    import torch

    from medseg.networks.layers.blocks import conv

    channels, size = REFERENCES[device][dims]
    precision = torch.bfloat16 if device == "cuda" else torch.float32
    layer = channels_last(conv(dims, channels, channels, 3, bias=False).to(device, precision), dims)
    image = channels_last(torch.randn(1, channels, *size, device=device, dtype=precision), dims)

    def step() -> None:
        with torch.inference_mode():
            layer(image)

    ms = passes("reference", step, device, 1.0)["reference_ms"]
    return float(math.prod(size) * 3**dims * channels**2 / ms / 1e6)


def channels_last(thing: Any, dims: int) -> Any:
    """A network or an image with its channels innermost, as the pipelines here have them."""
    import torch

    return thing.to(memory_format=torch.channels_last if dims == 2 else torch.channels_last_3d)


def peak_gib(device: str) -> float:
    """Memory so far at most: of the GPU since it was last reset, else of this process."""
    import torch

    if device == "cuda":
        return round(torch.cuda.max_memory_allocated() / 2**30, 3)
    # ru_maxrss may still hold the peak of the process that started this one; the kernel's own mark does not.
    marks = [line for line in read_lines("/proc/self/status") if line.startswith("VmHWM")]
    kib = int(marks[0].split()[1]) if marks else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(kib / 2**20, 3)


def limit_memory(gib: float | None) -> None:
    """Let an allocation that does not fit fail here, before the system has to kill something."""
    facts = {
        key: int(rest.split()[0]) for key, _, rest in (line.partition(":") for line in read_lines("/proc/meminfo"))
    }
    sizes = [line for line in read_lines("/proc/self/status") if line.startswith("VmSize")]
    if not sizes or (gib is None and "MemAvailable" not in facts):
        return
    more = int(gib * 2**30) if gib is not None else int(facts["MemAvailable"] * 1024 * 0.9)
    limit = int(sizes[0].split()[1]) * 1024 + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def read_lines(path: str) -> list[str]:
    """Of a file of the kernel's; none where there is no such file."""
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def table(results: dict[str, dict[str, Entry]]) -> Table:
    """One row per network, form and dimension."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    shown.add_column("network", no_wrap=True)
    for heading in ("form", "dims", "device"):
        shown.add_column(heading, no_wrap=True)
    for heading in ("params M", "GMAC", "forward ms", "training ms", "GiB", "GiB training", "of conv speed"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for device, entries in results.items():
        for name, form, dims in [(n, f, d) for n in NETWORKS for f in FORMS for d in (2, 3)]:
            entry = entries.get(f"{name} {form} {dims}D")
            if entry is None:
                continue
            share = f"{entry['speed_share']:.0%}" if "speed_share" in entry else "-"
            parameters = f"{entry['parameters'] / 1e6:.2f}" if "parameters" in entry else "-"
            costs = [
                figures(entry.get(key)) for key in ("gmac", "forward_ms", "training_ms", "forward_gib", "training_gib")
            ]
            shown.add_row(name, form, f"{dims}D", device, parameters, *costs, share)
    return shown


def figures(value: float | None) -> str:
    """Three figures, or more where they stand before the point."""
    return "-" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def plot(entries: dict[str, Entry], path: Path) -> bool:
    """Draw training milliseconds against memory, a panel for each form and dimension; False with nothing to draw."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter
    from pareto import INK, QUIET, SHADES, Point, draw

    measured = [entry for entry in entries.values() if "training_ms" in entry]
    if not measured:
        return False
    forms = [form for form in FORMS if any(entry["form"] == form for entry in measured)]
    dims = sorted({entry["dims"] for entry in measured})
    size = (7.2 * len(dims) + 1.2, 5.6 * len(forms) + 0.9)
    figure = Figure(figsize=size, dpi=130, facecolor="white", layout="constrained")
    panels = figure.subplots(len(forms), len(dims), squeeze=False)
    figure.suptitle(f"What a network costs to train: {where(measured[-1])}", color=INK, fontsize=13, x=0.01, ha="left")
    note = (
        "Lower left is better; the line joins those that none beats in both. The area of a point grows with parameters."
    )
    figure.supxlabel(note, color=QUIET, fontsize=9, x=0.01, ha="left")
    bar = figure.colorbar(ScalarMappable(cmap=SHADES), ax=panels, fraction=0.03, pad=0.01, aspect=50)
    bar.set_label("forward pass: share of a plain convolution's speed", color=QUIET, fontsize=9)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    bar.ax.tick_params(colors=QUIET, labelsize=8)
    bar.outline.set_visible(False)
    for form, d, ax in [(f, d, panels[row][col]) for row, f in enumerate(forms) for col, d in enumerate(dims)]:
        chosen = [entry for entry in measured if (entry["form"], entry["dims"]) == (form, d)]
        voxels = " x ".join(map(str, chosen[0]["patch_size"])) if chosen else ""
        ax.set_title(f"{form}, {d}D, {voxels}", loc="left", color=INK, fontsize=11, fontweight="bold")
        ax.set_xlabel("forward and backward, ms", color=QUIET, fontsize=9)
        ax.set_ylabel("peak memory in training, GiB", color=QUIET, fontsize=9)
        ax.set_yscale("log")
        points = [
            Point(e["name"], e["training_ms"], e["training_gib"], area(e["parameters"]), e["speed_share"])
            for e in chosen
        ]
        draw(ax, points, higher=False)
    figure.savefig(path)
    return True


def where(entry: Entry) -> str:
    """The machine that an entry was measured on, and how."""
    machine = entry["machine"]
    cores = f"{machine['cores']} core{'s' if machine['cores'] > 1 else ''} of {machine['cpu']}"
    return f"{cores if machine['device'] == 'cpu' else machine['device']}, {entry['precision']}, batches of one"


def area(parameters: int) -> float:
    """Of a point, growing with the root of the parameters so that it stays readable."""
    return 18 + 22 * (parameters / 1e6) ** 0.5


if __name__ == "__main__":
    sys.exit(main())
