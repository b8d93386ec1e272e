"""`networks` and `schema`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.ended import Medseg


def test_networks_lists_the_table(medseg: Medseg) -> None:
    ended = medseg("networks", "--num-classes", 3)
    assert ended.code == 0
    for name in ("fcn", "segnet", "deeplabv3plus", "unet"):
        assert re.search(rf"^\s*{name}\s", ended.out, re.M)


class TestNetworks:
    def test_one_network_as_json_with_its_options_and_the_costs_of_a_patch(self, medseg: Medseg) -> None:
        ended = medseg("networks", "--name", "segnet", "--small", "--json", "--patch", 32, 32, 16)
        row = json.loads(ended.out)
        assert (ended.code, row["name"], row["patch_size"]) == (0, "segnet", [32, 32, 16])
        assert row["macs"] > 0
        assert row["receptive_field"] == [32, 32, 16]
        assert {"name": "stages", "default": 5}.items() <= next(
            o for o in row["takes"] if o["name"] == "stages"
        ).items()

    def test_one_network_as_a_page(self, medseg: Medseg) -> None:
        ended = medseg("networks", "--name", "segnet", "--small")
        assert ended.code == 0
        assert re.search(r"^ *stages +5 ", ended.out, re.M)

    def test_all_as_json(self, medseg: Medseg) -> None:
        from medseg.networks import NETWORKS

        rows = json.loads(medseg("networks", "--small", "--json").out)
        assert [row["name"] for row in rows] == list(NETWORKS)
        assert all(row["macs"] is None for row in rows)

    @pytest.mark.parametrize("arguments", [("--patch",), ("--patch", 64), ("64", 64), ("--patch", 9, 9, 9, 9)])
    def test_a_patch_has_two_or_three_sizes(self, medseg: Medseg, arguments: tuple[object, ...]) -> None:
        ended = medseg("networks", *arguments)
        assert ended.code == 2
        assert "--patch: expected two or three sizes, as in --patch 128 128 64" in ended.err

    def test_an_unknown_name_is_a_message(self, medseg: Medseg) -> None:
        ended = medseg("networks", "--name", "segnett")
        assert ended.code == 2
        assert "did you mean 'segnet'?" in ended.err


def test_schema_writes_both_files(medseg: Medseg, tmp_path: Path) -> None:
    ended = medseg("schema", "--output", tmp_path)
    assert [Path(line).name for line in ended.out.split()] == ["pipeline.schema.json", "fragment.schema.json"]
    assert "training" in json.loads((tmp_path / "pipeline.schema.json").read_text())["properties"]
