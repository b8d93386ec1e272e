"""Which segments become which class."""

import pytest

from medseg.errors import LabelError
from medseg.study.dicom.segments import class_of_segments
from medseg.types import IGNORE_INDEX, LabelMap

SEGMENTS = {1: "Liver", 2: "Tumor", 5: "Spleen", 6: ""}


def chosen(label_map, segments=SEGMENTS, shown=None):
    return class_of_segments(segments, segments if shown is None else shown, label_map, "study a")


def test_numbers_and_labels_choose_in_upper_and_lower_case():
    label_map = LabelMap({"tumour": ("TUMOR",), "organ": (1, "spleen")}, ignore=(6,))
    assert chosen(label_map) == {1: 2, 2: 1, 5: 2, 6: IGNORE_INDEX}


def test_rest_and_background_are_no_class():
    assert chosen(LabelMap({"liver": ("Liver",)}, rest_is_background=True)) == {1: 1, 2: 0, 5: 0, 6: 0}
    assert chosen(LabelMap({"liver": (1,)}, background=("tumor", 5, 6))) == {1: 1, 2: 0, 5: 0, 6: 0}


def test_empty_segments_need_no_meaning():
    assert chosen(LabelMap({"liver": ("liver",)}), shown={1}) == {1: 1}


def test_a_class_may_be_absent_where_every_segment_has_a_meaning():
    label_map = LabelMap({"liver": ("liver",), "tumour": ("tumour", 2)})
    assert chosen(label_map, {1: "Liver"}) == {1: 1}


@pytest.mark.parametrize("rest", [True, False])
def test_a_name_that_fits_no_segment_is_refused_with_the_nearest(rest):
    label_map = LabelMap({"liver": ("Liver",), "tumour": ("tumour",)}, rest_is_background=rest)
    with pytest.raises(LabelError) as caught:
        chosen(label_map)
    assert str(caught.value).startswith(
        "study a: expected a segment named 'tumour', found 1 'Liver', 2 'Tumor', 5 'Spleen', 6; did you mean 'tumor'?"
    )


def test_segments_that_nothing_names_are_refused():
    with pytest.raises(LabelError) as caught:
        chosen(LabelMap({"liver": ("Liver",)}))
    text = str(caught.value)
    assert "found segments that the pipeline does not name: 2 'Tumor', 5 'Spleen', 6; it names liver: ['Liver']" in text
    assert "`ignore: [Tumor]`" in text


def test_a_segment_that_the_file_does_not_list_is_one_without_a_name():
    assert chosen(LabelMap({"liver": (9,)}), {}, {9}) == {9: 1}
    with pytest.raises(LabelError, match="does not name: 9; it names"):
        chosen(LabelMap({"liver": (1,)}), {}, {9})


def test_number_and_label_of_a_segment_must_agree():
    with pytest.raises(LabelError, match="segment 2 'Tumor' is 'liver' and 'tumour' at once by its number"):
        chosen(LabelMap({"liver": (1, 2), "tumour": ("Tumor",)}, background=(5, 6)))


def test_numbers_that_were_given_anew_are_noticed():
    """Writers number the segments that occur; without a liver, the tumour is number 1."""
    label_map = LabelMap({"liver": (1,), "tumour": (2,)})
    assert chosen(label_map, {1: "liver", 2: "tumour"}) == {1: 1, 2: 2}
    with pytest.raises(LabelError, match=r"segment 1 'Tumour' would be 'liver' by its number; .*tumour: Tumour"):
        chosen(label_map, {1: "Tumour"})
    assert chosen(LabelMap({"liver": (1, "tumour"), "tumour": (2,)}), {1: "Tumour"}) == {1: 1}  # meant so
