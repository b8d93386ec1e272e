"""What the command line writes in one word, as the objects that it means."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from medseg.errors import ConfigError
from medseg.study.label_map import parse_labels
from medseg.types import LabelMap


def parse_label_argument(text: str) -> LabelMap:
    """Turn ``liver=1,tumour=2+3,ignore=5,background=rest`` into a LabelMap.

    The words mean what they mean in a pipeline's ``labels:``; ``+`` joins the values of one class. What is no number
    is the name of a DICOM-SEG's segment, as in ``liver=Liver``.

    Raises:
        ConfigError: not of this form, or labels that contradict each other.
    """
    entries: dict[str, Any] = {}
    for part in text.split(","):
        name, equals, values = (piece.strip() for piece in part.partition("="))
        if not (name and equals and values):
            raise ConfigError(
                f"labels: expected name=value pairs such as liver=1,tumour=2+3, found {part!r} in {text!r}"
            )
        if name in entries:
            raise ConfigError(f"labels: {name!r} is given twice in {text!r}; join its values with +, as in {name}=1+2")
        entries[name] = values if values == "rest" else [_value(v, part) for v in values.split("+")]
    try:
        return parse_labels(entries)
    except ValueError as error:
        raise ConfigError(f"labels: {error} (in {text!r})") from error


def _value(text: str, part: str) -> int | str:
    if re.fullmatch(r"\s*-?[0-9]+\s*", text):
        return int(text)
    if re.search(r"[^\W\d_]", text):
        return text.strip()
    raise ConfigError(
        f"labels: expected whole numbers (of a DICOM-SEG also segments' names) joined by + after the =, "
        f"found {part.strip()!r}"
    )


def parse_tolerances(texts: Sequence[str]) -> dict[str, float]:
    """Turn ``["liver=7", "tumour=2,vessel=1.5"]`` into label -> millimetres.

    Raises:
        ConfigError: not of this form, or a label twice.
    """
    tolerances: dict[str, float] = {}
    for part in (piece for text in texts for piece in text.split(",")):
        name, _, number = (piece.strip() for piece in part.partition("="))
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not name or not math.isfinite(value):
            raise ConfigError(f"tolerance_mm: expected label=millimetres such as liver=7, found {part!r}")
        if name in tolerances:
            raise ConfigError(f"tolerance_mm: {name!r} is given twice")
        tolerances[name] = value
    return tolerances
