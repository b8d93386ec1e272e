"""Hundreds of bad studies in one batch: each fails with its reason or keeps its grid, the good ones are as ever."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest
from dicom_faults import DICOM_AFFINE, DICOM_FAULTS, good_slices, write_slices
from fault import Fault
from itk_faults import ITK_FAULTS, mha, nrrd
from nifti_faults import AFFINE, NIFTI_FAULTS, SHAPE, good, packed

FAULTS = [*NIFTI_FAULTS, *DICOM_FAULTS, *ITK_FAULTS]

MOST_MIB = 400
"""Resident memory that bad studies may cost beyond good ones."""

HANG_S = 300
"""The whole campaign takes a tenth of this; a study that never ends stops it here."""


@dataclass(frozen=True)
class Campaign:
    """A finished campaign: its folder, faults, where each lies, and what the process left."""

    folder: Path
    faults: dict[str, Fault]
    places: dict[str, Path]
    good: tuple[str, ...]
    outcomes: dict[str, dict[str, str]]
    seen: dict[str, float]
    log: list[str]


def run_campaign(model: Path, folder: Path, faults: Sequence[Fault]) -> Campaign:
    """Make the studies, six good ones among them, segment them in a process of their own, and gather what it left."""
    good_places = _good_studies(folder)
    good_ids = tuple(good_places)
    places = {fault.study_id: fault.make(folder) for fault in faults}
    rows = list(places.items())
    step = len(rows) // len(good_ids) + 1
    for n, study_id in enumerate(good_ids):
        rows.insert(n * step + 1, (study_id, good_places[study_id]))
    _write_manifest(folder / "good.csv", folder, [row for row in rows if row[0] in good_ids])
    _write_manifest(folder / "all.csv", folder, rows)
    ended = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("campaign.py")), str(model), str(folder)],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    lines = [json.loads(line) for line in (folder / "mixed" / "segment.jsonl").read_text().splitlines()]
    assert [line["study_id"] for line in lines] == [study_id for study_id, _ in rows]
    return Campaign(
        folder,
        {fault.study_id: fault for fault in faults},
        places,
        good_ids,
        {line["study_id"]: line for line in lines},
        json.loads((folder / "seen.json").read_text()),
        ended.stderr.partition("-- mixed\n")[2].splitlines(),
    )


def _good_studies(folder: Path) -> dict[str, Path]:
    files = {"good-nifti.nii.gz": packed(good(0)), "good-other.nii.gz": packed(good(1)), "good-plain.nii": good(2)}
    files |= {"good-nrrd.nrrd": nrrd(packed=True), "good-meta.mha": mha()}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    places = {name.split(".")[0]: folder / name for name in files}
    return places | {"good-dicom": write_slices(folder / "good-dicom", good_slices(3))}


def _write_manifest(path: Path, root: Path, rows: Sequence[tuple[str, Path]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("study_id", "subject_id", "fold", "image", "label"))
        writer.writerows((study_id, "", "", image.relative_to(root), "") for study_id, image in rows)


@pytest.fixture(scope="module")
def campaign(model, tmp_path_factory) -> Campaign:
    return run_campaign(model, tmp_path_factory.mktemp("campaign"), FAULTS)


def test_there_are_enough_faults():
    assert len(NIFTI_FAULTS) >= 200
    assert len(DICOM_FAULTS) >= 100
    assert len(ITK_FAULTS) >= 60
    assert len({fault.study_id for fault in FAULTS}) == len(FAULTS)


def test_every_fault_ends_as_its_kind_allows(campaign):
    wrong = {
        study_id: (campaign.outcomes[study_id]["status"], campaign.outcomes[study_id]["reason"])
        for study_id, fault in campaign.faults.items()
        if campaign.outcomes[study_id]["status"] not in fault.allowed
    }
    assert wrong == {}


def test_every_reason_is_one_line_of_words(campaign):
    reasons = [campaign.outcomes[i]["reason"] for i in campaign.faults if campaign.outcomes[i]["status"] == "failed"]
    assert [r for r in reasons if not 15 < len(r) <= 600 or not r.isprintable()] == []
    bare = re.compile(r"^(\w*(Error|Exception|Interrupt))\b")  # a builtin's name shows that nobody foresaw this
    assert [r for r in reasons if bare.match(r)] == []


def test_log_has_one_line_a_failure_that_names_its_study(campaign):
    failed = [i for i, outcome in campaign.outcomes.items() if outcome["status"] == "failed"]
    text = "\n".join(campaign.log)  # a library's own words may stand before or behind ours on one line
    assert text.count("ERROR: ") == len(failed)
    assert [i for i in failed if text.count(f"ERROR: {i}: {campaign.outcomes[i]['reason']}") != 1] == []
    assert not any("Traceback" in line or "nibabel" in line for line in campaign.log)


def test_exit_codes_tell_whether_a_study_failed(campaign):
    assert (campaign.seen["alone"], campaign.seen["mixed"]) == (0, 1)


def test_good_studies_come_out_as_without_bad_ones(campaign):
    for study_id in campaign.good:
        assert campaign.outcomes[study_id]["status"] == "ok"
        alone, mixed = (campaign.folder / run / f"{study_id}.nii.gz" for run in ("alone", "mixed"))
        assert alone.read_bytes() == mixed.read_bytes()


def test_failures_leave_nothing_and_the_others_a_segmentation_on_their_own_grid(campaign):
    ok = {i for i, outcome in campaign.outcomes.items() if outcome["status"] == "ok"}
    left = {path.name for path in (campaign.folder / "mixed").iterdir()}
    assert left == {"segment.jsonl", *(f"{i}{suffix}" for i in ok for suffix in (".nii.gz", ".json"))}
    for study_id in ok - set(campaign.good):
        result = nibabel.load(campaign.folder / "mixed" / f"{study_id}.nii.gz")
        if campaign.faults[study_id] in NIFTI_FAULTS:
            source = _header(campaign.places[study_id])
            assert result.shape == source.get_data_shape(), study_id
            np.testing.assert_array_equal(result.affine, source.get_best_affine(), study_id)
        assert int(np.prod(result.shape)) == int(np.prod(SHAPE)), study_id  # as many voxels as the good file holds
        assert set(np.unique(np.asarray(result.dataobj))) <= {0, 1, 2}


def test_harmless_oddities_keep_the_good_grid(campaign):
    for study_id, fault in campaign.faults.items():
        if "failed" not in fault.allowed:
            result = nibabel.load(campaign.folder / "mixed" / f"{study_id}.nii.gz")
            assert result.shape == SHAPE
            np.testing.assert_allclose(result.affine, DICOM_AFFINE if fault in DICOM_FAULTS else AFFINE, atol=1e-6)


def test_memory_stays_bounded(campaign):
    assert campaign.seen["more_mib"] < MOST_MIB


def _header(path: Path):
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = zlib.decompressobj(31).decompress(content, 1000)
    kind = nibabel.Nifti2Header if content[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else nibabel.Nifti1Header
    return kind(content[: kind.sizeof_hdr], check=False)
