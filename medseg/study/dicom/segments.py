"""Which segments of a DICOM-SEG a label map chooses, by their numbers or by their labels."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from medseg.errors import LabelError
from medseg.types import IGNORE_INDEX, LabelMap
from medseg.words import did_you_mean, listed

_MOST_LISTED = 12


def class_of_segments(
    segments: Mapping[int, str], shown: Collection[int], label_map: LabelMap, what: str
) -> dict[int, int]:
    """The class index of each segment that is shown: 0 for background, ``IGNORE_INDEX`` for what is to be ignored.

    A name that no segment has is a class that does not occur in this study, as long as every segment has a meaning;
    where one is left, the name was probably meant for it.

    Args:
        segments: number -> label, of all that the file lists.
        shown: numbers of those that have frames; the others are empty, and need no meaning.
        label_map: values that are text mean labels, in upper or lower case.
        what: names the study in messages.

    Raises:
        LabelError: a segment or a name that is left over; a segment whose number and label belong to different classes,
            or that is chosen by its number and called like another class.
    """
    index_of = {_key(value): index for index, values in label_map.indices for value in values}
    segments = {**dict.fromkeys(shown, ""), **segments}
    meanings = {n: {index_of[key] for key in (n, _key(segments[n])) if key in index_of} for n in sorted(shown)}
    left = [number for number, indices in meanings.items() if not indices]
    if left:
        _require_names(segments, label_map, what)
    if left and not label_map.rest_is_background:
        _refuse(segments, left, label_map, what)
    for number, indices in meanings.items():
        _require_one_meaning(number, segments[number], indices, label_map, what)
    return {number: max(indices, default=0) for number, indices in meanings.items()}


def named_segment(number: int, label: str) -> str:
    """A segment in messages: ``2 'Tumour'``."""
    return f"{number} {label!r}" if label else f"{number}"


def _key(value: int | str) -> int | str:
    return value.casefold() if isinstance(value, str) else value


def _require_names(segments: Mapping[int, str], label_map: LabelMap, what: str) -> None:
    labels = {_key(label) for label in segments.values()}
    for _, values in label_map.indices:
        for name in values:
            if isinstance(name, str) and _key(name) not in labels:
                near = did_you_mean(name, [label.lower() for label in segments.values()])
                raise LabelError(
                    f"{what}: expected a segment named {name!r}, found {_all(segments, segments)}{near} A study "
                    "without it needs a label map of its own (`data.label_maps`) that leaves it out"
                )


def _refuse(segments: Mapping[int, str], left: Collection[int], label_map: LabelMap, what: str) -> None:
    known = ", ".join(f"{name}: {list(values)}" for name, values in label_map.classes.items())
    first = segments[min(left)] or min(left)
    raise LabelError(
        f"{what}: found segments that the pipeline does not name: {_all(segments, left)}; it names {known}. Merge them "
        f"into a class, leave them out of training and scoring (`ignore: [{first}]`), or take them as background "
        f"(`background: [{first}]`; `background: rest` takes every segment that nothing names)"
    )


def _require_one_meaning(number: int, label: str, indices: Collection[int], label_map: LabelMap, what: str) -> None:
    names = {0: "background", IGNORE_INDEX: "ignore", **dict(enumerate(label_map.names, start=1))}
    segment = f"{what}: segment {named_segment(number, label)}"
    if len(indices) > 1:
        meant = listed([repr(names[index]) for index in sorted(indices)], "and")
        raise LabelError(f"{segment} is {meant} at once by its number and its label")
    own = names[max(indices, default=0)]
    other = next((name for name in label_map.names if name.casefold() == label.casefold() and name != own), None)
    if other and own in label_map.names and label.casefold() not in map(_key, label_map.classes[own]):
        raise LabelError(
            f"{segment} would be {own!r} by its number; choose it by its name: `labels: {{{other}: {label}}}`"
        )


def _all(segments: Mapping[int, str], numbers: Collection[int]) -> str:
    texts = [named_segment(number, segments[number]) for number in sorted(numbers)]
    more = f" and {len(texts) - _MOST_LISTED} more" if len(texts) > _MOST_LISTED else ""
    return ", ".join(texts[:_MOST_LISTED]) + more
