"""Label values to class indices, and the values that are refused."""

import numpy as np
import pytest

from medseg.errors import LabelError
from medseg.study.labels import apply_label_map, count_values
from medseg.types import IGNORE_INDEX, LabelMap

LIVER = LabelMap({"liver": (1,), "tumour": (2,)})


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint64, np.float32, np.float64])
def test_classes_come_in_the_order_of_the_map_whatever_the_dtype(dtype):
    label_map = LabelMap({"tumour": (2,), "liver": (1, 7)}, ignore=(5,), background=(9,))
    values = np.array([0, 1, 2, 5, 7, 9], dtype)
    classes = apply_label_map(values, label_map, "x")
    assert classes.dtype == np.uint8
    assert classes.tolist() == [0, 2, 1, IGNORE_INDEX, 2, 0]


def test_boolean_mask_is_values_0_and_1():
    assert apply_label_map(np.array([True, False]), LIVER, "x").tolist() == [1, 0]


def test_big_and_far_apart_values_are_mapped():
    label_map = LabelMap({"a": (4_000_000_000,), "b": (-3,)})
    assert apply_label_map(np.array([0, 4_000_000_000, -3]), label_map, "x").tolist() == [0, 1, 2]


def test_huge_unsigned_values_are_not_wrapped():
    values = np.array([0, 2**63 + 1], np.uint64)
    with pytest.raises(LabelError, match=r"9223372036854775809 \(1 voxels\)"):
        apply_label_map(values, LIVER, "x")


def test_memory_order_and_shape_are_kept():
    values = np.asfortranarray(np.random.default_rng(0).integers(0, 3, (4, 5, 6)))
    classes = apply_label_map(values, LIVER, "x")
    assert classes.flags.f_contiguous
    np.testing.assert_array_equal(classes, values)
    np.testing.assert_array_equal(apply_label_map(values[::2, ::-1], LIVER, "x"), values[::2, ::-1])


def test_unnamed_values_are_listed_with_counts_and_the_way_out():
    values = np.array([0, 1, 3, 3, -1])
    with pytest.raises(LabelError) as error:
        apply_label_map(values, LIVER, "study s1")
    text = str(error.value)
    assert "study s1: found label values that the pipeline does not name: -1 (1 voxels), 3 (2 voxels)" in text
    assert "it names liver: [1], tumour: [2]" in text
    assert "ignore: [-1]" in text
    assert "background: rest" in text


def test_long_list_of_unnamed_values_is_cut():
    with pytest.raises(LabelError, match="and 88 more"):
        apply_label_map(np.arange(3, 103), LIVER, "x")


def test_rest_is_background_takes_every_other_value():
    label_map = LabelMap({"liver": (5,)}, rest_is_background=True)
    assert apply_label_map(np.array([5, 104, -2, 0]), label_map, "x").tolist() == [1, 0, 0, 0]


def test_value_0_can_be_ignored():
    assert apply_label_map(np.array([0, 1]), LabelMap({"liver": (1,)}, ignore=(0,)), "x").tolist() == [IGNORE_INDEX, 1]


def test_fractions_are_refused_with_an_example_and_their_number():
    with pytest.raises(LabelError, match=r"2 of 4 voxels with fractions such as 0\.5"):
        apply_label_map(np.array([0.0, 0.5, 1.25, 1.0]), LIVER, "x")


def test_nan_is_refused():
    with pytest.raises(LabelError, match="1 of 2 voxels with fractions such as nan"):
        apply_label_map(np.array([np.nan, 1.0]), LIVER, "x")


def test_rounding_of_a_scale_factor_is_no_fraction():
    assert apply_label_map(np.array([1.0000001, 1.9999999]), LIVER, "x").tolist() == [1, 2]


def test_empty_array_gives_an_empty_array():
    assert apply_label_map(np.zeros((0, 2, 2)), LIVER, "x").shape == (0, 2, 2)
    assert count_values(np.zeros((0, 2)), "x") == {}


def test_values_are_counted_in_ascending_order():
    assert list(count_values(np.array([[3.0, -1.0], [3.0, 0.0]]), "x").items()) == [(-1, 1), (0, 1), (3, 2)]


def test_more_voxels_than_one_chunk_are_all_mapped(monkeypatch):
    monkeypatch.setattr("medseg.study.labels._CHUNK", 7)
    values = np.arange(30).reshape(5, 6) % 3
    np.testing.assert_array_equal(apply_label_map(values, LIVER, "x"), values)
    assert count_values(values, "x") == {0: 10, 1: 10, 2: 10}


@pytest.mark.parametrize("group", ["classes", "ignore", "background"])
def test_names_of_segments_belong_to_dicom_seg(group):
    groups = {"classes": {"liver": (1,)}, group: {"liver": (1, "Liver")} if group == "classes" else ("Liver",)}
    with pytest.raises(LabelError, match=r"^x: expected a DICOM-SEG, .* names 'Liver'; this label holds numbers"):
        apply_label_map(np.zeros(3, np.uint8), LabelMap(**groups), "x")
