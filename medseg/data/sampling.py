"""Which crop is drawn: every choice is a function of the generator given, and the generator of (seed, index)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from medseg.types import IGNORE_INDEX


def sample_generator(seed: int, index: int) -> Generator:
    """The generator of one training sample; equal for equal (seed, index), on any worker of any run."""
    return np.random.default_rng(np.random.SeedSequence([seed, index]))


def study_of(seed: int, index: int, num_studies: int) -> int:
    """Which study the index-th sample comes from: every study once in each round, in an order shuffled by the seed."""
    turn, position = divmod(index, num_studies)
    order = np.random.default_rng(np.random.SeedSequence([seed, turn, 1])).permutation(num_studies)
    return int(order[position])


def draw_centre(
    shape: Sequence[int],
    voxels: Mapping[int, NDArray[np.int64]],
    rng: Generator,
    *,
    size: Sequence[int],
    foreground_share: float,
    class_shares: Mapping[int, float],
) -> tuple[int, ...]:
    """Draw the centre voxel of a crop.

    Args:
        shape: the study's I, J, K.
        voxels: class index -> flat positions (from the cache).
        rng: the sample's generator.
        size: voxels along I, J, K of the crop's centre part; K is 1 for slices and slabs.
        foreground_share: share of crops centred on a foreground voxel.
        class_shares: class index -> relative share among those; classes not named get 1.

    Returns:
        A centre whose crop lies inside the study wherever the study is large enough; along an axis where it is not,
        the study's own centre.
    """
    wanted = rng.random() < foreground_share
    classes = [c for c in sorted(voxels) if c not in (0, IGNORE_INDEX) and class_shares.get(c, 1.0) > 0]
    if wanted and classes:
        shares = np.array([class_shares.get(c, 1.0) for c in classes])
        chosen = classes[int(rng.choice(len(classes), p=shares / shares.sum()))]
        flat = int(voxels[chosen][rng.integers(len(voxels[chosen]))])
        centre = [int(c) for c in np.unravel_index(flat, tuple(shape))]
    else:
        centre = [int(rng.integers(n)) for n in shape]
    return tuple(_keep_inside(c, n, width) for c, n, width in zip(centre, shape, size, strict=True))


def _keep_inside(centre: int, length: int, size: int) -> int:
    if length <= size:
        return length // 2
    return min(max(centre, size // 2), length - (size - size // 2))


def crop(array: NDArray[np.generic], centre: Sequence[int], size: Sequence[int]) -> NDArray[np.generic]:
    """Cut (I, J, K) around ``centre``; what lies outside the array is 0 (air in images, background in labels).

    Voxel ``centre`` lands on index ``size // 2`` along every axis.
    """
    starts = [c - s // 2 for c, s in zip(centre, size, strict=True)]
    inside = tuple(slice(max(0, a), max(0, min(n, a + s))) for a, s, n in zip(starts, size, array.shape, strict=True))
    cut = np.asarray(array[inside])
    if cut.shape == tuple(size):
        return cut
    out = np.zeros(tuple(size), dtype=array.dtype)
    place = tuple(slice(i.start - a, i.start - a + n) for i, a, n in zip(inside, starts, cut.shape, strict=True))
    out[place] = cut
    return out
