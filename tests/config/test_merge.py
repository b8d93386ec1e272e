import logging

from medseg.config.merge import merge
from medseg.config.problems import Origin
from medseg.config.tree import parse_yaml


def tree(text, source="a.yaml", *, override=False):
    node, problems = parse_yaml(text, Origin(source, override=override))
    assert problems == []
    return node


def merged(lower, upper):
    return merge(tree(lower), tree(upper, "b.yaml")).plain


def test_mappings_merge_deeply_and_the_upper_wins():
    assert merged("a: {b: 1, c: 2}", "a: {c: 3, d: 4}") == {"a": {"b": 1, "c": 3, "d": 4}}


def test_lists_and_scalars_are_replaced():
    assert merged("a: [1, 2, 3]\nb: {c: 1}", "a: [4]\nb: none") == {"a": [4], "b": "none"}
    assert merged("b: none", "b: {c: 1}") == {"b": {"c": 1}}


def test_null_clears_what_lies_below():
    assert merged("a: {b: 1}", "a: null") == {"a": None}


def test_positions_reach_into_a_list():
    assert merged("a: [{n: x, w: 1}, {n: y}]", "a: {'0': {w: 5}}") == {"a": [{"n": "x", "w": 5}, {"n": "y"}]}


def test_neither_tree_is_changed():
    lower, upper = tree("a: {b: 1}"), tree("a: {c: 2}")
    merge(lower, upper)
    assert (lower.plain, upper.plain) == ({"a": {"b": 1}}, {"a": {"c": 2}})


def test_a_new_network_name_drops_the_old_options_and_says_so(caplog):
    lower = tree("network:\n  name: deeplab\n  output_stride: 16\n  encoder: resnet50\n")
    upper = tree("network: {name: segnet}", "override 1 (network.name=segnet)", override=True)
    with caplog.at_level(logging.INFO, logger="medseg"):
        assert merge(lower, upper).plain == {"network": {"name": "segnet"}}
    assert caplog.messages == [
        "override 1 (network.name=segnet): network is now 'segnet'; "
        "dropped the options of 'deeplab' (a.yaml:1): encoder, output_stride"
    ]


def test_a_new_optimizer_name_drops_the_old_options():
    lower = "training: {optimizer: {name: sgd, momentum: 0.9}, epochs: 3}"
    expected = {"training": {"optimizer": {"name": "adamw", "learning_rate": 1}, "epochs": 3}}
    assert merged(lower, "training: {optimizer: {name: adamw, learning_rate: 1}}") == expected


def test_the_same_name_keeps_the_options_and_so_does_no_name():
    for upper in ("network: {name: unet, b: 2}", "network: {b: 2}"):
        assert merged("network: {name: unet, a: 1}", upper)["network"] == {"name": "unet", "a": 1, "b": 2}


def test_a_new_pipeline_name_drops_nothing():
    assert merged("name: a\nruns_dir: r", "name: b") == {"name": "b", "runs_dir": "r"}


def test_a_section_stays_where_a_file_wrote_it():
    lower = tree("# 1\ntraining:\n  epochs: 3\n")
    over = tree("training: {seed: 1}", "override 1 (x)", override=True)
    section = merge(lower, over).value["training"]
    assert str(section.origin) == "a.yaml:2"
    assert str(section.value["seed"].origin) == "override 1 (x)"
