"""Which files hold a volume, by their names."""

from __future__ import annotations

import re

VOLUME_SUFFIXES = ".nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd"
"""Of files that hold one image or one label, for messages; what has none of them may be DICOM."""

_VOLUME_FILE = re.compile(r"\.(nii(\.gz)?|nrrd|nhdr|mha|mhd)$", re.IGNORECASE)
_DICOM_FILE = re.compile(r"\.(dcm|dicom|ima)$", re.IGNORECASE)


def is_volume_file(name: str) -> bool:
    """Whether a file of this name is NIfTI, NRRD or MetaImage."""
    return _VOLUME_FILE.search(name) is not None


def is_dicom_name(name: str) -> bool:
    """Whether a file of this name says that it is DICOM; those of scanners often have no suffix at all."""
    return _DICOM_FILE.search(name) is not None


def stem(name: str) -> str:
    """A volume file's name without its suffix: ``liver_0.nii.gz`` -> ``liver_0``; other names stay as they are."""
    return _VOLUME_FILE.sub("", name)
