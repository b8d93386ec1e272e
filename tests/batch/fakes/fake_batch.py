"""A segmenter, a reader and a writer whose answers are known, in a module that other processes import by its name.

A study is a text file with one number n: an image of 2 x 2 x 2 voxels of n HU, whose label map sums to 8 if n > 0.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

from medseg.errors import CheckpointError
from medseg.files import atomic_path
from medseg.inference.request import Request
from medseg.inference.result import Segmentation
from medseg.types import Grid, StudyInput, Volume

KILLS = 666
"""HU of an image that kills the process that segments it."""

KILLS_ONCE = 667
"""The same, the first time only."""

HANGS = 668
"""HU of an image whose label map is never finished."""


class FakeSegmenter:
    def segment(self, image: Volume, request: Request = Request()) -> Segmentation:
        number, path = int(image.voxels[0, 0, 0]), Path(str(image.header))
        died = path.with_suffix(".died")
        if number == KILLS or (number == KILLS_ONCE and not died.exists()):
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return Segmentation((image.voxels > 0).astype(np.uint8), ("liver",))


def load() -> FakeSegmenter:
    return FakeSegmenter()


def load_broken() -> FakeSegmenter:
    raise CheckpointError("weights.safetensors: not a whole safetensors file")


def load_killed() -> FakeSegmenter:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def read(study: StudyInput) -> Volume:
    voxels = np.full((2, 2, 2), int(study.path.read_text()), dtype=np.int16)
    return Volume(voxels, Grid((2, 2, 2), np.eye(4)), header=study.path)


def write(segmentation: Segmentation, image: Volume, folder: Path, study_id: str, *, takes_s: float = 0.0) -> Path:
    path = folder / f"{study_id}.nii.gz"
    with atomic_path(path) as temporary:
        temporary.write_text(str(segmentation.classes.sum()))
        if image.voxels[0, 0, 0] == HANGS:
            time.sleep(600)
        time.sleep(takes_s)
    return path


def inputs_of(folder: Path) -> list[StudyInput]:
    return [StudyInput(path.stem, path) for path in sorted(folder.glob("*.txt"))]


if __name__ == "__main__":
    from medseg.batch.studies import segment_studies

    source, output, takes_s = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    write = partial(write, takes_s=takes_s)
    outcomes = segment_studies(load(), inputs_of(source), output, read=read, write=write, fingerprint="f")
    sys.stdout.write(" ".join(f"{o.study_id}:{o.status}" for o in outcomes))
