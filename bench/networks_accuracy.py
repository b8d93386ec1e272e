"""What each network learns in the same minutes: small forms on the same phantoms; JSON, a plot of Dice against time.

    python bench/networks_accuracy.py                                   # every network for 3 minutes, on the CPU
    python bench/networks_accuracy.py --networks unet segnet --minutes 1

Each goes through `medseg run` with pipelines/quickstart.yaml, and is scored on the test phantoms. A network that has an
entry of as many minutes is left out, so that an interrupted bench goes on where it was; --again measures it anew.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from main_job import medseg, read_run, run_folder
from measuring import ROOT, Entry, Failed, circumstances, costs, load, save
from networks import cost, figures, where
from rich import box
from rich.console import Console
from rich.table import Table

from medseg.networks import NETWORKS, network_options

RESULTS = ROOT / "bench" / "results" / "networks_accuracy.json"
PATCH = [64, 64, 64]
"""Of pipelines/quickstart.yaml, and of bench/networks.py on the CPU."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--minutes", type=float, default=3.0, help="of training, for each network")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--seconds", type=float, default=5.0, help="of timing a forward pass, for each network")
    parser.add_argument("--again", action="store_true", help="also what has an entry")
    parser.add_argument("--override", nargs="+", default=[], metavar="KEY=VALUE", help="for every run")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/networks"), help="seen from the project's folder")
    parser.add_argument("--output", type=Path, default=RESULTS, help="the plots stand beside it")
    args = parser.parse_args()
    failures = []
    for name in args.networks:
        entries = load(args.output).get(args.device, {})
        if not args.again and entries.get(name, {}).get("minutes") == args.minutes:
            continue
        try:
            entries[name] = accuracy(name, args)
        except Failed as error:  # the hours of other networks are not lost
            failures.append(f"{name}: {error}")
            continue
        save(args.output, args.device, entries)
    results = load(args.output)
    Console(width=max(100, Console().width)).print(table(results))
    for device, entries in results.items():
        path = args.output.with_name(f"{args.output.stem}_{device}.png")
        if plot(entries, path):
            print(f"plot: {path}")
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


def accuracy(name: str, args: argparse.Namespace) -> Entry:
    """Train, segment and score one network, then time its forward pass on a patch.

    Raises:
        Failed: the run did not end well.
    """
    options = dict(NETWORKS[name].small)
    if network_options(name)["norm"].default == "none":
        options["norm"] = "batch"  # as its fragment has it: without a norm it does not learn from scratch
    phantoms = args.runs_dir / "phantoms"
    if not (ROOT / phantoms / "manifest.csv").is_file():
        medseg("phantom", "--output", str(phantoms), "--studies", "16", "--seed", "0")
    settings = {
        "runs_dir": args.runs_dir,
        "data.manifest": phantoms / "manifest.csv",
        "data.root": phantoms,
        "data.cache_dir": args.runs_dir / "cache",
        "training.device": args.device,
        "training.epochs": 1000,
        "training.max_minutes": args.minutes,
        "network.name": name,
        **{f"network.{key}": json.dumps(value) for key, value in options.items()},
        **({"training.precision": "bfloat16"} if args.device == "cuda" else {}),
    }
    made = medseg("run", "pipelines/quickstart.yaml", *(f"{k}={v}" for k, v in settings.items()), *args.override)
    timing = cost(name, "small", options, 3, args.device, args.seconds, patch=PATCH)
    kept = ("parameters", "gmac", "forward_ms", "training_ms", "precision", "failed")
    return {
        **circumstances(args.device),
        "minutes": args.minutes,
        "options": options,
        "patch_size": PATCH,
        "commands": [made.command],
        **costs(made),
        **read_run(ROOT / run_folder(made.output)),
        **{key: timing[key] for key in kept if key in timing},
    }


def table(results: dict[str, dict[str, Entry]]) -> Table:
    """One row per network, the best mean first."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in ("network", "device"):
        shown.add_column(heading, no_wrap=True)
    labels = list(dict.fromkeys(label for e in results.values() for entry in e.values() for label in entry["labels"]))
    for heading in (*(f"Dice {label}" for label in labels), "minutes", "steps", "params M", "GMAC", "forward ms"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for device, entries in results.items():
        for name, entry in sorted(entries.items(), key=lambda item: -mean_dice(item[1])):
            dice = [f"{entry['labels'].get(label, {}).get('dice') or 0:.3f}" for label in labels]
            parameters = figures(entry["parameters"] / 1e6) if "parameters" in entry else "-"
            times = [figures(entry.get(key)) for key in ("gmac", "forward_ms")]
            shown.add_row(name, device, *dice, f"{entry['minutes']:g}", f"{entry['steps']}", parameters, *times)
    return shown


def mean_dice(entry: Entry) -> float:
    """Over the labels; a label that was never found counts as 0."""
    found = [row["dice"] or 0.0 for row in entry["labels"].values()]
    return sum(found) / len(found)


def plot(entries: dict[str, Entry], path: Path) -> bool:
    """Draw Dice against the milliseconds of a forward pass, a panel for each label; False with nothing to draw."""
    from matplotlib.figure import Figure
    from pareto import INK, QUIET, Point, draw

    timed = {name: entry for name, entry in entries.items() if "forward_ms" in entry}
    if not timed:
        return False
    last = list(timed.values())[-1]
    labels = list(last["labels"])
    figure = Figure(figsize=(7.2 * len(labels), 6.0), dpi=130, facecolor="white", layout="constrained")
    title = f"What small networks learn in {last['minutes']:g} minutes: {where(last)}"
    figure.suptitle(title, color=INK, fontsize=13, x=0.01, ha="left")
    note = "Upper left is better; the line joins those that none beats in both. The area of a point grows with MACs."
    figure.supxlabel(note, color=QUIET, fontsize=9, x=0.01, ha="left")
    for label, ax in zip(labels, figure.subplots(1, len(labels), squeeze=False)[0], strict=True):
        ax.set_title(label, loc="left", color=INK, fontsize=11, fontweight="bold")
        ax.set_xlabel(f"forward pass, ms, {' x '.join(map(str, last['patch_size']))}", color=QUIET, fontsize=9)
        ax.set_ylabel("Dice on the test phantoms", color=QUIET, fontsize=9)
        points = [
            Point(name, e["forward_ms"], e["labels"][label]["dice"] or 0.0, 25 + 30 * e["gmac"] ** 0.5)
            for name, e in timed.items()
        ]
        draw(ax, points, higher=True)
    figure.savefig(path)
    return True


if __name__ == "__main__":
    sys.exit(main())
