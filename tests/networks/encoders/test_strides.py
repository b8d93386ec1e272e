import pytest

from medseg.errors import ConfigError
from medseg.networks.encoders.strides import Axes, plan_stages, stem_strides, times

CUBE, FLAT = Axes(3), Axes(3, flat_levels=3)


def planned(output_stride, axes=CUBE, start=(4, 4, 4), **options):
    return plan_stages((1, 2, 2, 2), start=start, output_stride=output_stride, axes=axes, **options)


def test_nothing_dilates_at_the_paper_s_stride():
    stages = planned(32)
    assert [max(s.stride) for s in stages] == [1, 2, 2, 2]
    assert {(s.first_dilation, s.dilation) for s in stages} == {(1, 1)}
    assert stages[-1].total == (32, 32, 32)


def test_a_stride_taken_away_dilates_all_but_the_first_convolution():
    *_, third, fourth = planned(8)
    assert (third.stride, third.first_dilation, third.dilation, third.total) == ((1, 1, 1), 1, 2, (8, 8, 8))
    assert (fourth.stride, fourth.first_dilation, fourth.dilation, fourth.total) == ((1, 1, 1), 2, 4, (8, 8, 8))


def test_the_first_convolution_dilates_too_where_asked():
    *_, third, fourth = planned(8, dilate_first=True)
    assert (third.first_dilation, fourth.first_dilation) == (2, 4)


def test_flat_levels_leave_the_last_axis_alone():
    stages = planned(32, FLAT, start=(4, 4, 1))
    assert [s.stride for s in stages] == [(1, 1, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2)]
    assert [s.kernel for s in stages] == [(3, 3, 1), (3, 3, 1), (3, 3, 3), (3, 3, 3)]
    assert [s.inner_kernel for s in stages] == [(3, 3, 1), (3, 3, 3), (3, 3, 3), (3, 3, 3)]
    assert stages[-1].total == (32, 32, 4)
    assert Axes(2, flat_levels=3).at(0, 3) == (3, 3)


def test_the_other_blocks_of_a_stage_neither_stride_nor_keep_the_dilation_before():
    rest = planned(8, FLAT, start=(4, 4, 1))[3].rest
    assert (rest.stride, rest.first_dilation, rest.dilation) == ((1, 1, 1), 4, 4)
    assert rest.at_rates(5, 9).first_dilation == 5


def test_an_output_stride_between_stages_lists_the_choices():
    with pytest.raises(ConfigError, match=r"expected one of 2, 4, 8, 16 for this encoder and stem, found 32"):
        planned(32, start=(2, 2, 2))


def test_a_stem_strides_every_axis_or_each():
    assert stem_strides(2, CUBE) == (2, 2, 2)
    assert stem_strides((2, 2, 1), CUBE) == (2, 2, 1)
    assert stem_strides(2, FLAT) == (2, 2, 1)
    with pytest.raises(ConfigError, match=r"expected 1 or 2 numbers, found \[2, 2, 1\]"):
        stem_strides((2, 2, 1), Axes(2))


def test_strides_multiply_axis_by_axis():
    assert times((2, 2, 1), (2, 2, 2)) == (4, 4, 2)
