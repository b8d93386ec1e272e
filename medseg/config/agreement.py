"""What no single section of a pipeline can know: whether the sections fit each other.

These functions take the merged YAML as plain dicts, not the typed config, so that their findings stand in the same
report as the mistakes that keep the typed config from being built. Values of a wrong type are passed over: the schema
reports those.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from medseg.config.marks import class_names
from medseg.config.problems import Problem, dotted
from medseg.study.label_map import parse_labels
from medseg.words import did_you_mean, listed

_DIMENSIONS = {"slice": 2, "slab": 2, "patch": 3}


def disagreements(pipeline: Mapping[str, Any], schema: type) -> list[Problem]:
    """Settings that contradict each other.

    Args:
        pipeline: a whole pipeline as plain dicts; sections may be missing or wrong.
        schema: what it is meant to be, whose marks tell which settings name classes.

    Returns:
        One problem each for a size with the wrong number of axes and for a class that ``labels`` does not name.
    """
    return [*_sizes(pipeline), *_class_names(pipeline, schema)]


def idle_settings(pipeline: Mapping[str, Any]) -> list[Problem]:
    """Settings that are valid and change nothing, worth a warning.

    Args:
        pipeline: a whole valid pipeline as plain dicts, defaults filled in.
    """
    data, schedule = pipeline["data"], pipeline["training"]["schedule"]
    found = []
    if data["mode"] != "slab" and data["slab_neighbours"] != 1:
        found.append(Problem("data.slab_neighbours", f"has no effect in mode {data['mode']}; it belongs to mode slab"))
    if data["foreground_share"] == 0 and data["class_shares"]:
        found.append(Problem("data.class_shares", "has no effect while data.foreground_share is 0"))
    if schedule["name"] != "poly" and schedule["power"] != 0.9:
        found.append(Problem("training.schedule.power", f"has no effect on {schedule['name']}; it belongs to poly"))
    flat = data["mode"] != "patch"
    augmentation = pipeline["augmentation"]
    if flat and "S" in ((augmentation["flip"] or {}).get("axes") or ()):
        found.append(Problem("augmentation.flip.axes", f"S has no effect in mode {data['mode']}"))
    if flat and augmentation["truncate"]:
        found.append(Problem("augmentation.truncate", f"has no effect in mode {data['mode']}; it belongs to patch"))
    if flat and "S" in pipeline["inference"]["flip_axes"]:
        found.append(Problem("inference.flip_axes", f"S has no effect in mode {data['mode']}"))
    inference = pipeline["inference"]
    if inference.get("scale_fusion") == "max" and len(inference.get("scales", ())) == 1:
        found.append(Problem("inference.scale_fusion", "max has no effect on one scale; add more to inference.scales"))
    crf = inference.get("crf") or {}
    if crf.get("smoothness_weight") == 0 and crf.get("appearance_weight") == 0:
        found.append(Problem("inference.crf", "has no effect while both weights are 0"))
    evaluation = _section(pipeline, "evaluation")
    if evaluation.get("tolerance_mm") and not evaluation.get("surface", True):
        found.append(Problem("evaluation.tolerance_mm", "has no effect while evaluation.surface is false"))
    if evaluation.get("min_overlap", 0.1) != 0.1 and not evaluation.get("lesions"):
        found.append(Problem("evaluation.min_overlap", "has no effect without evaluation.lesions"))
    return found


def _sizes(pipeline: Mapping[str, Any]) -> Iterator[Problem]:
    mode = _section(pipeline, "data").get("mode", "patch")
    axes = _DIMENSIONS.get(mode) if isinstance(mode, str) else None
    if axes is None:
        return
    for section, key in (("data", "patch_size"), ("inference", "window_size")):
        size = _section(pipeline, section).get(key)
        if isinstance(size, list) and len(size) in (2, 3) and len(size) != axes:
            yield Problem(f"{section}.{key}", f"expected {axes} numbers in mode {mode}, found {len(size)}")


def _class_names(pipeline: Mapping[str, Any], schema: type) -> Iterator[Problem]:
    try:
        names = parse_labels(_section(pipeline, "labels")).names
    except ValueError:
        return  # reported with the labels themselves
    for path, used, mark in class_names(schema, pipeline):
        for name in used:
            if name not in names and name not in mark.also:
                expected = listed([*names, *mark.also])
                near = did_you_mean(name, names)
                yield Problem(dotted(path), f"expected a class of labels ({expected}), found {name!r}{near}")


def _section(mapping: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    section = mapping.get(key)
    return section if isinstance(section, dict) else {}
