"""Names of classes and the concepts that they get."""

import pytest

from medseg.study.dicom.segment_codes import _LESIONS, _ORGANS, segment_codes


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("Liver", ("AnatomicalStructure", "Liver")),
        ("kidney_left", ("AnatomicalStructure", "Kidney")),
        ("Kidneys", ("AnatomicalStructure", "Kidney")),
        ("gallbladder", ("AnatomicalStructure", "Gallbladder")),
        ("liver tumours", ("MorphologicallyAbnormalStructure", "Neoplasm")),
        ("lesion", ("MorphologicallyAbnormalStructure", "Lesion")),
        ("thing", ("AnatomicalStructure", "Organ")),
        ("deliverance", ("AnatomicalStructure", "Organ")),
    ],
)
def test_codes_of_names(name, codes):
    assert segment_codes(name) == codes


def test_every_code_is_in_the_dictionary():
    from pydicom.sr.codedict import codes

    for concept in {*_LESIONS.values(), *_ORGANS.values(), "Organ"}:
        assert getattr(codes.SCT, concept).scheme_designator == "SCT"
