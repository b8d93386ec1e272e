"""Sliding-window inference on the network grid, for slices, slabs and patches alike.

Every mode is the same walk: a window of (i, j, k) voxels, k being 1 for slices and slabs; neighbouring slices of a slab
are gathered as channels when the window is cut. Scores are blended with Gaussian (or constant) weights.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from medseg.errors import StudyError
from medseg.inference.slab import Slab
from medseg.inference.windows import Windows
from medseg.transforms.preprocessing import Crop

logger = logging.getLogger(__name__)

Predict = Callable[[Tensor, int], Tensor]
"""(B, C, i, j[, k]) windows of the image, and how many go through a network at once -> (B, S, i, j[, k]) float32."""


@torch.inference_mode()
def predict_slices(
    predict: Predict,
    image: Tensor,
    windows: Windows,
    blank: Tensor,
    dtype: torch.dtype = torch.float32,
    within: Crop | None = None,
) -> Iterator[Tensor]:
    """Walk over a study from its first slice to its last, and give the slices away as soon as they are complete.

    Only the slices that a layer of windows covers are held: memory does not grow with the length of the study. A window
    in which nothing exceeds the lower end of the intensity range shows no body, and is not run.

    Args:
        predict: scores of a batch of windows; see ``Predict``.
        image: (I, J, K) float32 on the network grid, on the CPU.
        windows: how the study is covered; an axis shorter than the window is padded with air on both sides.
        blank: (S,) the scores of voxels that no window covers, on the device that holds the sums.
        dtype: of the sums of weighted scores, float32 or float16.
        within: a part of the image; only windows that reach well into it are run. Each of its voxels is in one of
            them, and away from its edges the scores are nearly those of a run without it: see ``_reaching``.

    Yields:
        (n, S, I, J) float32 scores of the next n slices, on the device of ``blank``; on the CPU once a GPU is full.

    Raises:
        StudyError: a single window does not fit the GPU's memory.
    """
    padding = [max(0, w - n) for w, n in zip(windows.size, image.shape, strict=True)]
    before = [p // 2 for p in padding]
    padded = F.pad(image, _pad_argument(before, padding))
    rows, columns, layers = windows.starts(tuple(padded.shape))
    crop = tuple(slice(b, b + n) for b, n in zip(before[:2], image.shape[:2], strict=True))
    seen = range(before[2], before[2] + image.shape[2])
    if within is not None:
        rows, columns, layers = (
            _reaching(starts, size, part.start + b, part.stop + b, windows.settings.overlap)
            for starts, size, part, b in zip((rows, columns, layers), windows.size, within, before, strict=True)
        )
    # slices are gathered until they fill a batch; layers of patches are deep as they are
    together = 1 if windows.view.spatial_dims == 3 else -(-windows.settings.batch_size // (len(rows) * len(columns)))
    depth = layers[:together][-1] - layers[0] + windows.size[2]
    slab = Slab(padded.shape[:2], depth, windows.weights(), blank, dtype)
    forward = _Forward(predict, padded, windows, slab)
    for first in range(0, len(layers), together):
        group = layers[first : first + together]
        yield from _inside(slab.release(group[0]), crop, seen)
        forward.run([start for start in itertools.product(rows, columns, group) if windows.cut(padded, start).any()])
    yield from _inside(slab.release(padded.shape[2]), crop, seen)


class _Forward:
    """Runs windows in batches; when the GPU's memory is full it goes on with less, from the window at hand."""

    def __init__(self, predict: Predict, image: Tensor, windows: Windows, slab: Slab) -> None:
        self.predict, self.image, self.windows, self.slab = predict, image, windows, slab
        self.batch_size = windows.settings.batch_size

    def run(self, starts: Sequence[tuple[int, ...]]) -> None:
        """Add the scores of these windows to the slab."""
        done = 0
        while done < len(starts):
            group = starts[done : done + self.batch_size]
            try:
                batch = torch.stack([self.windows.cut(self.image, start) for start in group])
                scores = self.predict(batch, self.batch_size)
                for start, window in zip(group, scores, strict=True):
                    self.slab.add(self.windows.boxed(window), start)
                    done += 1
            except torch.OutOfMemoryError as error:
                self._retreat(error)

    def _retreat(self, error: Exception) -> None:
        torch.cuda.empty_cache()
        if self.batch_size > 1:
            self.batch_size //= 2
            logger.warning("GPU memory is full: going on with %d windows a pass", self.batch_size)
        elif not self.slab.on_cpu:
            self.slab.move_to_cpu()
            logger.warning("GPU memory is full: going on with the scores in the computer's memory")
        else:
            size = "x".join(map(str, self.windows.size))
            raise StudyError(
                f"one window of {size} voxels does not fit the GPU's memory; free it, take device cpu, or a smaller "
                "inference.window_size"
            ) from error


def _reaching(starts: Sequence[int], size: int, first: int, stop: int, overlap: float) -> list[int]:
    """Windows that reach into a part by what neighbours share, or hold all of it.

    A voxel of the part that lies in another one too lies in its neighbour, and nearer to the middle: none is left out.
    """
    least = min(max(1, int(overlap * size)), stop - first)
    return [start for start in starts if min(start + size, stop) - max(start, first) >= least]


def _pad_argument(before: Sequence[int], padding: Sequence[int]) -> list[int]:
    pairs = [(b, p - b) for b, p in zip(before, padding, strict=True)]
    return [n for pair in reversed(pairs) for n in pair]


def _inside(blocks: Iterator[tuple[int, Tensor]], crop: tuple[slice, ...], seen: range) -> Iterator[Tensor]:
    """Without the padding; ``blocks`` come with the number of their first slice."""
    for first, block in blocks:
        keep = range(max(first, seen.start), min(first + len(block), seen.stop))
        if keep:
            yield block[keep.start - first : keep.stop - first, :, crop[0], crop[1]]
