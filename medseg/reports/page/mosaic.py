"""A volume as one picture: its axial slices side by side, as a browser decodes them fastest.

WebP, lossy for HU and lossless for labels: on real CT at 2 mm it takes two thirds of JPEG's bytes at the same error,
and on label maps two thirds of PNG's. Browsers decode it natively, from a data: URI and without a request, since 2020.
A Pillow built without WebP writes JPEG and PNG instead.
"""

from __future__ import annotations

import base64
import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features


def lossy(codes: NDArray[np.uint8], quality: int) -> tuple[str, int]:
    """Encode (R, A, S) gray values.

    Returns:
        data: URI of the mosaic, and how many slices stand in a row. Slice k is the tile in column ``k % columns`` and
        row ``k // columns``; in a tile R runs along x and A along y.
    """
    tiles, columns = _tiles(codes[..., np.newaxis])
    picture = Image.fromarray(tiles[..., 0])
    if features.check("webp"):
        return _uri(picture, "webp", quality=quality, method=4), columns
    return _uri(picture, "jpeg", quality=quality, optimize=True), columns


def lossless(red: NDArray[np.uint8], green: NDArray[np.uint8]) -> tuple[str, int]:
    """Encode two (R, A, S) label maps as the red and the green channel of one mosaic; see ``lossy``."""
    tiles, columns = _tiles(np.stack((red, green, np.zeros_like(red)), axis=-1))
    picture = Image.fromarray(tiles)
    if features.check("webp"):
        return _uri(picture, "webp", lossless=True, quality=50, method=4), columns
    return _uri(picture, "png", optimize=True), columns


def size_bytes(uri: str) -> int:
    """Bytes of the picture before base64."""
    return (len(uri) - uri.index(",") - 1) * 3 // 4


def _tiles(voxels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
    width, height, count, channels = voxels.shape
    columns = max(1, min(count, math.ceil(math.sqrt(count * height / width))))  # about square: formats limit each side
    rows = math.ceil(count / columns)
    tiles = np.zeros((rows * columns, height, width, channels), np.uint8)
    tiles[:count] = voxels.transpose(2, 1, 0, 3)
    grid = tiles.reshape(rows, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(grid.reshape(rows * height, columns * width, channels)), columns


def _uri(picture: Image.Image, form: str, **options: float) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return f"data:image/{form};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
