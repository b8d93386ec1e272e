"""What encoders and networks promise of space: how much a cell sees, and that scores move with the image."""

import pytest
import torch
from torch import nn

from medseg.networks import NETWORKS, build_network
from medseg.networks.encoder_names import ENCODERS
from medseg.networks.encoders import Backbone

LENGTH = 1024
"""Of an image along its first axis: in its middle the ends are hardly felt, however far a network looks."""

WHOLE_IMAGE = {
    "zoomout": "the scene",
    "deeplabv3": "image pooling",
    "deeplabv3plus": "image pooling",
    "pspnet": "pyramid pooling",
    "encnet": "the descriptor",
    "ocrnet": "the regions",
    "swinunetr": "windows that begin at the image's corner",
}
"""Networks whose scores depend on where in the image a thing lies, and by what."""

OPTIONS = {"deconvnet": {"fc": False, "fc_kernel": None, "fc_width": None}}
"""What leaves the whole image out of a network: here the norm after fc6."""


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize(
    ("name", "expected"), [("resnet18", 435), ("resnet34", 899), ("resnet50", 427), ("resnet101", 971)]
)
def test_a_cell_of_a_resnet_sees_as_much_at_every_output_stride(name, expected, output_stride, dims):
    encoder = Backbone(name, output_stride, width=0.125).build(dims, 1).eval().double()
    mean = {2: nn.AvgPool2d, 3: nn.AvgPool3d}[dims]  # a maximum has a gradient at one voxel alone
    encoder.maxpool = mean((3, 1, 1)[:dims], stride=(2, 1, 1)[:dims], padding=(1, 0, 0)[:dims])
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.abs_()
    x = torch.ones(1, 1, LENGTH, *(1, 1)[: dims - 1], dtype=torch.float64, requires_grad=True)
    encoder(x)[-1][:, :, LENGTH // 2 // output_stride].sum().backward()
    seen = x.grad.flatten().nonzero()
    assert (seen.min(), seen.max()) == (LENGTH // 2 - expected // 2, LENGTH // 2 + expected // 2)


def assert_moves(function, dims, shift, stride=1):
    """An image that is moved by ``shift`` voxels moves the middle of a map of this stride as far."""
    image = torch.randn(1, 1, LENGTH + shift, *(8, 4)[: dims - 1], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        still, moved = (function(image[:, :, start : start + LENGTH]) for start in (0, shift))
    start, step = LENGTH // 2 // stride, shift // stride
    expected = still[:, :, start + step : start + step + 8]
    torch.testing.assert_close(moved[:, :, start : start + 8], expected, rtol=1e-4, atol=1e-4 * expected.std().item())


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", ENCODERS)
def test_an_image_moved_by_the_output_stride_moves_an_encoder_s_last_map_by_a_cell(name, dims):
    torch.manual_seed(0)
    encoder = Backbone(name, 8, width=0.125).build(dims, 1).eval()
    assert_moves(lambda x: encoder(x)[-1], dims, shift=8, stride=8)


@pytest.mark.parametrize(
    ("name", "dims"),
    [
        pytest.param(name, dims, id=f"{name}-{dims}d")
        for name, info in NETWORKS.items()
        for dims in info.dims
        if name not in WHOLE_IMAGE
    ],
)
def test_an_image_moved_by_the_coarsest_stride_moves_the_logits(name, dims):
    torch.manual_seed(0)
    options = {**NETWORKS[name].small, "norm": "batch", **OPTIONS.get(name, {})}
    assert_moves(build_network(name, dims, 1, 3, **options).eval(), dims, shift=32)
