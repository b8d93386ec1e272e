"""Attention of each voxel to a few sampled ones: the layer of RGNet (arXiv 2008.05202).

The authors published no code. Ours follows the paper's idea; sizes and initialisation are those of non-local blocks and
deformable convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medseg.errors import ConfigError
from medseg.networks.layers.blocks import Norm, apply, conv, initialise, norm_layer


class RepresentativeGraph(nn.Module):
    """A non-local block whose voxels each attend to S places that the map itself chooses.

    The places start as a regular grid around the voxel. Samples are taken one after the other, so that S copies of the
    map never stand beside each other unless the gradient keeps them. Sampling runs in float32, whatever autocast says.

    The backward pass of ``grid_sample`` adds in an order of its own on CUDA, where runs therefore do not repeat bit for
    bit, with or without ``training.deterministic`` (torch warns); on CPU they do.

    Args:
        spatial_dims: 2 or 3.
        channels: of the map.
        inner_channels: of queries, keys and values.
        samples: S, as ``regular_grid`` takes it.
        norm: after the last convolution.
        zero_init_residual: start as the identity: the last norm's factor (without norm, the last convolution) is 0, and
            the other weights learn from the second step on.
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        inner_channels: int,
        *,
        samples: int = 9,
        norm: Norm,
        zero_init_residual: bool = True,
    ) -> None:
        super().__init__()
        self.query = conv(spatial_dims, channels, inner_channels, 1, bias=False)
        self.key = conv(spatial_dims, channels, inner_channels, 1, bias=False)
        self.value = conv(spatial_dims, channels, inner_channels, 1, bias=False)
        self.offset = conv(spatial_dims, channels, samples * spatial_dims, 3)
        self.project = nn.Sequential(
            conv(spatial_dims, inner_channels, channels, 1, bias=norm == "none"),
            norm_layer(norm, channels, spatial_dims),
        )
        initialise(self.query, self.key, self.value, self.project)
        weight, bias = self.offset.parameters()
        with torch.no_grad():
            weight.zero_()
            bias.copy_(torch.tensor(regular_grid(samples, spatial_dims)).flatten())
            if zero_init_residual:
                next(self.project[0 if norm == "none" else 1].parameters()).zero_()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, I, J[, K]) -> the same shape."""
        return x + apply(self.project, self.attend(x, self.offsets(x)))

    def offsets(self, x: Tensor) -> Tensor:
        """(B, C, I, J[, K]) -> (B, S, dims, I, J[, K]) steps from each voxel, in cells, in the order of the axes.

        Their gradient is a tenth (with SGD: a tenth of the learning rate), as in deformable convolutions: whole cells
        are large steps.
        """
        flat = apply(self.offset, x).float()
        steps = flat.reshape(x.shape[0], -1, x.ndim - 2, *x.shape[2:])
        still = steps.detach()
        return still + 0.1 * (steps - still)

    def attend(self, x: Tensor, offsets: Tensor) -> Tensor:
        """The values at S places, weighed by how well their keys match the query.

        Args:
            x: (B, C, I, J[, K]).
            offsets: (B, S, dims, I, J[, K]) in cells.

        Returns:
            (B, inner_channels, I, J[, K]).
        """
        query, key, value = apply(self.query, x), apply(self.key, x), apply(self.value, x)
        grids = [_sampling_grid(steps) for steps in offsets.unbind(dim=1)]
        matches = torch.stack([(query * _sample(key, grid)).sum(dim=1, keepdim=True) for grid in grids])
        weights = (matches * query.shape[1] ** -0.5).softmax(dim=0)
        mixed = torch.zeros_like(value, dtype=torch.float32)
        for weight, grid in zip(weights, grids, strict=True):
            mixed = mixed + weight * _sample(value, grid)
        return mixed.to(value.dtype)


def regular_grid(samples: int, spatial_dims: int) -> list[tuple[float, ...]]:
    """Steps of one cell around a voxel: a full grid of odd side, or the corners of one of side 3 and its centre.

    Args:
        samples: 1, 5, 9, 25 ... in 2D; 1, 9 (corners and centre), 27, 125 ... in 3D.
        spatial_dims: 2 or 3.

    Raises:
        ConfigError: another number of samples.
    """
    side = round(samples ** (1 / spatial_dims))
    if side % 2 == 1 and side**spatial_dims == samples:
        return [tuple(float(n - side // 2) for n in step) for step in product(range(side), repeat=spatial_dims)]
    if samples == 2**spatial_dims + 1:
        return [(0.0,) * spatial_dims, *product((-1.0, 1.0), repeat=spatial_dims)]
    raise ConfigError(
        f"network.samples: expected {', '.join(map(str, _choices(spatial_dims)))} ... in {spatial_dims}D (a grid of "
        f"odd side, or the corners and centre of one), found {samples}"
    )


def _choices(spatial_dims: int) -> list[int]:
    return sorted({2**spatial_dims + 1, *(side**spatial_dims for side in (1, 3, 5))})


def _sampling_grid(steps: Tensor) -> Tensor:
    """(B, dims, I, J[, K]) steps in cells -> (B, I, J[, K], dims) places from -1 to 1, as ``grid_sample`` takes them.

    Its first coordinate belongs to the last axis, and -1 and 1 are the outer borders of the map, half a cell beyond the
    centres of its first and last cells (``align_corners=False``).
    """
    size: Sequence[int] = steps.shape[2:]
    places = []
    for axis, (step, n) in enumerate(zip(steps.unbind(dim=1), size, strict=True)):
        cell = torch.arange(n, dtype=steps.dtype, device=steps.device)
        cell = cell.view([n if a == axis else 1 for a in range(len(size))])
        places.append((2 * (cell + step) + 1) / n - 1)
    return torch.stack(places[::-1], dim=-1)


def _sample(x: Tensor, grid: Tensor) -> Tensor:
    """Linear interpolation in float32; beyond the border the border's value."""
    with torch.autocast(x.device.type, enabled=False):
        return F.grid_sample(x.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
