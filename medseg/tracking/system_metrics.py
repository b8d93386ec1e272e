"""How busy the machine is, under the names that MLflow's own monitor uses: its page has a tab for them.

MLflow's monitor asks the store about the run at every sample and ends with it when the store is away; it also needs
psutil, which MLflow does not install. So the few numbers are read here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

_INTERVAL_S = 10.0  # MLflow's own

_GPU_FIELDS = ("utilization.gpu", "memory.used", "memory.total", "power.draw", "power.limit")

_MIB = 2**20 / 1e6  # nvidia-smi's unit in MLflow's


class SystemMetrics:
    """Samples in a thread of its own.

    Args:
        start_s: when the run began, in seconds since 1970; a resumed run's steps go on from there.
        interval_s: from sample to sample; None is ten seconds, as in MLflow.
    """

    def __init__(self, start_s: float, interval_s: float | None = None) -> None:
        self._start_s = start_s
        self._interval_s = interval_s or _INTERVAL_S
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, log: Callable[[dict[str, float], int], None]) -> None:
        """Give ``log`` the metrics and their step at every interval."""
        self._thread = threading.Thread(target=self._run, args=(log,), name="medseg-system-metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what it is reading is still logged."""
        self._ended.set()
        if self._thread:
            self._thread.join(timeout=2.0)

    def _run(self, log: Callable[[dict[str, float], int], None]) -> None:
        before = cpu_ticks()
        while not self._ended.wait(self._interval_s):
            now = cpu_ticks()
            metrics = cpu_use(before, now) | memory_use() | disk_use() | gpu_use()
            before = now
            step = round((time.time() - self._start_s) / self._interval_s)
            log({f"system/{name}": value for name, value in metrics.items()}, step)


def cpu_ticks(path: Path = Path("/proc/stat")) -> tuple[int, int]:
    """Ticks that all processors have worked, and all that have passed; zeros where the system does not say."""
    try:
        ticks = [int(word) for word in path.read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return 0, 0
    if len(ticks) < 5:
        return 0, 0
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)  # without idle and waiting for the disk


def cpu_use(before: tuple[int, int], now: tuple[int, int]) -> dict[str, float]:
    """Share of all processors' time that was worked between two ``cpu_ticks``; empty where no time has passed."""
    passed = now[1] - before[1]
    return {"cpu_utilization_percentage": round(100 * (now[0] - before[0]) / passed, 1)} if passed > 0 else {}


def memory_use(path: Path = Path("/proc/meminfo"), own: Path = Path("/proc/self/statm")) -> dict[str, float]:
    """Memory in use on the machine and by this process, in MB; empty where the system does not say."""
    try:
        rows = (line.split(":") for line in path.read_text().splitlines())
        kib = {name: int(value.split()[0]) for name, value in rows}
        used = kib["MemTotal"] - kib["MemAvailable"]
        pages = int(own.read_text().split()[1])
    except (OSError, ValueError, KeyError, IndexError):
        return {}
    return {
        "system_memory_usage_megabytes": round(used * 1.024 / 1000, 1),
        "system_memory_usage_percentage": round(100 * used / kib["MemTotal"], 1),
        "process_memory_usage_megabytes": round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1),
    }


def disk_use(place: Path = Path()) -> dict[str, float]:
    """How full the disk of the working directory is."""
    try:
        usage = shutil.disk_usage(place)
    except OSError:
        return {}
    return {
        "disk_usage_percentage": round(100 * usage.used / usage.total, 1),
        "disk_available_megabytes": round(usage.free / 1e6, 1),
    }


def gpu_use() -> dict[str, float]:
    """Load, memory and power of every NVIDIA GPU; empty without one."""
    if not shutil.which("nvidia-smi"):
        return {}
    command = ["nvidia-smi", f"--query-gpu={','.join(_GPU_FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    return parse_gpus(answer)


def parse_gpus(answer: str) -> dict[str, float]:
    """``gpu_0_utilization_percentage`` and so on from nvidia-smi's lines; what a GPU does not tell is left out."""
    metrics: dict[str, float] = {}
    for index, line in enumerate(answer.strip().splitlines()):
        load, used, total, power, limit = (_number(word) for word in line.split(","))
        values = {
            "utilization_percentage": load,
            "memory_usage_megabytes": None if used is None else round(used * _MIB, 1),
            "memory_usage_percentage": None if used is None or not total else round(100 * used / total, 1),
            "power_usage_watts": power,
            "power_usage_percentage": None if power is None or not limit else round(100 * power / limit, 1),
        }
        metrics |= {f"gpu_{index}_{name}": value for name, value in values.items() if value is not None}
    return metrics


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None
