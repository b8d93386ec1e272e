import pytest

from medseg.model.view import View


@pytest.mark.parametrize(
    ("view", "dims", "channels"), [(View(), 3, 1), (View("slice"), 2, 1), (View("slab", 2), 2, 5)], ids=str
)
def test_a_mode_is_axes_and_channels(view, dims, channels):
    assert (view.spatial_dims, view.in_channels) == (dims, channels)


def test_a_slab_repeats_the_edge_slices():
    slab = View("slab", 2)
    assert [slab.slices(k, 4) for k in range(4)] == [[0, 0, 0, 1, 2], [0, 0, 1, 2, 3], [0, 1, 2, 3, 3], [1, 2, 3, 3, 3]]
    assert View("slice").slices(3, 4) == [3]


def test_slices_are_one_voxel_deep():
    assert View().extent((4, 5, 6)) == (4, 5, 6)
    assert View("slab", 1).extent([4, 5]) == (4, 5, 1)
    with pytest.raises(ValueError, match=r"expected 2 numbers in mode slice, found \[4, 5, 6\]"):
        View("slice").extent((4, 5, 6))


@pytest.mark.parametrize(("mode", "neighbours"), [("slab", 0), ("slice", 1), ("patch", 1)])
def test_neighbours_belong_to_slabs_alone(mode, neighbours):
    with pytest.raises(ValueError, match="does not go with mode"):
        View(mode, neighbours)
