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

if TYPE_CHECKING:
    from medseg.config.schema import PipelineConfig


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
    from medseg.study.phantom import SMALL, write_phantoms

    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder, 6, seed=3, options=SMALL)
    return folder


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
