"""One labelled study in every format that a manifest may name: the same voxels on the same grid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.study.dicom.seg import write_dicom_seg
from medseg.study.nifti import write_image, write_labels
from medseg.types import Study, Volume

KINDS = ("nifti", "nrrd", "metaimage", "dicom")

CtSeries = Callable[..., Volume]
"""The fixture ``ct_series``."""


def write_study(
    folder: Path, name: str, hu: NDArray[np.int16], classes: NDArray[np.uint8], kind: str, ct_series: CtSeries
) -> Study:
    """Write an image (I, J, K) and its label, whose classes are liver and tumour; the study has the fold 0.

    The label's values are 1 and 2; a DICOM-SEG's segments are named, and lie in a folder beside the image's.
    """
    image = ct_series(hu, folder=folder / f"{name}_series")
    if kind == "dicom":
        label = folder / f"{name}_seg"
        write_dicom_seg(label / "1.dcm", classes, ("liver", "tumour"), image, name)
        return Study(name, name, "0", folder / f"{name}_series", label)
    suffix = {"nifti": ".nii.gz", "nrrd": ".nrrd", "metaimage": ".mha"}[kind]
    study = Study(name, name, "0", folder / f"{name}{suffix}", folder / f"{name}_label{suffix}")
    assert study.label is not None
    if kind == "nifti":
        write_image(study.image, image.voxels, image.grid)
        write_labels(study.label, classes, image.grid)
    else:
        _write_itk(study.image, image.voxels, image)
        _write_itk(study.label, classes, image)
    return study


def _write_itk(path: Path, voxels: NDArray[np.generic], like: Volume) -> None:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.T))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ like.grid.affine
    image.SetSpacing(like.grid.spacing_mm)
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / np.array(like.grid.spacing_mm)).ravel().tolist())
    sitk.WriteImage(image, str(path))
