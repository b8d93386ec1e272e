"""From the files of a run, or of two folders, to pictures and the report page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.runs.run import Run
from medseg.runs.studies import segmentation_map
from medseg.study.inputs import read_input
from medseg.study.load import load_study, read_label
from medseg.types import LabelMap, Study, StudyInput, Volume

if TYPE_CHECKING:
    from medseg.evaluation.results import Evaluation

Load = Callable[[str], tuple[Volume, Volume | None, Volume]]
"""study_id -> image, reference (None where there is none) and segmentation, on one grid."""

CT_RANGE_HU = (-160.0, 240.0)
"""The window of pictures where no pipeline says another: soft tissue."""


def loader(run: Run, studies: Sequence[Study], segmentation_of: Callable[[str], Path]) -> Load:
    """How the studies of a run are read.

    Args:
        run: the run.
        studies: those that may be asked for.
        segmentation_of: study_id -> its segmentation.
    """
    by_id = {study.study_id: study for study in studies}

    def load(study_id: str) -> tuple[Volume, Volume | None, Volume]:
        loaded = load_study(by_id[study_id], run.label_map_of)
        return loaded.image, loaded.label, read_label(segmentation_of(study_id), run.segmentation_map, study_id)

    return load


def draw_run(run: Run, studies: Sequence[Study], evaluation: Evaluation) -> dict[str, Path]:
    """Draw the best, the median and the worst study of a run; see ``reports.pictures``."""
    from medseg.reports.pictures import draw_pictures

    return draw_pictures(
        evaluation,
        loader(run, studies, run.folder.segmentation),
        run.spec.classes.names,
        intensity_range_hu=run.spec.preprocessing.intensity_range_hu,
        folder=run.folder.overlays,
    )


def write_run_report(
    run: Run,
    studies: Sequence[Study],
    evaluation: Evaluation,
    split: str,
    segmentation_of: Callable[[str], Path] | None = None,
) -> list[Path]:
    """Write a run's report page.

    Args:
        run: the run.
        studies: those of the split.
        evaluation: their scores.
        split: said at the top.
        segmentation_of: study_id -> its segmentation; the run's own by default.

    Returns:
        The page, and the studies' own pages where there are too many for one.
    """
    from medseg.reports.page import ReportStudy, write_report

    load = loader(run, studies, segmentation_of or run.folder.segmentation)
    facts = {
        "network": run.spec.network,
        "mode": run.spec.view.mode,
        "split": split,
        "fold": str(run.config.data.fold),
        "studies": str(len(evaluation.scores)),
        "run": run.folder.run_id,
    }
    return write_report(
        run.folder.report,
        evaluation,
        [ReportStudy(study.study_id, partial(load, study.study_id)) for study in studies],
        title=f"{run.config.name}: {split} studies",
        facts=facts,
        class_names=run.spec.classes.names,
        intensity_range_hu=run.spec.preprocessing.intensity_range_hu,
    )


def write_folders_report(
    path: Path,
    evaluation: Evaluation,
    reference: Path,
    segmentation: Path,
    labels: LabelMap,
    segmentation_labels: LabelMap | None = None,
    images: Path | None = None,
    *,
    root: Path | None = None,
    segmentation_root: Path | None = None,
) -> list[Path]:
    """Write the report page of two folders that were scored.

    Args:
        path: the HTML file.
        evaluation: what ``evaluate_folders`` gave for them.
        reference: folder of label files, or a manifest.
        segmentation: the same.
        labels: how the reference's values become classes.
        segmentation_labels: how the segmentation's do; None if the values are the same.
        images: the CTs (files or DICOM series), named as the references are; None gives a page without pictures.
        root: folder that a reference manifest's paths are relative to.
        segmentation_root: the same for the segmentations.

    Raises:
        ManifestError: no image has the name of a reference.
    """
    from medseg.evaluation.pairing import pair_folders, pair_images
    from medseg.reports.page import ReportStudy, write_report

    pairs = pair_folders(reference, segmentation, root=root, segmentation_root=segmentation_root).pairs
    image_of: dict[Path, StudyInput] = {}
    if images is not None:
        image_of = pair_images(reference, images, root=root)

    def load(study_id: str, label: Path, segmented: Path) -> tuple[Volume, Volume | None, Volume]:
        image = read_input(replace(image_of[label], study_id=study_id))
        segmented_map = segmentation_labels or labels
        reference = read_label(label, labels, study_id, image.grid)
        return image, reference, read_label(segmented, segmented_map, study_id, image.grid)

    return write_report(
        path,
        evaluation,
        [
            ReportStudy(one, partial(load, one, label, segmented))
            for one, label, segmented in pairs
            if label in image_of
        ],
        title=f"{segmentation.name} against {reference.name}",
        facts={"studies": str(len(evaluation.scores))},
        class_names=labels.names,
        intensity_range_hu=CT_RANGE_HU,
    )


def write_batch_report(
    path: Path, inputs: Sequence[StudyInput], failures: Mapping[str, str], output: Path, class_names: Sequence[str]
) -> list[Path]:
    """Write a page to look through what ``medseg segment`` made: every study in three planes, and what failed.

    Args:
        path: the HTML file.
        inputs: the studies of the batch.
        failures: study_id -> reason; these have no pictures.
        output: folder of their segmentations, whose values are the class indices.
        class_names: foreground names, class 1 first.
    """
    from medseg.evaluation.results import Evaluation, Failure
    from medseg.reports.page import ReportStudy, write_report

    own_map = segmentation_map(class_names)

    def load(study: StudyInput) -> tuple[Volume, Volume | None, Volume]:
        segmented = read_label(output / f"{study.study_id}.nii.gz", own_map, study.study_id)
        return read_input(study), None, segmented

    shown = [ReportStudy(one.study_id, partial(load, one)) for one in inputs if one.study_id not in failures]
    return write_report(
        path,
        Evaluation((), tuple(Failure(*failure) for failure in failures.items())),
        shown,
        title=f"{output.name}: segmentations",
        facts={"studies": str(len(shown)), "failed": str(len(failures))},
        class_names=class_names,
        intensity_range_hu=CT_RANGE_HU,
    )
