import pytest

from medseg.study.label_map import parse_labels


def test_values_are_merged_into_classes_in_order():
    labels = parse_labels({"liver": [1, 2], "tumour": 3})
    assert dict(labels.classes) == {"liver": (1, 2), "tumour": (3,)}
    assert labels.names == ("liver", "tumour")


def test_ignore_and_background_are_no_classes():
    labels = parse_labels({"background": [0, 7], "liver": 1, "ignore": 5})
    assert labels.names == ("liver",)
    assert (labels.background, labels.ignore, labels.rest_is_background) == ((0, 7), (5,), False)


def test_background_rest_takes_every_other_value():
    assert parse_labels({"background": "rest", "liver": 5}).rest_is_background


def test_segments_may_be_named():
    labels = parse_labels({"liver": "Liver", "tumour": [2, "Tumor, core"], "ignore": "Stent"})
    assert dict(labels.classes) == {"liver": ("Liver",), "tumour": (2, "Tumor, core")}
    assert labels.indices == ((0, ()), (255, ("Stent",)), (1, ("Liver",)), (2, (2, "Tumor, core")))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, "at least one class"),
        ({"background": 0, "ignore": 2}, "at least one class"),
        ({"liver": 1, "tumour": [2, 1]}, "tumour: value 1 already belongs to 'liver'"),
        ({"liver": 0}, "liver: value 0 is background"),
        ({"liver": []}, "liver: expected at least one value"),
        ({"liver": True}, "liver: expected a whole number"),
        ({"liver": "rest"}, "liver: expected a whole number"),
        ({"liver": "1"}, "liver: expected a whole number.*found '1'"),
        ({"liver": [1, 2.5]}, "liver: expected a whole number"),
        ({"liver": "Liver", "tumour": "LIVER"}, "tumour: value LIVER already belongs to 'liver'"),
        ({"a/b": 1}, "a/b: expected a class name of letters"),
        ({f"c{i}": i for i in range(1, 257)}, "at most 254 classes, found 256"),
    ],
)
def test_wrong_labels_are_refused(entries, message):
    with pytest.raises(ValueError, match=message):
        parse_labels(entries)
