"""What is worth knowing about the machine and the code of a run; no host, user or path names."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path


def environment() -> dict[str, str]:
    """Versions and hardware of this process.

    Returns:
        python, platform, cpus (that this process may use), the versions of medseg, torch, monai and mlflow as far as
        they are installed, and cuda_device where torch is already imported and sees one.
    """
    facts = {
        "python": platform.python_version(),
        "platform": f"{platform.system()}-{platform.machine()}",
        "cpus": str(_cpu_count()),
    }
    for package in ("medseg", "torch", "monai", "mlflow"):
        version = installed_version(package)
        if version:
            facts[package] = version
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        facts["cuda_device"] = torch.cuda.get_device_name(0)
    return facts


def git_revision(folder: Path) -> str | None:
    """Commit of the checkout that a folder belongs to.

    Args:
        folder: a folder with files that git tracks.

    Returns:
        40 hex digits, with `-dirty` when tracked files were changed since; None without git, outside a checkout, or
        when git tracks nothing in the folder (an environment inside somebody's checkout is not that checkout's code).
    """
    if _git(folder, "ls-files", "--error-unmatch", ".") is None:
        return None
    return _git(folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _cpu_count() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def installed_version(package: str) -> str | None:
    """Version of an installed distribution, without importing it; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
