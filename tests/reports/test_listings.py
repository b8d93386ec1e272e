"""Tables of networks and studies, as a terminal shows them."""

import json

import pytest
from rich.console import Console

from medseg.networks import NETWORKS
from medseg.networks.option_rows import OptionRow
from medseg.networks.published import Published
from medseg.networks.table import NetworkRow
from medseg.reports.listings import facts_table, network_document, network_page, network_table
from medseg.study.check import StudyFacts

PEER = Published("fcn", 1_000, "a release", {"variant": "8s", "rates": (1, 2)}, dims=3, num_classes=2)
OTHER = Published("fcn", 1_000, "a library", ours=1_010, why="a bias more")
ROW = NetworkRow(
    "fcn",
    "A Paper [of] Some Length",
    2015,
    (2, 3),
    ("vgg16", "resnet18"),
    134_489_066,
    1_234,
    "a note",
    "1411.4038",
    "vgg16",
    {"width": 0.5},
    (PEER, OTHER),
    (128, 128, 64),
    1_440_000_000,
    (99, 101, 64),
)


def printed(table, width=100):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table)
    return console.export_text()


def shown(table, width=200):
    """The table's lines, blanks joined."""
    return [" ".join(line.split()) for line in printed(table, width).splitlines() if line.strip()]


def test_network_row_without_a_patch():
    flat = NetworkRow("flat", "Another", 2020, (2,), ("a",), 0, None, "", encoder="a")
    _, head, _, *lines = shown(network_table([ROW, flat]))[:5]
    assert head == "network paper year dims encoder 2D, M 3D, M peers GMAC sees"
    assert lines[0] == "fcn A Paper [of] Some Length 2015 2/3 vgg16 +1 134.49 0.00 1 of 2 1.4 99x101x64"
    assert lines[1] == "flat Another 2020 2 a 0.00 - - - -"
    assert not any("GMAC" in line for line in shown(network_table([flat])))


def test_a_network_that_sees_everything_says_so():
    whole = NetworkRow("w", "", 2020, (2,), ("a",), 1, 1, "", patch_size=(8, 8), macs=1, receptive_field=(8, 8))
    assert shown(network_table([whole]))[3].endswith(" 0.0 whole")


def test_a_row_of_every_network_fits_100_columns_in_one_line():
    rows = [
        NetworkRow(name, info.paper, info.year, info.dims, info.encoders, 10**9, 10**9, info.note, info.arxiv)
        for name, info in NETWORKS.items()
    ]
    long = [
        NetworkRow(
            **{**row.__dict__, "encoder": "densenet121", "patch_size": (128,) * 3, "receptive_field": (101,) * 3}
        )
        for row in rows
    ]
    lines = printed(network_table(long)).splitlines()
    for name in NETWORKS:
        (line,) = (line for line in lines if line.startswith(f" {name} "))
        assert line.rstrip().endswith("101x101x101")


def test_the_page_of_a_network_has_exact_counts_peers_and_options():
    options = [OptionRow("rates", "list of whole number >= 1 | null", (1, 2), "of [all] branches.")]
    text = "\n".join(shown(network_page(ROW, options)))
    assert "paper A Paper [of] Some Length, 2015, arXiv 1411.4038" in text
    assert "parameters 2D 134,489,066" in text
    assert "counted with width: 0.5" in text
    assert "sees 99x101x64" in text
    assert "1,000 a release (3D, 3 channels, 2 classes, variant: 8s, rates: [1, 2])\n" in text
    assert "1,000 a library (2D, 3 channels, 21 classes) and ours 1,010: a bias more" in text
    assert "rates [1, 2] list of whole number >= 1 | null of [all] branches." in text


@pytest.mark.parametrize("options", [None, [OptionRow("v2", "true | false", False, "more.")]])
def test_the_document_is_plain_and_complete(options):
    document = json.loads(json.dumps(network_document(ROW, options)))
    assert document["parameters_2d"] == 134_489_066
    assert document["macs"] == 1_440_000_000
    assert document["reproduced"] is False
    assert [(p["count"], p["ours"], p["reproduced"]) for p in document["published"]] == [
        (1_000, 1_000, True),
        (1_000, 1_010, False),
    ]
    assert document.get("takes") == (
        None if options is None else [{"name": "v2", "takes": "true | false", "default": False, "meaning": "more."}]
    )


def test_study_row_shows_geometry_and_voxels_of_each_class_in_order():
    facts = [
        StudyFacts("s1", (512, 512, 119), (0.7421875, 0.7421875, 2.5), "LPS", {"tumour": 12, "liver": 1_000_000}),
        StudyFacts("s2", (4, 5, 6), (1.0, 1.0, 10.0), "RAS"),
    ]
    head, _, *lines = shown(facts_table(facts, ("liver", "tumour")))
    assert head == "study shape spacing mm axes liver voxels tumour voxels"
    assert lines == ["s1 512 x 512 x 119 0.742 x 0.742 x 2.5 LPS 1,000,000 12", "s2 4 x 5 x 6 1 x 1 x 10 RAS - -"]


def test_no_rows_leave_the_head():
    assert shown(network_table([]))[1].startswith("network paper year")
    assert shown(facts_table([], ()))[0] == "study shape spacing mm axes"
