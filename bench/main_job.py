"""The main job measured through the real command line: one table, and bench/results/main_job.json.

    python bench/main_job.py                                          # everything, on the CPU
    python bench/main_job.py --parts sarcoma baseline --minutes 25    # a part at a time: the others' entries stay
    python bench/main_job.py --parts sarcoma liver --device cuda --minutes 10

Entries stand under the device they were measured on. Real CT is looked for in $MEDSEG_DATA, else ../shared/data.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from measuring import DATA, ROOT, Entry, Failed, Measured, circumstances, costs, load, measure, save
from rich import box
from rich.console import Console
from rich.table import Table

RESULTS = ROOT / "bench" / "results" / "main_job.json"

SARCOMA_FLOOR = {
    "dice": 0.604,
    "source": "the data's README: no image, the other subjects' average label map at 0.4; leave-one-out over 24",
}


@dataclass(frozen=True)
class Options:
    """What the command line asked for, and the entries measured so far on the same device."""

    device: str
    minutes: float | None
    overrides: tuple[str, ...]
    runs: Path
    measured: dict[str, Entry]


def demo(options: Options) -> Entry:
    """Phantoms made and the quickstart run on them: what `make demo` does once it is installed."""
    phantoms = options.runs / "phantoms"
    making = medseg("phantom", "--output", str(phantoms), "--studies", "16", "--seed", "0")
    where = [f"data.manifest={phantoms / 'manifest.csv'}", f"data.root={phantoms}"]
    entry = run_pipeline("quickstart", options, where)
    seconds = {"phantoms_s": making.wall_s, "run_s": entry["wall_s"], "wall_s": making.wall_s + entry["wall_s"]}
    commands = [making.command, *entry["commands"]]
    return {**entry, "commands": commands, **{name: round(value, 1) for name, value in seconds.items()}}


def sarcoma(options: Options) -> Entry:
    """Fold 0 of the 24 sarcoma CTs."""
    return {**run_pipeline("sarcoma_ct", options, budget(options)), "floor": SARCOMA_FLOOR}


def baseline(options: Options) -> Entry:
    """MONAI's BasicUNet for as long as our network was trained on the same fold."""
    ours = options.measured.get("sarcoma")
    minutes = round(ours["training_s"] / 60, 2) if ours else options.minutes
    if minutes is None:
        raise Failed("expected an entry of part sarcoma to take the minutes from; measure it first, or give --minutes")
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "baseline.json"
        arguments = ["bench/sarcoma_baseline.py", "--minutes", f"{minutes}", "--device", options.device]
        made = measure([sys.executable, *arguments, "--output", str(output)], ["python", *arguments])
        result = json.loads(output.read_text())
    return {"commands": [made.command], **result, **costs(made)}


def liver(options: Options) -> Entry:
    """Liver on two CTs. Its scores are on these two: they show that it has learnt, not what it is worth elsewhere."""
    return {**run_pipeline("liver_ct", options, budget(options)), "scored_on": "its two training studies"}


def segment(options: Options) -> Entry:
    """The newest liver model on ircad17 at its full 512 x 512 x 119, three times, and once scored."""
    model = newest_model(options.runs / "liver_ct")
    with tempfile.TemporaryDirectory() as name:
        folder, source = Path(name), f"{DATA}/liver/ircad17_image.nii.gz"
        arguments = ["segment", "--model", str(model), "--input", source, "--device", options.device]
        times = [medseg(*arguments, "--output", str(folder / "out"), "--quiet") for _ in range(3)]
        # The label alone: beside it lies the image, whose name is the segmentation's.
        (folder / "reference").mkdir()
        label = ROOT / DATA / "liver" / "ircad17_label.nii.gz"
        (folder / "reference" / label.name).symlink_to(label.resolve())
        pair = ["--reference", str(folder / "reference"), "--segmentation", str(folder / "out")]
        labels = ["--labels", "liver=1+2", "--segmentation-labels", "liver=1"]
        scored = medseg("evaluate", *pair, *labels, "--output", str(folder / "scores.csv"))
        scores = read_scores(folder / "scores.json")
    largest = max(times, key=lambda made: made.peak_gib)
    return {
        "commands": [text.replace(name, "/tmp/out") for text in (times[0].command, scored.command)],
        **costs(largest),
        "wall_s": round(statistics.median(made.wall_s for made in times), 2),
        "wall_s_each": [round(made.wall_s, 2) for made in times],
        "scored_on": "one of its training studies",
        **scores,
    }


PARTS: dict[str, Callable[[Options], Entry]] = {
    part.__name__: part for part in (demo, sarcoma, baseline, liver, segment)
}
"""In the order in which they need each other."""


def run_pipeline(name: str, options: Options, overrides: Sequence[str]) -> Entry:
    """`medseg run` with an empty cache, so that preparing the studies is part of the seconds."""
    cache = options.runs / "bench_cache"
    shutil.rmtree(ROOT / cache, ignore_errors=True)
    settings = [f"runs_dir={options.runs}", f"data.cache_dir={cache}", f"training.device={options.device}"]
    if options.device == "cuda":
        settings += ["training.precision=bfloat16", "training.compile=true"]
    made = medseg("run", f"pipelines/{name}.yaml", *settings, *overrides, *options.overrides)
    shutil.rmtree(ROOT / cache, ignore_errors=True)
    return {"commands": [made.command], **costs(made), **read_run(ROOT / run_folder(made.output))}


def budget(options: Options) -> list[str]:
    """--minutes as an override."""
    return [] if options.minutes is None else [f"training.max_minutes={options.minutes:g}"]


def medseg(*arguments: str) -> Measured:
    """Run the command line of this interpreter's medseg."""
    return measure([sys.executable, "-m", "medseg", *arguments], ["medseg", *arguments])


def run_folder(output: str) -> Path:
    """The folder that `medseg run` names at its end."""
    named = re.search(r"^run folder: (.+)$", output, re.MULTILINE)
    if not named:
        raise Failed("expected a line 'run folder: ...' at the end of medseg run")
    return Path(named[1].strip())


def newest_model(pipeline: Path) -> Path:
    """The model of the newest complete run; run ids sort by date."""
    found = sorted((ROOT / pipeline).glob("*/model/model.json"))
    if not found:
        raise Failed(f"expected a run with a model in {pipeline}, found none; measure part liver first")
    return pipeline / found[-1].parents[1].name / "model"


def read_run(folder: Path) -> Entry:
    """What a run folder tells of a run."""
    return {"run": folder.name, **read_log(folder / "log.jsonl"), **read_scores(folder / "evaluation.json")}


def read_log(path: Path) -> Entry:
    """Seconds and steps of training; steps a second leave validation out."""
    epochs = [row for row in map(json.loads, path.read_text().splitlines()) if "epoch_s" in row]
    training_s = sum(row["epoch_s"] for row in epochs)
    validation_s = sum(row.get("validation_s", 0.0) for row in epochs)
    steps = int(epochs[-1]["step"])
    return {
        "training_s": round(training_s, 1),
        "validation_s": round(validation_s, 1),
        "steps": steps,
        "steps_per_s": round(steps / (training_s - validation_s), 3),
    }


def read_scores(path: Path) -> Entry:
    """Mean Dice and IoU of each label, each study's Dice, and the mean Dice where there is one label only."""
    document = json.loads(path.read_text())
    labels = {row["label"]: {k: row[k]["mean"] for k in ("dice", "iou")} for row in document["labels"]}
    studies = {s["study_id"]: {row["label"]: row["dice"] for row in s["rows"]} for s in document["studies"]}
    if len(labels) > 1:
        return {"labels": labels, "dice": studies}
    (name,) = labels
    dice = {study_id: by_label[name] for study_id, by_label in studies.items()}
    return {"labels": labels, "dice": dice, "mean_dice": labels[name]["dice"]}


def table(results: dict[str, dict[str, Entry]]) -> Table:
    """One row per part and device."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in ("part", "device", "native-grid Dice"):
        shown.add_column(heading, no_wrap=True)
    for heading in ("wall s", "train s", "steps", "steps/s", "GiB", "GPU"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for device, entries in results.items():
        for part in (name for name in PARTS if name in entries):
            entry = entries[part]
            keys = ("wall_s", "training_s", "steps", "steps_per_s", "peak_gib", "gpu_peak_gib")
            shown.add_row(part, device, scores_text(entry), *(f"{entry.get(key, '')}" for key in keys))
    return shown


def scores_text(entry: Entry) -> str:
    """Class-wise means, or the studies' Dice and their mean beside what it is to be held against."""
    if "mean_dice" not in entry:
        rows = entry["labels"].items()
        return "\n".join(f"{name} {number(row['dice'])} (IoU {number(row['iou'])})" for name, row in rows)
    beside = [f"without any image {entry['floor']['dice']}"] if "floor" in entry else []
    if "baseline" in entry:
        beside.append("BasicUNet {mean_dice:.3f} in {minutes} min".format(**entry["baseline"]))
    beside += [entry["scored_on"]] if "scored_on" in entry else []
    studies = [f"{study} {number(value)}" for study, value in entry["dice"].items()]
    return "\n".join([f"mean {number(entry['mean_dice'])}", *beside, *studies])


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--parts", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="PART", help=", ".join(PARTS)
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--minutes", type=float, help="training.max_minutes of sarcoma and liver")
    parser.add_argument("--override", nargs="+", default=[], metavar="KEY=VALUE", help="for every pipeline that is run")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="seen from the project's folder")
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args()

    failures = []
    for part in (name for name in PARTS if name in args.parts):
        entries = load(args.output).get(args.device, {})
        options = Options(args.device, args.minutes, tuple(args.override), args.runs_dir, entries)
        try:
            entries[part] = {**circumstances(args.device), **PARTS[part](options)}
        except Failed as error:  # an hour of other parts is not lost
            failures.append(f"{part}: {error}")
            continue
        if "sarcoma" in entries and "baseline" in entries:
            entries["sarcoma"]["baseline"] = {key: entries["baseline"][key] for key in ("mean_dice", "minutes")}
        save(args.output, args.device, entries)
    Console(width=max(110, Console().width)).print(table(load(args.output)))
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
