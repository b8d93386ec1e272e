"""What no single section of a pipeline can know: whether the sections fit each other.

These functions take the merged YAML as plain dicts, not the typed config, so that their findings stand in the same
report as the mistakes that keep the typed config from being built. Values of a wrong type are passed over: the schema
reports those.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from medseg.config.problems import Problem
from medseg.study.label_map import NOT_CLASSES, parse_labels
from medseg.words import did_you_mean, listed

_DIMENSIONS = {"slice": 2, "slab": 2, "patch": 3}


def disagreements(pipeline: Mapping[str, Any]) -> list[Problem]:
    """Settings that contradict each other.

    Args:
        pipeline: a whole pipeline as plain dicts; sections may be missing or wrong.

    Returns:
        One problem each for a size with the wrong number of axes and for a class that ``labels`` does not name.
    """
    return [*_sizes(pipeline), *_class_names(pipeline)]


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


def _class_names(pipeline: Mapping[str, Any]) -> Iterator[Problem]:
    try:
        names = parse_labels(_section(pipeline, "labels")).names
    except ValueError:
        return  # reported with the labels themselves
    for key, used, also in _uses_of_classes(pipeline):
        for name in used:
            if name not in names and name not in also:
                expected = listed([*names, *also])
                yield Problem(
                    key, f"expected a class of labels ({expected}), found {name!r}{did_you_mean(name, names)}"
                )


def _uses_of_classes(pipeline: Mapping[str, Any]) -> Iterator[tuple[str, list[str], tuple[str, ...]]]:
    """Every place that names classes: its key, the names, and the words that are allowed besides."""
    data = _section(pipeline, "data")
    yield "data.class_shares", list(_section(data, "class_shares")), ()
    for name in _section(data, "label_maps"):
        yield f"data.label_maps.{name}", list(_section(_section(data, "label_maps"), name)), NOT_CLASSES
    after = _section(_section(pipeline, "inference"), "postprocess")
    for key in ("thresholds", "inside", "keep_largest", "fill_holes", "minimum_ml"):
        yield f"inference.postprocess.{key}", _texts(after.get(key)), ()
    for name in (inside := _section(after, "inside")):
        yield f"inference.postprocess.inside.{name}.of", _texts(_section(inside, name).get("of")), ()
    for key in ("tolerance_mm", "lesions"):
        yield f"evaluation.{key}", _texts(_section(pipeline, "evaluation").get(key)), ()
    loss = _section(pipeline, "training").get("loss")
    for index, term in enumerate(loss if isinstance(loss, list) else []):
        weights = _section(term, "class_weights") if isinstance(term, dict) else {}
        yield f"training.loss.{index}.class_weights", list(weights), ("background",)


def _texts(found: Any) -> list[str]:
    """The names in a list, or the keys of a mapping."""
    return [name for name in found if isinstance(name, str)] if isinstance(found, list | dict) else []


def _section(mapping: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    section = mapping.get(key)
    return section if isinstance(section, dict) else {}
