"""What the pictures and pages of a run, of two folders and of a batch are made of."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.config.schema import PipelineConfig
from medseg.errors import ManifestError
from medseg.evaluation.arguments import parse_label_argument
from medseg.evaluation.files import score_files
from medseg.evaluation.folders import evaluate_folders
from medseg.evaluation.results import Evaluation
from medseg.runs.reporting import draw_run, loader, write_batch_report, write_folders_report, write_run_report
from medseg.runs.run import Run
from medseg.study.nifti import read_image, read_labels
from medseg.types import Study, StudyInput

LABELS = parse_label_argument("liver=1,tumour=2")
Scored = tuple[Run, list[Study], Evaluation]


@pytest.fixture
def scored(tiny_config: Callable[..., PipelineConfig], begin: Callable[..., Run]) -> Scored:
    """Two phantoms, segmented without a mistake."""
    run = begin(tiny_config())
    run.folder.segmentations.mkdir()
    studies, scores = list(run.studies[:2]), []
    for study in studies:
        assert study.label is not None
        place = run.folder.segmentation(study.study_id)
        shutil.copy(study.label, place)
        scores.append(score_files(study.study_id, study.label, place, LABELS, LABELS))
    return run, studies, Evaluation(tuple(scores))


def test_a_study_is_read_as_it_was_scored(scored: Scored) -> None:
    run, studies, _ = scored
    image, reference, segmentation = loader(run, studies, run.folder.segmentation)("phantom_001")
    assert np.array_equal(image.voxels, read_image(studies[1].image).voxels)
    assert reference is not None
    assert np.array_equal(reference.voxels, segmentation.voxels)
    assert set(np.unique(reference.voxels)) == {0, 1, 2}


def test_a_study_without_label_has_no_reference(scored: Scored) -> None:
    run, studies, _ = scored
    bare = [Study(s.study_id, s.subject_id, s.fold, s.image) for s in studies]
    assert loader(run, bare, run.folder.segmentation)("phantom_000")[1] is None


def test_best_and_worst_study_are_drawn_in_three_ways(scored: Scored) -> None:
    run, studies, evaluation = scored
    drawn = draw_run(run, studies, evaluation)
    assert {key.split("/")[0] for key in drawn} == {"overlay", "slices", "errors"}
    assert all(
        path.parent == run.folder.overlays and path.read_bytes().startswith(b"\x89PNG") for path in drawn.values()
    )


def test_the_page_of_a_run_shows_its_studies_and_what_it_was(scored: Scored) -> None:
    run, studies, evaluation = scored
    (page,) = write_run_report(run, studies, evaluation, "test")
    text = page.read_text()
    assert page == run.folder.path / "report.html"
    assert all(word in text for word in ("phantom_000", "phantom_001", "tiny: test studies", run.folder.run_id, "unet"))
    assert "no pictures" not in text


def test_a_segmentation_that_is_gone_leaves_the_page(scored: Scored) -> None:
    run, studies, evaluation = scored
    run.folder.segmentation("phantom_001").unlink()
    (page,) = write_run_report(run, studies, evaluation, "test")
    assert "phantom_001.nii.gz" in page.read_text()  # the reason, where the pictures would be


class TestFolders:
    def test_images_are_found_by_the_references_names(self, scored: Scored, phantoms: Path, tmp_path: Path) -> None:
        run, _, _ = scored
        evaluation = evaluate_folders(phantoms / "labels", run.folder.segmentations, LABELS)
        places = (phantoms / "labels", run.folder.segmentations, LABELS, None)
        bare = write_folders_report(tmp_path / "bare.html", evaluation, *places)[0]
        full = write_folders_report(tmp_path / "full.html", evaluation, *places, phantoms / "images")[0]
        assert "phantom_000" in bare.read_text()
        assert full.stat().st_size > 2 * bare.stat().st_size - 50_000 > 0
        assert full.read_text().count("data:image") > bare.read_text().count("data:image")

    def test_images_of_other_names_are_an_error(self, scored: Scored, phantoms: Path, tmp_path: Path) -> None:
        run, _, _ = scored
        (tmp_path / "other").mkdir()
        shutil.copy(phantoms / "images" / "phantom_000.nii.gz", tmp_path / "other" / "else.nii.gz")
        with pytest.raises(ManifestError, match="expected files of the same name"):
            write_folders_report(
                tmp_path / "x.html",
                Evaluation(()),
                phantoms / "labels",
                run.folder.segmentations,
                LABELS,
                None,
                tmp_path / "other",
            )


def test_the_page_of_a_batch_shows_what_was_segmented_and_what_failed(scored: Scored, tmp_path: Path) -> None:
    run, studies, _ = scored
    inputs = [StudyInput(s.study_id, s.image) for s in studies]
    failed: dict[str, Any] = {"phantom_001": "cut short at byte 7"}
    (page,) = write_batch_report(
        tmp_path / "report.html", inputs, failed, run.folder.segmentations, ("liver", "tumour")
    )
    text = page.read_text()
    assert "cut short at byte 7" in text
    assert "phantom_000" in text
    assert read_labels(run.folder.segmentation("phantom_000"), LABELS).voxels.any()
