"""How a study is covered by windows: where they lie, and how much each of their voxels counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from medseg.model.inference import Inference
from medseg.model.spec import ModelSpec
from medseg.model.view import View
from medseg.types import Shape3


@dataclass(frozen=True)
class Windows:
    """The windows of a model: every mode's is a box of (i, j, k) voxels, k being 1 for slices and slabs.

    Attributes:
        settings: size, overlap, placement and blending, and how often a window is seen.
        view: what a window holds.

    Raises:
        ValueError: no size, or one that does not go with the view; on first use.
    """

    settings: Inference
    view: View = View()

    @staticmethod
    def of(spec: ModelSpec) -> Windows:
        """The windows of a model."""
        return Windows(spec.inference, spec.view)

    @cached_property
    def size(self) -> Shape3:
        """Voxels along I, J, K."""
        return self.view.extent(self.settings.window_size or ())

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one window as the network gets it: (C, i, j[, k])."""
        return (self.view.in_channels, *self.size[: self.view.spatial_dims])

    def starts(self, shape: Sequence[int]) -> list[list[int]]:
        """First voxel of every window along each axis, from edge to edge, sharing at least the overlap.

        The grid of windows is the product of the three lists; the last window ends on the last voxel. Slices and slabs
        are seen at every slice.
        """
        starts = []
        for axis, (length, size) in enumerate(zip(shape, self.size, strict=True)):
            if axis >= self.view.spatial_dims:
                starts.append(list(range(length)))
                continue
            step = max(1, int(size * (1.0 - self.settings.overlap) + 1e-6))  # 10 * (1 - 0.8) is 1.9999999999999996
            count = -(-(length - size) // step) + 1
            last = length - size
            if self.settings.placement == "steps":
                starts.append([min(i * step, last) for i in range(count)])
                continue
            starts.append([round(i * last / (count - 1)) for i in range(count)] if count > 1 else [0])
        return starts

    def weights(self) -> Tensor:
        """(i, j, k): 1 at a window's centre; Gaussian of sigma size / 8 as in nnU-Net and MONAI, or constant.

        Never below a thousandth, so that the division is safe where only a corner covers a voxel.
        """
        weights = torch.ones(self.size)
        if self.settings.blending == "gaussian":
            for axis, n in enumerate(self.size):
                offset = torch.arange(n, dtype=torch.float32) - (n - 1) / 2.0
                bell = torch.exp(-0.5 * (offset / (n / 8.0)) ** 2)
                weights = weights * bell.reshape([-1 if a == axis else 1 for a in range(3)])
        return weights.clamp_min(1e-3)

    def cut(self, image: Tensor, start: Sequence[int]) -> Tensor:
        """The window of an (I, J, K) image whose first voxel is ``start``, as the network gets it: (C, i, j[, k])."""
        i, j, k = start
        rows, columns = slice(i, i + self.size[0]), slice(j, j + self.size[1])
        if self.view.spatial_dims == 3:
            return image[rows, columns, k : k + self.size[2]][None]
        return image[rows, columns][..., self.view.slices(k, image.shape[2])].movedim(-1, 0)

    def boxed(self, scores: Tensor) -> Tensor:
        """A window's (S, i, j[, k]) scores as (S, i, j, k)."""
        return scores if self.view.spatial_dims == 3 else scores[..., None]
