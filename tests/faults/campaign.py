"""Run the command line over a manifest of good studies, then over one with bad studies among them, in one process.

    python campaign.py MODEL FOLDER

FOLDER holds good.csv and all.csv, whose paths are relative to it; the segmentations go to FOLDER/alone and
FOLDER/mixed, what the process saw to FOLDER/seen.json. This is a process of its own because it must be seen to
survive, and because its memory is limited and measured.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

ROOM_BYTES = 1 << 30
"""Address space that the bad studies may take beyond what the good ones took."""


def segment(model: Path, folder: Path, manifest: str, output: str) -> int:
    """``medseg segment`` as the shell would call it; returns its exit code."""
    from medseg import cli

    options = {"--model": model, "--input": folder / manifest, "--root": folder, "--output": folder / output}
    words = [str(word) for option in options.items() for word in option]
    sys.argv = ["medseg", "segment", *words, "--device", "cpu", "--quiet"]
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def refuse_to_open(name: str) -> None:
    """Files of this name cannot be opened: root, who may run this, is not stopped by permissions."""
    whole = Path.open

    def opened(self: Path, *args: Any, **options: Any) -> Any:
        if name in self.name:
            raise PermissionError(13, "Permission denied", str(self))
        return whole(self, *args, **options)

    Path.open = opened  # type: ignore[assignment,method-assign]


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def main(model: Path, folder: Path) -> None:
    """Both runs, and what they took."""
    refuse_to_open("unreadable")
    alone = segment(model, folder, "good.csv", "alone")
    before = _peak_mib()
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + ROOM_BYTES,) * 2)
    sys.stderr.write("-- mixed\n")
    sys.stderr.flush()
    mixed = segment(model, folder, "all.csv", "mixed")
    seen = {"alone": alone, "mixed": mixed, "more_mib": _peak_mib() - before}
    (folder / "seen.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
