import copy
import json
from collections.abc import Mapping
from dataclasses import field
from typing import Literal

import pytest
from pydantic import ValidationError

from medseg.config.explain import checked, explain
from medseg.config.problems import Origin
from medseg.config.schema import PipelineConfig
from medseg.config.tree import parse_yaml
from medseg.errors import ConfigError
from medseg.settings import Fraction, settings

VALID = {
    "name": "liver",
    "labels": {"liver": 1},
    "data": {"manifest": "m.csv", "patch_size": [32, 32, 32]},
    "network": {"name": "unet"},
}


def explained(key, value):
    """The problems of a valid pipeline in which one key has another value (... takes the key away)."""
    pipeline = copy.deepcopy(VALID)
    *sections, last = key.split(".")
    place = pipeline
    for section in sections:
        place = place.setdefault(section, {})
    if value is ...:
        del place[last]
    else:
        place[last] = value
    tree, _ = parse_yaml(json.dumps(pipeline).replace("Infinity", ".inf"), Origin("a.yaml"))
    with pytest.raises(ValidationError) as caught:
        PipelineConfig.model_validate_json(json.dumps(pipeline), strict=True)
    return [f"{problem.key}: {problem.message}" for problem in explain(caught.value, tree)]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("training.epohs", 3, "training.epohs: unknown key; did you mean 'epochs'?"),
        ("epochs", 3, "epochs: unknown key; did you mean 'training.epochs'?"),
        (
            "evaluation.zebra",
            3,
            "evaluation.zebra: unknown key; known here: empty_as, lesions, min_overlap, report, split, surface, "
            "tolerance_mm",
        ),
        ("training.epochs", "ten", "training.epochs: expected a whole number of at least 1, found 'ten'"),
        ("training.epochs", 1.5, "training.epochs: expected a whole number of at least 1, found 1.5"),
        ("training.epochs", True, "training.epochs: expected a whole number of at least 1, found true"),
        ("training.epochs", "10", "training.epochs: expected a whole number of at least 1, found '10'"),
        ("training.compile", 1, "training.compile: expected true or false, found 1"),
        (
            "data.mode",
            "slices",
            "data.mode: expected 'slice', 'slab' or 'patch', found 'slices'; did you mean 'slice'?",
        ),
        ("data.fold", "one", "data.fold: expected a whole number or 'all', found 'one'"),
        ("data.manifest", ..., "data.manifest: missing; expected a path"),
        ("data", ..., "data: missing; expected a mapping with manifest and patch_size"),
        ("data.patch_size", [32], "data.patch_size: expected a list of 2 or 3 whole numbers of at least 1, found [32]"),
        ("data.patch_size", [32, 0], "data.patch_size.1: expected a whole number of at least 1, found 0"),
        (
            "labels.liver",
            1.5,
            "labels.liver: expected a whole number, text, a list of whole numbers or texts or 'rest', found 1.5",
        ),
        ("labels.tumour", 1, "labels.tumour: value 1 already belongs to 'liver'"),
        ("labels", {}, "labels: expected at least one class such as 'liver: 1'"),
        (
            "data.label_maps",
            {"other": {"liver": 0}},
            "data.label_maps.other: liver: value 0 is background and cannot be a class",
        ),
        ("network", "segnet", "network: expected a mapping with name, found 'segnet'; write {name: segnet}"),
        ("training.optimizer", {}, "training.optimizer.name: missing; expected 'sgd' or 'adamw'"),
        (
            "training.optimizer.name",
            "sdg",
            "training.optimizer.name: expected 'sgd' or 'adamw', found 'sdg'; did you mean 'sgd'?",
        ),
        (
            "training.optimizer",
            {"name": "sgd", "lr": 1},
            "training.optimizer.lr: unknown key; known here: learning_rate, momentum, name, weight_decay",
        ),
        ("training.loss", ["dice"], "training.loss.0: expected a mapping with name, found 'dice'; write {name: dice}"),
        (
            "training.loss",
            [{"name": "dice"}, {"name": "focal"}],
            "training.loss.1.name: expected 'dice', 'cross_entropy' or 'bootstrapped_cross_entropy', found 'focal'",
        ),
        (
            "training.loss",
            [{"name": "cross_entropy", "class_weights": {"liver": -1}}],
            "training.loss.0.class_weights.liver: expected a number of at least 0, found -1",
        ),
        ("training.loss", [], "training.loss: expected a list of at least 1 mappings, found []"),
        ("inference", None, "inference: expected a mapping, found null; remove the key to take its defaults"),
        ("tracking", "non", "tracking: expected a mapping or 'none', found 'non'; did you mean 'none'?"),
        ("tracking.url", "x", "tracking.url: unknown key; did you mean 'uri'?"),
        (
            "tracking.uri",
            "postgresql://me:secret@host/db",
            "tracking.uri: expected a URI without a password; leave it out and set MLFLOW_TRACKING_URI instead",
        ),
        (
            "augmentation.noise.std",
            [1, 0],
            "augmentation.noise.std: the first number must not exceed the second: [1.0, 0.0]",
        ),
        ("augmentation.noise.std", [1], "augmentation.noise.std: expected a list of 2 numbers, found [1]"),
        ("training.max_minutes", float("inf"), "training.max_minutes: expected a number above 0 or null, found inf"),
    ],
)
def test_what_pydantic_finds_is_said_in_plain_words(key, value, message):
    assert explained(key, value) == [message]


def test_a_problem_stands_on_the_line_of_its_key_and_a_missing_one_on_its_section():
    text = "name: x\nlabels: {liver: 1}\nnetwork: {name: unet}\ndata:\n  mode: slab\n  fold: x\n"
    tree, _ = parse_yaml(text, Origin("a.yaml"))
    with pytest.raises(ValidationError) as caught:
        PipelineConfig.model_validate_json(json.dumps(tree.plain), strict=True)
    lines = {problem.key: str(problem.where) for problem in explain(caught.value, tree)}
    assert lines == {"data.manifest": "a.yaml:4", "data.patch_size": "a.yaml:4", "data.fold": "a.yaml:6"}


@settings
class Part:
    """A part."""

    share: Fraction = 0.5


@settings
class Whole:
    """A section that is no pipeline's."""

    kind: Literal["one", "two"] = "one"
    parts: Mapping[str, Part] = field(default_factory=dict)


def test_entries_written_elsewhere_become_settings():
    assert checked(Whole, {"kind": "two", "parts": {"a": {"share": 1}}}) == Whole("two", {"a": Part(1.0)})


def test_mistakes_in_them_are_said_as_those_of_a_pipeline():
    with pytest.raises(ConfigError) as caught:
        checked(Whole, {"kind": "tow", "parts": {"a": {"share": 2}, "b": {"shar": 0.1}, "c": 3}, "pars": {}})
    assert str(caught.value).splitlines() == [
        "kind: expected 'one' or 'two', found 'tow'; did you mean 'two'?",
        "parts.a.share: expected a number from 0 to 1, found 2",
        "parts.b.shar: unknown key; did you mean 'share'?",
        "parts.c: expected a mapping, found 3",
        "pars: unknown key; did you mean 'parts'?",
    ]
