"""Every kind of record comes back from the spool as it went in, under the names that older spools have."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.tracking.records import (
    KINDS,
    Dataset,
    End,
    File,
    Metrics,
    Model,
    Params,
    Picture,
    Record,
    Registration,
    Table,
    Tags,
    plain,
    read_record,
)

ALL: list[Record] = [
    Params({"training": {"epochs": 3}}),
    Metrics({"loss": 0.5}, 3),
    Tags({"site": "A"}),
    File(Path("report.html"), "pages"),
    Table([{"study_id": "a", "dice": 0.5}], "studies.json"),
    Picture(Path("overlay.png"), "overlay/best", 2),
    Dataset(Path("lits.csv"), "d" * 64, "train", 131),
    Model(Path("model")),
    Registration("liver", "champion"),
    End("KILLED", "interrupted"),
]


@pytest.mark.parametrize("record", ALL, ids=lambda record: type(record).__name__)
def test_a_record_comes_back_from_json(record: Record) -> None:
    line = json.loads(json.dumps(record.arguments(), default=str))
    assert read_record(record.call, line, Path) == record


def test_every_kind_is_tried_here_and_has_a_name_of_its_own() -> None:
    assert {type(record) for record in ALL} == set(KINDS.values())
    assert [*KINDS] == [
        "log_params",
        "log_metrics",
        "set_tags",
        "log_file",
        "log_table",
        "log_image",
        "log_dataset",
        "log_model",
        "register_model",
        "finish",
    ]


def test_what_json_does_not_know_is_made_plain() -> None:
    assert Metrics({"a": np.float32(0.5), "b": float("nan"), "c": float("inf")}, 1).arguments()["metrics"] == {"a": 0.5}
    rows = [{"dice": float("nan"), "n": np.int64(3), "where": Path("a/b")}]
    assert Table(rows, "t.json").arguments()["rows"] == [{"dice": None, "n": 3, "where": "a/b"}]
    found: list[Any] = [plain(value) for value in (None, True, 2, 0.5, "x", np.float64("inf"), Path("p"))]
    assert found == [None, True, 2, 0.5, "x", None, "p"]


def test_of_a_manifest_only_the_name_is_recorded() -> None:
    assert Dataset(Path("/secret/place/lits.csv"), "d", "train", 1).arguments()["manifest"] == "lits.csv"


def test_a_kind_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="a record 'log_video' that this version of medseg does not know"):
        read_record("log_video", {}, Path)
