"""The table of output formats; what its functions write is in test_outputs."""

import subprocess
import sys

import numpy as np
import pytest

from medseg.batch.writers import WRITERS, Segmented
from medseg.inference.result import Segmentation
from medseg.types import Grid, Volume

GRID = Grid((2, 3, 4), np.eye(4))
IMAGE = Volume(np.zeros(GRID.shape, np.int16), GRID)
ONES = np.ones(GRID.shape, np.uint8)


def segmented(**more):
    return Segmented(Segmentation(ONES, ("liver", "tumour"), **more), IMAGE, "s1")


def test_the_label_map_comes_first_and_no_two_write_one_file():
    assert next(iter(WRITERS)) == "label_map"
    assert WRITERS["label_map"].suffix == ".nii.gz"
    suffixes = [writer.suffix for writer in WRITERS.values()]
    assert len(set(suffixes)) == len(suffixes)


def test_parts_are_what_a_study_has():
    plain, full = segmented(), segmented(probabilities={"tumour": ONES}, uncertainty=ONES)
    parts = {name: [tuple(writer.parts(study)) for study in (plain, full)] for name, writer in WRITERS.items()}
    assert parts == {
        "label_map": [("",), ("",)],
        "masks": [("liver", "tumour")] * 2,
        "probabilities": [(), ("tumour",)],
        "uncertainty": [(), ("",)],
        "dicom_seg": [("",), ("",)],
        "document": [("",), ("",)],
    }


def test_only_a_dicom_seg_may_be_left_out():
    left_out = {name: writer.left_out(segmented()) for name, writer in WRITERS.items()}
    assert left_out.pop("dicom_seg") == "no DICOM-SEG was written: the image was not read from DICOM"
    assert not any(left_out.values())


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_says_what_it_is(name):
    assert WRITERS[name].about


def test_the_table_is_listed_without_importing_what_writes():
    code = "import sys, medseg.batch.writers; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
