import pytest
from pydantic import ValidationError

from medseg.config.section import Range, Section, ordered


class Example(Section):
    """A section."""

    size: float = 1.0


def test_a_section_takes_no_unknown_key_and_no_infinity():
    with pytest.raises(ValidationError, match="Extra inputs"):
        Example(sise=2.0)
    with pytest.raises(ValidationError, match="finite"):
        Example(size=float("inf"))


def test_a_range_begins_with_its_lower_end():
    same: Range = (1.0, 1.0)
    assert ordered(same) == same
    with pytest.raises(ValueError, match="must not exceed"):
        ordered((2.0, 1.0))
