import base64
import io

import numpy as np
import pytest
from PIL import Image, features

from medseg.reports.page.mosaic import lossless, lossy, size_bytes


def decoded(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB"))


def tile(mosaic: np.ndarray, shape: tuple[int, int, int], columns: int, index: int) -> np.ndarray:
    """(R, A) of one slice."""
    row, column = divmod(index, columns)
    return mosaic[row * shape[1] : (row + 1) * shape[1], column * shape[0] : (column + 1) * shape[0]].T


@pytest.mark.parametrize("shape", [(5, 7, 11), (1, 1, 1), (30, 2, 3), (2, 30, 1)])
@pytest.mark.parametrize("webp", [True, False])
def test_labels_come_back_voxel_for_voxel(shape, webp, monkeypatch):
    if not webp:
        monkeypatch.setattr(features, "check", lambda name: False)
    rng = np.random.default_rng(0)
    red, green = (rng.integers(0, 256, shape).astype(np.uint8) for _ in range(2))
    uri, columns = lossless(red, green)
    assert uri.startswith("data:image/webp;" if webp else "data:image/png;")
    mosaic = decoded(uri)
    for index in range(shape[2]):
        assert (tile(mosaic[..., 0], shape, columns, index) == red[..., index]).all()
        assert (tile(mosaic[..., 1], shape, columns, index) == green[..., index]).all()


@pytest.mark.parametrize("webp", [True, False])
def test_gray_values_come_back_nearly(webp, monkeypatch):
    if not webp:
        monkeypatch.setattr(features, "check", lambda name: False)
    i, j, k = np.mgrid[:40, :30, :12]
    smooth = (100 + 2 * i + j + 3 * k).astype(np.uint8)
    uri, columns = lossy(smooth, 80)
    mosaic = decoded(uri)[..., 0]
    errors = [np.abs(tile(mosaic, smooth.shape, columns, z).astype(int) - smooth[..., z]) for z in range(12)]
    assert np.mean(errors) < 2
    assert size_bytes(uri) < smooth.size / 4


def test_size_is_that_of_the_picture_not_of_its_text():
    uri, _ = lossy(np.zeros((8, 8, 8), np.uint8), 80)
    assert abs(size_bytes(uri) - len(base64.b64decode(uri.split(",")[1]))) <= 2
