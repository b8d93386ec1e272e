"""What the layer cascade saves: seconds for a CT phantom with every voxel computed, and with the easy ones skipped.

An untrained network is sure of nothing, so the label says which voxels are left: those near a surface of liver or
tumour. Seconds are of one core; the error is that of the logits of voxels that reach the last head, in units of their
standard deviation.

    python bench/layer_cascade.py                     # under a minute on one core
    python bench/layer_cascade.py --encoder resnet50
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from medseg.networks.architectures.layer_cascade import LayerCascade
from medseg.networks.encoders import Backbone
from medseg.networks.layers.sizes import pad_small
from medseg.networks.outputs import TrainingOutput, to_size
from medseg.phantom.make import PhantomOptions, make_phantom

SLICES = PhantomOptions(field_of_view_mm=(370.0, 370.0, 300.0), spacing_mm=(0.75, 0.75), slice_spacing_mm=(10.0, 10.0))
PATCHES = PhantomOptions(field_of_view_mm=(370.0, 370.0, 300.0), spacing_mm=(1.5, 1.5), slice_spacing_mm=(3.0, 3.0))

SURFACES_MM = (9.0, 4.5)
"""Distance from a surface within which the first and the second head leave a voxel undecided."""

PATCH = 80
"""Voxels along each axis."""

Case = tuple[Tensor, tuple[Tensor, Tensor]]
"""An image (1, 1, I, J[, K]), and the voxels (1, I, J[, K]) that the first and the second head leave."""


class Dictated(LayerCascade):
    """A cascade that is told what it is sure of."""

    left: Iterator[Tensor]

    def undecided(self, logits: Tensor) -> Tensor:
        """What the label says."""
        return next(self.left)


def main() -> None:
    """Print a table for slices and one for patches."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--slices", type=int, default=6)
    parser.add_argument("--patches", type=int, default=18)
    parser.add_argument("--width", type=float, default=0.5, help="of the encoder in 3D")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    encoder, width = arguments.encoder, arguments.width
    with torch.inference_mode():
        compare(f"slices, {encoder}", slices(arguments.slices), Backbone(encoder, 8))
        compare(f"patches, {encoder} at width {width}", patches(arguments.patches), Backbone(encoder, 8, width=width))


def slices(number: int) -> list[Case]:
    """Slices evenly spread over a phantom."""
    image, first, second = study(SLICES)
    places = np.linspace(0, image.shape[-1] - 1, number).round().astype(int)
    return [(image[..., k], (first[..., k], second[..., k])) for k in places]


def patches(number: int) -> list[Case]:
    """Patches of a sliding window without overlap."""
    image, first, second = study(PATCHES)
    counts = [range(0, n - PATCH + 1, PATCH) for n in image.shape[2:]]
    windows = [tuple(slice(a, a + PATCH) for a in start) for start in itertools.product(*counts)]
    return [(image[:, :, i, j, k], (first[:, i, j, k], second[:, i, j, k])) for i, j, k in windows[:number]]


def study(options: PhantomOptions) -> tuple[Tensor, Tensor, Tensor]:
    """A phantom (1, 1, I, J, K), slices along K, and what the first and the second head leave of it (1, I, J, K)."""
    image, label = make_phantom(seed=0, options=options)
    shortest = int(np.argmin(image.voxels.shape))  # slices lie along it, whichever way the phantom is stored
    voxels, label_map = (np.moveaxis(volume.voxels, shortest, -1) for volume in (image, label))
    spacing_mm = image.grid.spacing_mm
    surface = ndimage.grey_dilation(label_map, size=3) != ndimage.grey_erosion(label_map, size=3)
    sampling = [*np.delete(spacing_mm, shortest), spacing_mm[shortest]]
    distance = ndimage.distance_transform_edt(~surface, sampling=sampling)
    first, second = (torch.from_numpy(distance <= mm)[None] for mm in SURFACES_MM)
    return torch.from_numpy(voxels.astype(np.float32) / 1000)[None, None], first, second


def compare(title: str, images: list[Case], backbone: Backbone) -> None:
    """Time the network with and without skipping, on the same images."""
    torch.manual_seed(0)
    dims = images[0][0].ndim - 2
    network = Dictated(dims, 1, 3, backbone=backbone)
    for module in network.modules():  # running statistics of such images, as after training
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.momentum = 1.0
    network.score(network.encoder(images[len(images) // 2][0]))
    network.eval()
    reaches = network.reaches
    voxels = sum(image.numel() for image, _ in images)
    shares = [sum(int(left[head].sum()) for _, left in images) / voxels for head in (0, 1)]
    counts = [sum(bool(left[head].any()) for _, left in images) for head in (0, 1)]
    print(f"\n{title}: {len(images)} images of {'x'.join(map(str, images[0][0].shape[2:]))}")
    print(f"left by head 1: {counts[0]} images, {shares[0]:.1%} of the voxels; by head 2: {counts[1]}, {shares[1]:.1%}")
    everywhere(network, images[0][0])  # warm
    whole, reference = timed(lambda image, left: everywhere(network, image), images)
    print(f"{'':24}{'seconds':>10}{'times':>8}{'error':>10}")
    print(f"{'everything computed':24}{whole:10.2f}{1.0:8.1f}{'':>10}")
    for name, has_boxes in (("images skipped", False), ("and layers see boxes", True)):
        network.has_parts, network.reaches = has_boxes, reaches if has_boxes else []
        seconds, found = timed(lambda image, left: cascade(network, image, left), images)
        made, exact = (
            torch.cat([logits[:, :, last[0]] for logits, (_, (_, last)) in zip(maps, images, strict=True)], dim=2)
            for maps in (found, reference)
        )
        difference = ((made - exact).square().mean().sqrt() / exact.std()).item()
        print(f"{name:24}{seconds:10.2f}{whole / seconds:8.1f}{difference:10.0e}")


def everywhere(network: LayerCascade, image: Tensor) -> Tensor:
    """The last head's logits of all voxels, after all that training computes."""
    padded = pad_small(image, network.minimum)
    output = to_size(network.score(network.encoder(padded)), padded.shape[2:], image.shape[2:])
    assert isinstance(output, TrainingOutput)
    return output.logits


def cascade(network: Dictated, image: Tensor, left: tuple[Tensor, Tensor]) -> Tensor:
    """Logits with the easy voxels skipped."""
    network.left = iter(left)
    return network.decide(image)[0]


def timed(run: Callable[[Tensor, tuple[Tensor, Tensor]], Tensor], images: list[Case]) -> tuple[float, list[Tensor]]:
    """Seconds of one core for all images, and what came of them."""
    started = time.process_time()
    found = [run(image, left) for image, left in images]
    return time.process_time() - started, found


if __name__ == "__main__":
    main()
