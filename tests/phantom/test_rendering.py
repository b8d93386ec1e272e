import numpy as np
import pytest

from medseg.phantom import rendering
from medseg.phantom.rendering import Scene, draw_noise
from medseg.phantom.solids import Part, ellipsoid, half_space, rotation_matrix
from medseg.types import Grid


def plain_scene(shape: tuple[int, int, int], to_anatomy: np.ndarray) -> Scene:
    """No shear: its waves are endless."""
    return Scene(shape, to_anatomy, np.zeros((3, 2)), np.full((3, 2), np.inf))


def test_voxel_at_a_surface_mixes_both_sides_by_their_share():
    scene = plain_scene((4, 4, 5), np.eye(4))
    image, label = scene.render([Part("upper", half_space(2, 2.2), 100.0, 1)])
    # voxel 2 reaches from 1.5 to 2.5, so 0.3 of it lie above 2.2; its centre does not
    np.testing.assert_allclose(image[1, 2], [-1000, -1000, 0.3 * 100 - 0.7 * 1000, 100, 100], atol=0.01)
    assert label[1, 2].tolist() == [0, 0, 0, 1, 1]


def test_later_parts_cover_earlier_ones_and_keep_labels_unless_they_have_one():
    ball = ellipsoid((4, 4, 4), (3, 3, 3))
    parts = [Part("a", ball, 50, 1), Part("vessel", ball.grown(-1), 150), Part("lesion", ball.grown(-2), 20, 2)]
    image, label = plain_scene((9, 9, 9), np.eye(4)).render(parts)
    assert [(image[i, 4, 4], label[i, 4, 4]) for i in (4, 0)] == [(20, 2), (-1000, 0)]
    assert label[6, 4, 4] == 1


@pytest.mark.parametrize("turn", [(0, 0, 0), (8, -9, 25)])
def test_shares_add_up_to_the_solids_volume_on_any_grid(turn):
    affine = np.eye(4)
    affine[:3, :3] = rotation_matrix(turn) @ np.diag([0.7, 0.7, 3.0])
    affine[:3, 3] = -affine[:3, :3] @ [30, 30, 8]
    image, label = plain_scene((61, 61, 17), affine).render([Part("ball", ellipsoid((0, 0, 0), (15, 15, 15)), 0.0, 1)])
    voxel = 0.7 * 0.7 * 3.0
    volume = 4 / 3 * np.pi * 15**3
    assert ((image + 1000) / 1000).sum() * voxel == pytest.approx(volume, rel=0.01)
    assert label.sum() * voxel == pytest.approx(volume, rel=0.02)


def test_shears_bend_but_keep_volumes():
    ball = Part("ball", ellipsoid((0, 0, 0), (40, 40, 40)), 0.0, 1)
    grid = Grid((60, 60, 60), np.diag([2.0, 2.0, 2.0, 1.0]))
    volumes = []
    for seed in range(4):
        image, _ = Scene.drawn(np.random.default_rng(seed), grid, 1.0).render([ball])
        volumes.append(((image + 1000) / 1000).sum() * 8)
    np.testing.assert_allclose(volumes, 4 / 3 * np.pi * 40**3, rtol=0.005)


def test_drawing_does_not_depend_on_how_it_is_cut_into_slabs(monkeypatch):
    affine = np.eye(4)
    affine[:3, :3] = rotation_matrix((5, 10, 0)) * 1.5
    parts = [Part("a", ellipsoid((20, 15, 15), (12, 9, 10)), 50, 1), Part("b", half_space(2, 14), 150)]
    whole = plain_scene((24, 20, 21), affine).render(parts)
    monkeypatch.setattr(rendering, "SLAB_VOXELS", 24 * 20 * 4)
    cut = plain_scene((24, 20, 21), affine).render(parts)
    np.testing.assert_array_equal(whole[0], cut[0])
    np.testing.assert_array_equal(whole[1], cut[1])


def test_noise_has_its_sigma_and_goes_together_within_slices_only():
    noise = draw_noise(np.random.default_rng(0), (120, 110, 20), 1000.0)  # beside which the shading is nothing
    assert noise.dtype == np.float32
    assert noise.std() == pytest.approx(1000, rel=0.02)
    neighbours = [np.mean(a * b) / 1e6 for a, b in ((noise[1:], noise[:-1]), (noise[:, :, 1:], noise[:, :, :-1]))]
    # weights 1/4, 1/2, 1/4 overlap with themselves, one further, by (1/8 + 1/8) / (3/8)
    assert neighbours == pytest.approx([2 / 3, 0], abs=0.02)
