"""The PNGs of an evaluation: the best, the median and the worst study, each seen in three ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from medseg.evaluation.results import Evaluation
from medseg.reports.figures import error_map, overlay, slices
from medseg.reports.ranking import pick_best_median_worst
from medseg.types import Volume

Loaded = tuple[Volume, Volume | None, Volume]
"""Image, reference (None where there is none) and segmentation of one study, on one grid."""

KINDS: Mapping[str, Callable[..., None]] = MappingProxyType({"overlay": overlay, "slices": slices, "errors": error_map})
"""Three planes with the most errors; axial slices by their own Dice; missed and extra voxels of the whole volume."""


def draw_pictures(
    evaluation: Evaluation,
    load: Callable[[str], Loaded],
    class_names: Sequence[str],
    *,
    intensity_range_hu: tuple[float, float],
    folder: Path,
    kinds: Sequence[str] = tuple(KINDS),
) -> dict[str, Path]:
    """Draw the best, median and worst study by mean Dice; each is loaded once, one at a time.

    Args:
        evaluation: scored studies; without any nothing is drawn.
        load: study_id -> its volumes; a study without a reference is passed over.
        class_names: foreground names, class 1 first.
        intensity_range_hu: window of the pictures.
        folder: made if absent.
        kinds: which of ``KINDS``.

    Returns:
        "<kind>/<rank>", such as ``slices/worst``, -> PNG.

    Raises:
        StudyError: whatever ``load`` raises, or the volumes do not share a grid.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, Path] = {}
    for rank, study_id in pick_best_median_worst(evaluation.scores).items():
        image, reference, segmentation = load(study_id)
        if reference is None:
            continue
        for kind in kinds:
            path = folder / f"{kind}_{rank}_{study_id}.png"
            KINDS[kind](
                image,
                reference,
                segmentation,
                class_names,
                intensity_range_hu=intensity_range_hu,
                title=f"{rank}: {study_id}",
                path=path,
            )
            drawn[f"{kind}/{rank}"] = path
    return drawn
