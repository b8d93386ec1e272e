"""Run a command and say what it cost, and on what machine; shared by the scripts of this folder."""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medseg.files import atomic_path
from medseg.tracking.environment import environment, git_revision

ROOT = Path(__file__).resolve().parents[1]
DATA = os.path.abspath(os.environ["MEDSEG_DATA"]) if "MEDSEG_DATA" in os.environ else "../shared/data"
"""Folder of real CT, as commands that run in ROOT name it."""

Entry = dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """One command that ended well."""

    command: str
    output: str
    wall_s: float
    peak_gib: float
    gpu_peak_gib: float | None


class Failed(Exception):
    """A part could not be measured."""


def measure(command: Sequence[str], shown: Sequence[str]) -> Measured:
    """Run a command in the project's root; ``shown`` is what is written down: it names no interpreter of this machine.

    Raises:
        Failed: it did not end well.
    """
    text = shlex.join(shown)
    text = text.replace(DATA, "$MEDSEG_DATA") if os.path.isabs(DATA) else text
    print(f"$ {text}", flush=True)
    with GpuMemory() as gpu:
        started = time.monotonic()
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "MEDSEG_DATA": DATA}, stdout=subprocess.PIPE, text=True
        )
        output = passed_on(process.stdout or ())
        # wait4 gives this child's own peak, where RUSAGE_CHILDREN gives the largest of all children so far.
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise Failed(f"exit code {process.returncode}: {text}")
    in_bytes = usage.ru_maxrss * (1 if platform.system() == "Darwin" else 1024)
    return Measured(text, output, wall_s, in_bytes / 2**30, gpu.peak_gib)


def passed_on(lines: Iterable[str]) -> str:
    """Print lines as they come, and return them all."""
    kept = []
    for line in lines:
        print(line, end="", flush=True)
        kept.append(line)
    return "".join(kept)


class GpuMemory(threading.Thread):
    """Peak memory of the first GPU, asked of nvidia-smi once a second; None without one. Counts every program on it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_gib: float | None = None
        self._ended = threading.Event()

    def __enter__(self) -> GpuMemory:
        if shutil.which("nvidia-smi"):
            self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()

    def run(self) -> None:
        while not self._ended.wait(1.0):
            used = nvidia_smi("memory.used")
            if used and used.isdigit():
                self.peak_gib = max(self.peak_gib or 0.0, int(used) / 1024)


def nvidia_smi(field: str) -> str | None:
    """One field of the first GPU."""
    command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return None
    return lines[0].strip() if lines else None


def costs(made: Measured) -> Entry:
    gpu = {} if made.gpu_peak_gib is None else {"gpu_peak_gib": round(made.gpu_peak_gib, 2)}
    return {"wall_s": round(made.wall_s, 1), "peak_gib": round(made.peak_gib, 2), **gpu}


def circumstances(device: str) -> Entry:
    """When, on what, with which code; no host name."""
    facts = environment()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": git_revision(ROOT),
        "machine": {
            "cpu": cpu_model(),
            "cores": int(facts["cpus"]),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "device": nvidia_smi("name") if device == "cuda" else "cpu",
        },
        "versions": {name: facts.get(name) for name in ("python", "medseg", "torch", "monai")},
    }


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def child_result(script: str, spec: Entry, shown: Sequence[str]) -> tuple[Entry, Measured]:
    """What a script of this folder prints in its last line when it gets a spec as ``--child``, in its own process.

    Args:
        script: its ``__file__``.
        spec: what is to be measured.
        shown: the command as a person would read it.
    """
    made = measure([sys.executable, script, "--child", json.dumps(spec)], shown)
    result: Entry = json.loads(made.output.splitlines()[-1])
    return result, made


def medians(rows: Sequence[Entry], whole: str) -> Entry:
    """The median of every number; all times of ``whole`` are kept beside them."""
    numbers = [key for key, value in rows[0].items() if isinstance(value, int | float)]
    middle = {key: round(statistics.median(row[key] for row in rows), 3) for key in numbers}
    return {**middle, "all_s": [row[whole] for row in rows]}


def save(path: Path, device: str, entries: dict[str, Entry]) -> None:
    """Replace one device's entries; the other's stay."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps({**load(path), device: entries}, indent=1) + "\n")


def load(path: Path) -> dict[str, dict[str, Entry]]:
    """Device -> part -> entry."""
    return dict(json.loads(path.read_text())) if path.is_file() else {}
