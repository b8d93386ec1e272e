"""Which crop is drawn, with every choice known."""

from collections import Counter
from types import MappingProxyType

import numpy as np
import pytest

from medseg.data.sampling import crop, draw_centre, sample_generator, study_of

SHAPE = (9, 8, 7)


def positions(*voxels):
    return np.ravel_multi_index(np.array(voxels).T, SHAPE)


def draws(size, foreground_share, voxels, count, class_shares=MappingProxyType({})):
    chosen = {"size": size, "foreground_share": foreground_share, "class_shares": class_shares}
    return [draw_centre(SHAPE, voxels, sample_generator(0, index), **chosen) for index in range(count)]


@pytest.mark.parametrize(
    ("centre", "size", "expected"),
    [
        (5, 3, [5, 6, 7]),
        (5, 4, [4, 5, 6, 7]),  # voxel 5, whose value is 6, at index 2
        (0, 4, [0, 0, 1, 2]),
        (8, 5, [7, 8, 9, 0, 0]),
        (4, 13, [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0]),
        (20, 3, [0, 0, 0]),
        (-9, 2, [0, 0]),
    ],
)
def test_crop_puts_its_centre_at_half_the_size_and_air_outside(centre, size, expected):
    values = np.arange(1, 10, dtype=np.uint8)
    along_each = [
        crop(values.reshape(np.roll((9, 1, 1), axis)), *np.roll([[centre, 0, 0], [size, 1, 1]], axis, axis=1))
        for axis in range(3)
    ]
    for axis, cut in enumerate(along_each):
        assert cut.shape == tuple(np.roll((size, 1, 1), axis))
        assert cut.ravel().tolist() == expected
        assert cut.dtype == np.uint8


@pytest.mark.parametrize("size", [(4, 3, 7), (5, 8, 1), (1, 1, 2)])
def test_crops_lie_inside_the_study_and_reach_all_of_it(size):
    starts = np.array(draws(size, 0.0, {}, 300)) - np.array(size) // 2
    assert starts.min(axis=0).tolist() == [0, 0, 0]
    assert (starts.max(axis=0) + size).tolist() == list(SHAPE)


def test_axis_shorter_than_the_patch_is_centred():
    for centre in draws((20, 9, 3), 1.0, {1: positions((0, 0, 0))}, 10):
        assert centre == (4, 4, 1)


def test_foreground_crops_are_centred_on_a_foreground_voxel():
    voxels = {0: positions((0, 0, 0)), 1: positions((4, 4, 3), (5, 3, 2)), 255: positions((2, 2, 2))}
    assert set(draws((3, 3, 3), 1.0, voxels, 50)) == {(4, 4, 3), (5, 3, 2)}


def test_share_of_foreground_and_of_each_class_is_as_asked():
    voxels = {1: positions((4, 4, 3)), 2: positions((5, 5, 5)), 3: positions((3, 3, 3))}
    count = Counter(draws((1, 1, 1), 0.8, voxels, 2000, class_shares={1: 3.0, 3: 0.0}))
    # class 2 is not named and weighs 1; one crop in 504 of the rest meets one of the voxels by chance
    assert count[4, 4, 3] / 2000 == pytest.approx(0.8 * 3 / 4, abs=0.04)
    assert count[5, 5, 5] / 2000 == pytest.approx(0.8 * 1 / 4, abs=0.03)
    assert count[3, 3, 3] / 2000 < 0.01


@pytest.mark.parametrize(
    "voxels", [{}, {0: positions((0, 0, 0)), 255: positions((1, 1, 1))}, {3: positions((2, 2, 2))}]
)
def test_study_without_the_wanted_foreground_gives_crops_from_anywhere(voxels):
    assert len(set(draws((1, 1, 1), 1.0, voxels, 100, class_shares={3: 0.0}))) > 50


@pytest.mark.parametrize("num_studies", [1, 2, 7])
def test_every_study_comes_once_in_each_round(num_studies):
    rounds = [[study_of(3, turn * num_studies + i, num_studies) for i in range(num_studies)] for turn in range(6)]
    assert all(sorted(order) == list(range(num_studies)) for order in rounds)
    assert num_studies < 3 or len({tuple(order) for order in rounds}) > 3
    assert rounds[2] == [study_of(3, 2 * num_studies + i, num_studies) for i in range(num_studies)]


def test_generator_follows_from_seed_and_index_alone():
    numbers = {(s, i): sample_generator(s, i).random() for s in range(4) for i in range(50)}
    assert len(set(numbers.values())) == 200
    assert numbers[2, 7] == sample_generator(2, 7).random()
