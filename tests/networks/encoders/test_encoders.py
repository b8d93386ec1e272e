"""medseg/networks/encoders/__init__.py: one contract for every encoder with a choice of output stride."""

from typing import get_args

import pytest
import torch

from medseg.errors import ConfigError
from medseg.networks.encoders import AtrousEncoder, atrous_encoder


@pytest.mark.parametrize("name", get_args(AtrousEncoder))
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_five_maps_end_at_the_output_stride(name, output_stride):
    encoder = atrous_encoder(name, 2, 1, output_stride=output_stride, width=0.125)
    maps = encoder(torch.zeros(2, 1, 64, 64))
    assert len(maps) == len(encoder.channels) == len(encoder.strides) == 5
    assert encoder.strides == tuple((min(2**m, output_stride),) * 2 for m in range(1, 6))
    assert maps[-1].shape[2:] == (64 // output_stride, 64 // output_stride)


def test_an_output_stride_that_the_stem_cannot_give_is_refused():
    with pytest.raises(ConfigError, match=r"network.output_stride: expected one of 2, 4, 8, 16"):
        atrous_encoder("resnet18", 2, 1, output_stride=32, stem_stride=1)
