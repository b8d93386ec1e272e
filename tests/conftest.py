"""Fixtures that several test folders share."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from medseg.types import DicomSource, Grid, Volume

if TYPE_CHECKING:
    from torch import nn

    from medseg.config.schema import PipelineConfig
    from medseg.model.spec import ModelSpec


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test draws the same numbers, whatever ran before it: what passed once does not fail by a rounding later."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  # what MONAI and scikit-learn roll from
    if "torch" in sys.modules:  # not imported for the sake of tests that do without it
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real CT (MEDSEG_DATA or ../shared/data); skips the test where it is absent."""
    folder = Path(os.environ.get("MEDSEG_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real CT at {folder}; set MEDSEG_DATA")
    return folder


TINY = """\
name: tiny
labels: {{liver: 1, tumour: 2}}
data:
  manifest: {phantoms}/manifest.csv
  root: {phantoms}
  cache_dir: {cache}
  fold: 0
  mode: patch
  patch_size: [16, 16, 16]
  batch_size: 2
preprocessing: {{spacing_mm: [6, 6, 6], intensity_range_hu: [-100, 240]}}
network: {{name: unet, channels: [4, 8], strides: [2], num_res_units: 0, norm: instance}}
training:
  epochs: 2
  steps_per_epoch: 3
  validate_every: 1
  threads: 1
  device: cpu
inference: {{overlap: 0.25}}
tracking: none
runs_dir: {runs}
"""


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of six tiny phantoms: folds 0 to 3, phantom_004 and phantom_005 in fold test. Not to be changed."""
    from medseg.phantom.make import SMALL, write_phantoms

    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder, 6, seed=3, options=SMALL)
    return folder


@pytest.fixture
def ct_series(tmp_path: Path) -> Callable[..., Volume]:
    """Write (I, J, K) HU as a DICOM series and give it as a Volume, K in the order of the files.

    ``cosines`` are the directions of a row and of a column, ``step`` the way from slice to slice, all in LPS. Rows lie
    2 mm apart, columns 1.5 mm. ``lacks`` are keywords that the files do without.
    """
    import numpy as np
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    def write(
        hu: Any,
        cosines: Any = (1, 0, 0, 0, 1, 0),
        step: Any = (0, 0, 3),
        origin: Any = (-10, -20, 30),
        folder: Path = tmp_path / "series",
        lacks: tuple[str, ...] = (),
    ) -> Volume:
        folder.mkdir(parents=True)
        study, series, frame = (generate_uid() for _ in range(3))
        files = []
        for k in range(hu.shape[2]):
            one = Dataset()
            one.file_meta = FileMetaDataset()
            one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = CTImageStorage
            one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = generate_uid()
            one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = study, series, frame
            one.PatientName, one.PatientID, one.PatientBirthDate, one.PatientSex = "Doe^Jane", "4711", "", "F"
            one.StudyID, one.StudyDate, one.StudyTime, one.AccessionNumber = "1", "20260101", "120000", ""
            one.ReferringPhysicianName, one.Modality, one.SeriesNumber, one.InstanceNumber = "", "CT", 2, k + 1
            one.Rows, one.Columns, one.PixelSpacing, one.SliceThickness = hu.shape[1], hu.shape[0], [2, 1.5], 3
            one.ImageOrientationPatient = list(cosines)
            one.ImagePositionPatient = [float(f"{x:.6f}") for x in np.add(origin, np.multiply(k, step))]
            one.SamplesPerPixel, one.PhotometricInterpretation, one.PixelRepresentation = 1, "MONOCHROME2", 1
            one.BitsAllocated, one.BitsStored, one.HighBit, one.RescaleSlope, one.RescaleIntercept = 16, 16, 15, 1, 0
            one.PixelData = hu[:, :, k].T.astype("<i2").tobytes()
            for keyword in lacks:
                delattr(one, keyword)
            files.append(folder / f"{k:03d}.dcm")
            one.save_as(files[-1], enforce_file_format=True)
        affine = np.eye(4)
        affine[:3, 0], affine[:3, 1] = np.multiply(cosines[:3], 1.5), np.multiply(cosines[3:], 2)
        affine[:3, 2], affine[:3, 3] = step, origin
        affine[:2] *= -1
        return Volume(hu.astype(np.int16), Grid(hu.shape, affine), source=DicomSource(tuple(files)))

    return write


@pytest.fixture(scope="session")
def tiny_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of preprocessed phantoms for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def write_tiny(phantoms: Path, tiny_cache: Path) -> Callable[[Path], Path]:
    """Writes FOLDER/tiny.yaml, which trains a tiny 3D network on the phantoms in seconds, with its runs in FOLDER."""

    def write(folder: Path) -> Path:
        path = folder / "tiny.yaml"
        path.write_text(TINY.format(phantoms=phantoms, cache=tiny_cache, runs=folder / "runs"))
        return path

    return write


@pytest.fixture
def tiny(write_tiny: Callable[[Path], Path], tmp_path: Path) -> Path:
    """The tiny pipeline's YAML in tmp_path."""
    return write_tiny(tmp_path)


@pytest.fixture
def tiny_config(tiny: Path) -> Callable[..., PipelineConfig]:
    """The tiny pipeline with overrides: ``tiny_config("training.epochs=3")``."""
    from medseg.config.load import load_pipeline

    return lambda *overrides: load_pipeline(tiny, overrides)


@pytest.fixture(scope="session")
def tracking_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One MLflow store for all runs of the tests: making its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def mlflow_client(tracking_uri: str) -> Any:
    """Reads what was recorded."""
    import mlflow

    return mlflow.MlflowClient(tracking_uri=tracking_uri)


@pytest.fixture
def model(tmp_path: Path) -> Callable[..., tuple[Path, nn.Module, ModelSpec]]:
    """Save a U-Net of random weights and what model.json says: ``model("slab", scales=(0.5, 1.0))``."""
    import torch

    from medseg.model.classes import Classes
    from medseg.model.folder import save_model
    from medseg.model.inference import Inference
    from medseg.model.spec import ModelSpec
    from medseg.model.view import View
    from medseg.networks import build_network
    from medseg.transforms.settings import Preprocessing

    options = {"channels": [2, 4], "strides": [2], "num_res_units": 0, "norm": "instance"}

    def make(mode: Any = "patch", folder: Path = tmp_path / "model", **inference: Any) -> Any:
        view = View(mode, 1 if mode == "slab" else 0)
        windows = {"window_size": (16,) * view.spatial_dims, "overlap": 0.25, "flip_axes": ("R",)}
        spec = ModelSpec(
            network="unet",
            options=options,
            classes=Classes(("liver", "tumour")),
            view=view,
            preprocessing=Preprocessing(spacing_mm=(6.0, 6.0, None), intensity_range_hu=(-100.0, 240.0)),
            inference=Inference(**{**windows, **inference}),
        )
        torch.manual_seed(0)
        network = build_network("unet", view.spatial_dims, view.in_channels, 3, **options)
        save_model(folder, network, spec)
        return folder, network, spec

    return make
