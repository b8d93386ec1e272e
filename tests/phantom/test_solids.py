import numpy as np
import pytest

from medseg.phantom.solids import ANYWHERE, Solid, capsule, column, ellipsoid, half_space, rotation_matrix


def at(solid: Solid, *points: tuple[float, float, float]) -> list[float]:
    x, y, z = np.array(points, np.float32).T
    return solid.field(x, y, z).tolist()


BALL = ellipsoid((10, 0, 0), (5, 5, 5))


def test_ball_gives_its_exact_distance():
    assert at(BALL, (10, 0, 0), (12, 0, 0), (10, 5, 0), (10, 0, -8)) == pytest.approx([-5, -3, 0, 3])


def test_turned_ellipsoid_points_along_its_new_axis():
    lying = ellipsoid((0, 0, 0), (20, 4, 4), (0, 0, 90))
    assert at(lying, (0, 20, 0), (4, 0, 0), (0, 0, 4)) == pytest.approx([0, 0, 0], abs=1e-4)
    np.testing.assert_allclose(lying.high, (4, 20, 4), atol=1e-9)


def test_half_space_and_column_do_not_end():
    above = half_space(2, 3.0)
    assert at(above, (99, -99, 5)) == [-2]
    assert (above.low[2], above.high[0]) == (3.0, ANYWHERE)
    assert at(column((0, 0), (10, 10)), (13, 0, 4000)) == pytest.approx([3])


def test_boxiness_fills_the_corners_of_a_column():
    corner = (8.0, 8.0, 0.0)
    assert at(column((0, 0), (10, 10)), corner)[0] > 0 > at(column((0, 0), (10, 10), boxiness=1.0), corner)[0]


def test_capsule_tapers():
    rod = capsule((0, 0, 0), (0, 0, 10), 4, 2)
    assert at(rod, (4, 0, 0), (3, 0, 5), (2, 0, 10), (0, 0, 13)) == pytest.approx([0, 0, 0, 1])


def test_joined_within_without_follow_set_algebra():
    other = ellipsoid((14, 0, 0), (5, 5, 5))
    only_ball, both, only_other = (6.0, 0.0, 0.0), (12.0, 0.0, 0.0), (18.0, 0.0, 0.0)
    points = (only_ball, both, only_other)
    assert [v < 0 for v in at(BALL.joined(other), *points)] == [True, True, True]
    assert [v < 0 for v in at(BALL.within(other), *points)] == [False, True, False]
    assert [v < 0 for v in at(BALL.without(other), *points)] == [True, False, False]
    assert at(BALL.without(other, 2.0), (8, 0, 0)) == pytest.approx([1])  # the other's surface, 9, moved to 7


def test_blend_fills_the_crease_between_two_balls():
    pair = ellipsoid((-6, 0, 0), (5, 5, 5)), ellipsoid((6, 0, 0), (5, 5, 5))
    assert at(pair[0].joined(pair[1]), (0, 0, 0)) == pytest.approx([1])
    assert at(pair[0].joined(pair[1], 8.0), (0, 0, 0)) == pytest.approx([-1])  # a quarter of the blend less


@pytest.mark.parametrize(
    "solid",
    [
        ellipsoid((3, 2, 1), (20, 6, 9), (30, 40, 50)),
        ellipsoid((0, 0, 0), (20, 6, 9)).grown(3),
        BALL.joined(capsule((0, 0, 0), (-20, 5, 5), 3, 6), 5),
        BALL.bumpy(np.random.default_rng(0), 4, 10),
        column((0, 0), (9, 9)).within(half_space(0, 2)).within(half_space(2, -5)),
    ],
)
def test_box_holds_the_solid(solid):
    points = np.random.default_rng(1).uniform(-40, 40, (3, 50_000)).astype(np.float32)
    field = solid.field(*points)
    inside = points[:, field < 0]
    assert field.dtype == np.float32
    assert inside.size
    assert np.all(inside.min(axis=1) >= solid.low)
    assert np.all(inside.max(axis=1) <= solid.high)


def test_bumps_move_the_surface_by_at_most_their_amplitude():
    points = np.random.default_rng(1).uniform(-20, 20, (3, 5000)).astype(np.float32)
    moved = BALL.bumpy(np.random.default_rng(0), 2.0, 10).field(*points) - BALL.field(*points)
    assert 1.0 < np.abs(moved).max() <= 2.0


def test_rotation_turns_x_towards_y_about_z():
    np.testing.assert_allclose(rotation_matrix((0, 0, 90)) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    matrix = rotation_matrix((10, -20, 30))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)
