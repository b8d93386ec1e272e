import pytest

from medseg.networks import NETWORKS, network_options
from medseg.networks.published import PUBLISHED, Published, published
from medseg.networks.table import count_parameters


@pytest.mark.parametrize("entry", PUBLISHED, ids=lambda e: f"{e.name} {e.source}")
def test_we_count_what_the_entry_says(entry):
    found = count_parameters(entry.name, entry.dims, entry.in_channels, entry.num_classes, **entry.options)
    assert found == entry.counted


@pytest.mark.parametrize("entry", PUBLISHED, ids=lambda e: f"{e.name} {e.source}")
def test_a_number_of_ours_that_is_not_theirs_has_a_reason(entry):
    assert (entry.counted != entry.count) == bool(entry.why)
    assert entry.name in NETWORKS
    assert set(entry.options) <= set(network_options(entry.name))


@pytest.mark.parametrize(
    ("ours", "rounded_to", "expected"),
    [(None, 1, True), (1_000, 1, True), (1_001, 1, False), (1_049, 100, True), (1_050, 100, False), (950, 100, False)],
)
def test_rounded_numbers_are_compared_as_they_are_rounded(ours, rounded_to, expected):
    assert Published("fcn", 1_000, "a paper", ours=ours, rounded_to=rounded_to).reproduced is expected


def test_entries_are_found_by_network():
    assert [entry.source for entry in published("deconvnet")] == ["the authors' Caffe DeconvNet"]
    assert published("rgnet") == ()
