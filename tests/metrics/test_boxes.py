import numpy as np
import pytest

from medseg.metrics.boxes import axes_in_memory, class_boxes, united


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
@pytest.mark.parametrize("order", ["C", "F", "turned"])
def test_boxes_are_those_around_the_voxels(order, dtype):
    labels = np.zeros((9, 8, 7), dtype)
    labels[2:5, 3, 6], labels[8, 0, 1], labels[0, 7, 0], labels[3, 3, 3] = 1, 1, 3, 200
    labels = (
        labels.transpose(2, 0, 1).copy().transpose(1, 2, 0) if order == "turned" else np.asarray(labels, order=order)
    )
    assert class_boxes(labels, 4) == [np.s_[2:9, 0:4, 1:7], None, np.s_[0:1, 7:8, 0:1], None]


def test_boxes_equal_those_of_single_classes_on_random_labels():
    rng = np.random.default_rng(0)
    for _ in range(20):
        labels = rng.integers(0, 5, (6, 5, 4)) * (rng.random((6, 5, 4)) < 0.1)
        for index, box in enumerate(class_boxes(labels, 4), start=1):
            at = np.argwhere(labels == index)
            ends = zip(at.min(axis=0), at.max(axis=0) + 1, strict=True) if len(at) else None
            assert box == (ends and tuple(slice(int(a), int(b)) for a, b in ends))


def test_background_has_no_boxes():
    assert class_boxes(np.zeros((3, 3, 3), np.uint8), 2) == [None, None]
    assert class_boxes(np.zeros((0, 3, 3), np.uint8), 2) == [None, None]


def test_axes_go_from_the_longest_stride_to_the_shortest():
    array = np.zeros((2, 3, 4))
    assert axes_in_memory(array) == [0, 1, 2]
    assert axes_in_memory(array.T[::-1]) == [2, 1, 0]


def test_united_boxes():
    a, b = np.s_[2:4, 0:9], np.s_[3:7, 5:6]
    assert united(a, b) == np.s_[2:7, 0:9]
    assert united(a, None) == united(None, a) == a
    assert united(None, None) is None
