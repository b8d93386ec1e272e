import numpy as np

from medseg.inference.result import Segmentation


def test_a_plain_segmentation_has_nothing_beside_its_label_map():
    plain = Segmentation(np.zeros((2, 3, 4), np.uint8), ("liver",))
    assert (dict(plain.probabilities), plain.uncertainty, plain.notes) == ({}, None, ())
