"""Tables of networks and studies, as a terminal shows them."""

from rich.console import Console

from medseg.networks.table import NetworkRow
from medseg.reports.listings import facts_table, network_table
from medseg.study.check import StudyFacts


def shown(table):
    """The table's lines, blanks joined."""
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table)
    return [" ".join(line.split()) for line in console.export_text().splitlines() if line.strip()]


def test_network_row_shows_dims_encoders_and_counts():
    rows = [
        NetworkRow("fcn", "a paper", 2015, (2, 3), ("vgg16",), 134_489_066, 1_234, "a note"),
        NetworkRow("flat", "a paper", 2020, (2,), ("a", "b"), 0, None, ""),
    ]
    head, _, *lines = shown(network_table(rows))
    assert head == "network year dims encoders parameters 2D parameters 3D"
    assert lines == ["fcn 2015 2D, 3D vgg16 134,489,066 1,234", "flat 2020 2D a, b 0 -"]


def test_study_row_shows_geometry_and_voxels_of_each_class_in_order():
    facts = [
        StudyFacts("s1", (512, 512, 119), (0.7421875, 0.7421875, 2.5), "LPS", {"tumour": 12, "liver": 1_000_000}),
        StudyFacts("s2", (4, 5, 6), (1.0, 1.0, 10.0), "RAS"),
    ]
    head, _, *lines = shown(facts_table(facts, ("liver", "tumour")))
    assert head == "study shape spacing mm axes liver voxels tumour voxels"
    assert lines == ["s1 512 x 512 x 119 0.742 x 0.742 x 2.5 LPS 1,000,000 12", "s2 4 x 5 x 6 1 x 1 x 10 RAS - -"]


def test_no_rows_leave_the_head():
    assert shown(network_table([]))[0].startswith("network year")
    assert shown(facts_table([], ()))[0] == "study shape spacing mm axes"
