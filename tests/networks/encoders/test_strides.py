import pytest

from medseg.errors import ConfigError
from medseg.networks.encoders.strides import Stage, plan_stages, stem_strides


def test_nothing_dilates_at_the_paper_s_stride():
    assert [s.stride for s in plan_stages((1, 2, 2, 2), start=4, output_stride=32)] == [1, 2, 2, 2]


def test_a_stride_taken_away_dilates_all_but_the_first_convolution():
    *_, third, fourth = plan_stages((1, 2, 2, 2), start=4, output_stride=8)
    assert third == Stage(stride=1, first_dilation=1, dilation=2, total=8)
    assert fourth == Stage(stride=1, first_dilation=2, dilation=4, total=8)


def test_an_output_stride_between_stages_lists_the_choices():
    with pytest.raises(ConfigError, match=r"expected one of 2, 4, 8, 16 for this encoder and stem, found 32"):
        plan_stages((1, 2, 2, 2), start=2, output_stride=32)


def test_a_stem_strides_every_axis_or_each():
    assert stem_strides(2, 3) == (2, 2, 2)
    assert stem_strides((2, 2, 1), 3) == (2, 2, 1)
    with pytest.raises(ConfigError, match=r"expected 1 or 2 numbers, found \[2, 2, 1\]"):
        stem_strides((2, 2, 1), 2)
