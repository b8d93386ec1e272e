"""Settings of what happens to a label map after the network; ``inference.postprocess`` does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated

from pydantic import Field, field_validator

from medseg.settings import NAMES_CLASSES, NotNegative, Positive, settings


@settings
class Inside:
    """The organ that a class must lie in."""

    of: Annotated[tuple[str, ...], Field(min_length=1), NAMES_CLASSES]
    """Classes that make the organ. Components of the class that have replaced organ (at least half of their surface
    lies against it) and the holes of both belong to it."""
    margin_mm: NotNegative = 0.0
    """How far from the organ a voxel of the class may be."""


@settings
class PostProcessing:
    """Cleaning the label map on the study's own grid.

    Whatever the order here: thresholds; then class by class, organs before what lies inside of them: inside,
    keep_largest, fill_holes, minimum_ml. `medseg tune-postprocessing` chooses all of them.
    """

    thresholds: Annotated[Mapping[str, Annotated[float, Field(gt=0.0, lt=1.0)]], NAMES_CLASSES] = field(
        default_factory=dict
    )
    """A voxel is this class where its probability is at least this, whatever else competes; the other classes share the
    rest by arg-max."""
    inside: Annotated[Mapping[str, Inside], NAMES_CLASSES] = field(default_factory=dict)
    """Voxels of a class outside of an organ become background, as in {tumour: {of: [liver], margin_mm: 5}}."""
    keep_largest: Annotated[tuple[str, ...], NAMES_CLASSES] = ()
    """Classes of which only the largest 26-connected component is kept; of equal ones the first in array order."""
    fill_holes: Annotated[tuple[str, ...], NAMES_CLASSES] = ()
    """Classes whose holes (closed in 3D) are filled; voxels of other classes in them stay."""
    minimum_ml: Annotated[Mapping[str, Positive], NAMES_CLASSES] = field(default_factory=dict)
    """Volume below which a 26-connected component of a class becomes background."""

    @field_validator("inside")
    @classmethod
    def _organs_come_first(cls, value: Mapping[str, Inside]) -> Mapping[str, Inside]:
        todo = dict(value)
        while free := [name for name, where in todo.items() if not set(where.of) & todo.keys()]:
            todo = {name: where for name, where in todo.items() if name not in free}
        for name, where in todo.items():
            raise ValueError(
                f"{name}: expected an organ that need not lie inside {name} itself, found {list(where.of)}"
            )
        return value

    @property
    def cleaned(self) -> tuple[str, ...]:
        """The classes with a step on the label map; thresholds come before there is one."""
        return tuple(dict.fromkeys((*self.inside, *self.keep_largest, *self.fill_holes, *self.minimum_ml)))

    @property
    def named(self) -> tuple[str, ...]:
        """Every class that is named anywhere."""
        organs = (name for where in self.inside.values() for name in where.of)
        return tuple(dict.fromkeys((*self.thresholds, *self.cleaned, *organs)))
