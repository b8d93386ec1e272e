"""Panels and legends; what is drawn into them is tested with each picture."""

import numpy as np
import pytest

from medseg.reports.figures.drawing import class_handles, panels, style_handles
from medseg.types import Grid, Volume


def volume(values: list[int]) -> Volume:
    voxels = np.array(values, np.uint8).reshape(-1, 1, 1)
    return Volume(voxels, Grid(voxels.shape, np.eye(4)))


def test_panels_of_all_rows_have_one_height_and_their_own_width():
    figure, rows = panels([1.0, 2.0], [], [], rows=2)
    width, height = figure.get_size_inches()
    sizes = [[(ax.get_position().width * width, ax.get_position().height * height) for ax in row] for row in rows]
    for row in sizes:
        assert [w / h for w, h in row] == pytest.approx([1.0, 2.0])
    assert np.allclose(sizes[0], sizes[1])
    assert rows[0][0].get_position().y0 > rows[1][0].get_position().y1


def test_the_legend_names_the_classes_that_occur_with_their_dice():
    handles = class_handles(("liver", "tumour", "spleen"), volume([1, 1, 0, 3]), volume([1, 0, 0, 3]))
    assert [handle.get_label() for handle in handles] == ["liver  Dice 0.667", "spleen  Dice 1.000"]
    names = [f"c{i}" for i in range(1, 13)]
    handles = class_handles(names, None, volume(list(range(1, 13))))
    assert [handle.get_label() for handle in handles] == [*names[:10], "and 2 more"]
    assert class_handles(("liver",), None, volume([0]))[0].get_label() == "nothing is labelled"


def test_one_class_cannot_be_confused_with_another():
    assert [len(style_handles(count)) for count in (1, 2)] == [4, 5]
