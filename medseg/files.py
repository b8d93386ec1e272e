"""Files are written beside their place and renamed into it: a killed run leaves the old file or the new one, whole."""

from __future__ import annotations

import csv
import math
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_LONGEST_NAME = 200
"""Characters of the final name kept in the temporary one; file systems allow 255 bytes."""

_TEMPORARY = re.compile(r"\.[0-9a-f]{8}\.")
"""How every temporary name of this module begins."""

_ABANDONED_S = 24 * 3600.0
"""Age from which what lies half-written in a shared folder is taken for a dead run's."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; move it onto ``path`` when the block ends well.

    The temporary file lies in the same folder (a rename is atomic only within one file system), its name starts with
    a dot and ends like ``path`` (writers that look at the suffix see the right one). It is flushed to the disk before
    the rename. When the block raises, KeyboardInterrupt and SystemExit included, it is removed and ``path`` stays as
    it was.

    Args:
        path: the final place; missing parent folders are made, an existing file is replaced.

    Yields:
        A path that does not exist yet; the block creates the file.

    Raises:
        OSError: a full disk, no permission, or the block wrote nothing.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush(path.parent)


def temporary_path(path: Path) -> Path:
    """A new hidden name beside ``path`` that ends like it; nothing is made."""
    return path.with_name(f".{secrets.token_hex(4)}.{path.name[-_LONGEST_NAME:]}")


def remove_remains(folder: Path, older_than_s: float = _ABANDONED_S) -> None:
    """Remove what killed runs left half-written under a temporary name; a folder that is missing is fine.

    Args:
        folder: looked at without its sub-folders.
        older_than_s: younger remains stay: in a folder that several runs share, one may still be written.
    """
    for path in folder.glob(".*"):
        try:
            if _TEMPORARY.match(path.name) and time.time() - path.stat().st_mtime >= older_than_s:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError:  # gone meanwhile, or somebody else's: not worth a run
            continue


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a table, whole or not at all; NaN and None become empty cells, and there may be no rows.

    Raises:
        OSError: see ``atomic_path``.
    """
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(without_nan(list(row)) for row in rows)


def without_nan(value: Any) -> Any:
    """The same with None for NaN and infinity, which JSON and CSV lack, and lists for tuples; goes into mappings."""
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _flush(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
