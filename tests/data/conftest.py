"""Cached studies made by hand, so that every voxel of a crop is known."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medseg.data.cache import CachedStudy


@pytest.fixture
def cached_study(tmp_path: Path) -> Callable[..., CachedStudy]:
    """Write arrays as ``cache_studies`` does: ``cached_study(image, label)``."""

    def write(image: np.ndarray, label: np.ndarray, study_id: str = "s1") -> CachedStudy:
        folder = tmp_path / study_id
        folder.mkdir()
        np.save(folder / "image.npy", image.astype(np.float16))
        np.save(folder / "label.npy", label.astype(np.uint8))
        flat = label.ravel().astype(np.int64)
        np.save(folder / "voxels.npy", np.stack([flat, np.arange(flat.size)]))
        (folder / "study.json").write_text(json.dumps({}))
        values, counts = np.unique(label, return_counts=True)
        return CachedStudy(study_id, folder, image.shape, (0.8, 0.8, 3.0), dict(zip(values, counts, strict=True)))

    return write
