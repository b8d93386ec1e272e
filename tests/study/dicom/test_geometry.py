"""Order, distances and tilt, from positions alone."""

from pathlib import Path

import numpy as np
import pytest

from medseg.errors import GeometryError, StudyError
from medseg.study.dicom.geometry import stack_slices
from medseg.study.dicom.header import Header

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def slices(places, orientation=AXIAL, **fields):
    return [
        Header(
            Path(f"{k}"),
            rows=4,
            columns=4,
            position=tuple(map(float, place)),
            orientation=orientation,
            spacing=(2.0, 0.5),
            **fields,
        )
        for k, place in enumerate(places)
    ]


def test_affine_has_the_spacing_between_columns_first():
    stack = stack_slices(slices([(0, 0, 0), (0, 0, 3), (0, 0, 6)]), "x")
    np.testing.assert_allclose(stack.affine, np.diag([-0.5, -2.0, 3.0, 1.0]), atol=1e-12)
    assert (stack.shift_px, stack.tilt_deg) == ((0.0, 0.0), 0.0)


def test_order_follows_the_normal():
    stack = stack_slices(slices([(0, 0, 6), (0, 0, 0), (0, 0, 3)]), "x")
    assert [group[0].path.name for group in stack.slices] == ["1", "2", "0"]
    # seen from the feet: rows run up, so the normal points down and the order turns round
    stack = stack_slices(slices([(0, 0, 6), (0, 0, 0), (0, 0, 3)], (1, 0, 0, 0, -1, 0)), "x")
    assert [group[0].path.name for group in stack.slices] == ["0", "2", "1"]


def test_tilt_gives_the_shift_in_pixels():
    stack = stack_slices(slices([(0, 0, 0), (0, 1, 2), (0, 2, 4)]), "x")
    assert stack.shift_px == pytest.approx((0.0, 0.5))  # 1 mm down, pixels of 2 mm
    assert stack.tilt_deg == pytest.approx(np.degrees(np.arctan(0.5)))
    assert np.linalg.norm(stack.affine[:3, 2]) == pytest.approx(2.0)


def test_tiny_drift_is_no_tilt():
    assert stack_slices(slices([(0, 0.02 * k, 2 * k) for k in range(4)]), "x").shift_px == (0.0, 0.0)


def test_slow_drift_of_the_distance_is_uneven():
    """No two neighbouring distances differ by 1 %, yet the middle slice lies 2 mm off."""
    places = np.cumsum(np.linspace(0.8, 1.2, 41))
    with pytest.raises(GeometryError, match="expected even distances"):
        stack_slices(slices([(0, 0, z) for z in places]), "x")


@pytest.mark.parametrize(
    ("places", "words"),
    [
        (
            [0, 1, 2, 4],
            r"1 slices are missing \(1 after slice 3 of 4\): distances 1.00 mm \(2 times\); 2.00 mm \(once\)",
        ),
        ([0, 2, 3], r"1 slices are missing \(1 after slice 1 of 3\)"),
        ([0, 1.02, 3, 4], r"1 slices are missing \(1 after slice 2 of 4\)"),
        ([0, 1, 2.5, 3.5], r"found 1.00 mm \(2 times\); 1.50 mm \(once\)"),
        ([0, 2, 4, 5], r"2 slices are missing \(1 after slice 1, 1 after slice 2 of 4\)"),
    ],
)
def test_whole_multiples_are_missing_slices_other_distances_are_uneven(places, words):
    with pytest.raises(GeometryError, match=words):
        stack_slices(slices([(0, 0, z) for z in places]), "x")


def test_positions_together_are_one_place():
    stack = stack_slices(slices([(0, 0, 0), (0, 0, 2), (0, 0, 2.001), (0, 0, 4)]), "x")
    assert [len(group) for group in stack.slices] == [1, 2, 1]


def test_two_fields_of_view_in_one_plane_are_refused():
    with pytest.raises(GeometryError, match=r"two slices lie in one plane, 40.00 mm apart"):
        stack_slices(slices([(0, 0, 0), (40, 0, 0)]), "x")


def test_positions_along_the_plane_are_refused():
    with pytest.raises(GeometryError, match=r"run 78.7 degrees off"):
        stack_slices(slices([(0, 5 * k, k) for k in range(3)]), "x")


def test_slices_beside_the_line_are_refused():
    with pytest.raises(GeometryError, match=r"do not lie on one line: 0.50 mm beside it"):
        stack_slices(slices([(0, 0, 0), (0, 0.5, 20), (0, 0, 40)]), "x")


@pytest.mark.parametrize("orientation", [(1, 0, 0, 1, 0, 0), (2, 0, 0, 0, 1, 0), (0, 0, 0, 0, 0, 0)])
def test_directions_must_be_two_at_a_right_angle(orientation):
    with pytest.raises(GeometryError, match="two directions at a right angle"):
        stack_slices(slices([(0, 0, 0), (0, 0, 1)], tuple(map(float, orientation))), "x")


def test_single_slice_needs_a_thickness():
    assert stack_slices(slices([(0, 0, 0)], thickness=5.0), "x").affine[2, 2] == 5.0
    with pytest.raises(StudyError, match="without SliceThickness"):
        stack_slices(slices([(0, 0, 0)]), "x")


def test_spacing_must_be_above_zero():
    header = Header(Path("a"), position=(0, 0, 0), orientation=AXIAL, spacing=(0.0, 1.0), thickness=1.0)
    with pytest.raises(GeometryError, match="PixelSpacing above 0 mm"):
        stack_slices([header], "x")
