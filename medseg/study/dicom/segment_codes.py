"""What a class is in DICOM's words: SNOMED CT concepts from the words in its name."""

from __future__ import annotations

import re

_LESIONS = {
    "tumour": "Neoplasm",
    "tumor": "Neoplasm",
    "neoplasm": "Neoplasm",
    "cancer": "Neoplasm",
    "metastasis": "Metastasis",
    "metastases": "Metastasis",
    "cyst": "Cyst",
    "nodule": "Nodule",
    "lesion": "Lesion",
}
_ORGANS = {
    "liver": "Liver",
    "spleen": "Spleen",
    "kidney": "Kidney",
    "pancreas": "Pancreas",
    "gallbladder": "Gallbladder",
    "stomach": "Stomach",
    "duodenum": "Duodenum",
    "colon": "Colon",
    "esophagus": "Esophagus",
    "oesophagus": "Esophagus",
    "aorta": "Aorta",
    "lung": "Lung",
    "heart": "Heart",
    "bladder": "Bladder",
    "prostate": "Prostate",
    "uterus": "Uterus",
    "brain": "Brain",
    "bone": "Bone",
}
"""Words in a class's name, and the SNOMED CT concepts that they stand for, as pydicom's dictionary calls them.

Lesions come first: "liver_tumour" is a tumour.
"""


def segment_codes(name: str) -> tuple[str, str]:
    """What a class is, as SNOMED CT concepts by their names in pydicom's dictionary: (category, type).

    Args:
        name: of the class, such as "liver", "liver_tumour" or "left kidney"; a word that is not known is an organ.
    """
    words = [word.removesuffix("s") for word in re.split(r"[^a-z]+", name.lower())]
    for table, category in ((_LESIONS, "MorphologicallyAbnormalStructure"), (_ORGANS, "AnatomicalStructure")):
        for known, concept in table.items():
            if known.removesuffix("s") in words:
                return category, concept
    return "AnatomicalStructure", "Organ"
