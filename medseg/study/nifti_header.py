"""A NIfTI header from its bytes: understood as it is, or refused; never quietly repaired.

nibabel mends what it finds odd and says so on a logger of its own, without naming the file: a spacing of zero becomes
1 mm, an unknown sform code makes the sform be ignored. Where such a repair would move voxels, the file is refused here;
the others (a size or a code that nothing reads) are made in silence.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from nibabel import Nifti1Header, Nifti2Header
from nibabel.spatialimages import HeaderDataError

from medseg.errors import GeometryError, StudyError

LONGEST_HEADER = 1 << 28
"""Bytes before the voxels, header extensions included; what lies behind that many is no header."""

_CODES = range(6)
"""NIfTI's qform and sform codes: 0 unknown, 1 scanner, 2 aligned, 3 Talairach, 4 MNI, 5 other template."""

_QUIET = logging.Logger("nibabel's repairs", logging.CRITICAL + 1)


def parse_header(block: bytes, what: str) -> Any:
    """The header at the start of a one-file NIfTI-1 or NIfTI-2, as a nibabel header.

    Args:
        block: the file's first bytes, 540 or as many as there are.
        what: names the file in messages.

    Raises:
        StudyError: no NIfTI, one of two files, an unknown datatype, voxels that begin nowhere.
        GeometryError: codes or spacings that do not say where voxels lie.
    """
    kind = next((kind for kind in (Nifti1Header, Nifti2Header) if kind.may_contain_header(block)), None)
    if kind is None:
        raise StudyError(f"{what}: not a NIfTI file; expected .nii or .nii.gz (convert other formats first)")
    try:
        header = kind(block[: kind.sizeof_hdr], check=False)
        _check_offset(header, what)
        _check_placing(header, what)
        header.check_fix(_QUIET, error_level=40)
    except (HeaderDataError, ValueError) as error:
        if isinstance(error, StudyError):
            raise
        raise StudyError(f"{what}: broken NIfTI header ({error})") from error
    if header["magic"].item() != header.single_magic:
        raise StudyError(f"{what}: a NIfTI in two files (.hdr and .img); convert it to one .nii.gz")
    return header


def _check_offset(header: Any, what: str) -> None:
    offset = float(header["vox_offset"])
    if not -LONGEST_HEADER <= offset <= LONGEST_HEADER:  # nan too; what lies below the header is nibabel's to refuse
        raise StudyError(f"{what}: broken NIfTI header (its voxels begin at byte {offset:g}); copy it again")


def _check_placing(header: Any, what: str) -> None:
    """Refuse what nibabel would replace by a guess of where voxels lie."""
    codes = {name: int(header[name]) for name in ("qform_code", "sform_code")}
    wrong = [f"{name} {code}" for name, code in codes.items() if code not in _CODES]
    if wrong:
        raise GeometryError(f"{what}: expected a code from 0 to 5, found {wrong[0]}; repair the file's header")
    if codes["sform_code"]:
        return  # the sform alone places the voxels
    pixdim = np.asarray(header["pixdim"][:4], dtype=float)
    shape = np.asarray(header["dim"][1:4])[: max(0, int(header["dim"][0]))]
    spacing = pixdim[1 : 1 + len(shape)][shape > 1]  # the thickness of a single slice may be missing
    if not (np.isfinite(spacing) & (spacing != 0)).all():
        found = " x ".join(f"{value:g}" for value in pixdim[1:])
        raise GeometryError(f"{what}: expected spacings in mm, found {found}; repair the file's header")
    if codes["qform_code"] and pixdim[0] not in (-1, 0, 1):
        raise GeometryError(f"{what}: expected pixdim[0] to be -1 or 1, found {pixdim[0]:g}; repair the file's header")
