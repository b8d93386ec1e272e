"""Which pictures are drawn, from how many loads."""

from pathlib import Path

import numpy as np

from medseg.evaluation.results import Evaluation
from medseg.evaluation.scores import StudyScores, score_arrays
from medseg.reports.pictures import KINDS, Loaded, draw_pictures
from medseg.types import Grid, Volume

GRID = Grid((8, 8, 4), np.diag([2.0, 2.0, 5.0, 1.0]))


def labels(found: int) -> np.ndarray:
    """A square of 16 voxels of which only the first ``found`` are labelled."""
    square = np.zeros(GRID.shape, np.uint8)
    square[1:5, 1:5, 1] = 1
    square.ravel()[np.flatnonzero(square)[found:]] = 0
    return square


FOUND = {"a": 16, "b": 8, "c": 4}


def scores(study_id: str) -> StudyScores:
    return score_arrays(study_id, labels(16), labels(FOUND[study_id]), ("liver",), GRID.affine)


class Loader:
    def __init__(self, *, references: bool = True) -> None:
        self.calls: list[str] = []
        self.references = references

    def __call__(self, study_id: str) -> Loaded:
        self.calls.append(study_id)
        reference = Volume(labels(16), GRID) if self.references else None
        return Volume(np.zeros(GRID.shape, np.int16), GRID), reference, Volume(labels(FOUND[study_id]), GRID)


def draw(load: Loader, folder: Path, evaluation: Evaluation, **options) -> dict[str, Path]:
    return draw_pictures(evaluation, load, ("liver",), intensity_range_hu=(-100, 240), folder=folder, **options)


def test_each_rank_is_drawn_in_every_way_and_loaded_once(tmp_path):
    load = Loader()
    drawn = draw(load, tmp_path, Evaluation(tuple(map(scores, FOUND))))
    ranks = {"best": "a", "median": "b", "worst": "c"}
    assert {k: v.name for k, v in drawn.items()} == {
        f"{kind}/{rank}": f"{kind}_{rank}_{study_id}.png" for kind in KINDS for rank, study_id in ranks.items()
    }
    assert sorted(load.calls) == ["a", "b", "c"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn.values())


def test_only_what_was_asked_for_and_what_has_a_reference_is_drawn(tmp_path):
    evaluation = Evaluation((scores("b"),))
    assert list(draw(Loader(), tmp_path, evaluation, kinds=("slices",))) == ["slices/best"]
    assert draw(Loader(references=False), tmp_path, evaluation) == {}
    assert draw(Loader(), tmp_path, Evaluation(())) == {}
