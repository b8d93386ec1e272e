"""Reference and segmentation to scores: one row per study and label, on the study's native grid.

    pairing: pair_folders -> workers: score_jobs -> files: score_files -> scores: score_arrays
        -> results: Evaluation -> CSV, JSON; summary: summarise, overall -> reports

What is scored is in ``ScoringOptions``. The scores and their empty cases are those of ``metrics``. What could not be
scored is listed with its reason, beside what could.
"""

from medseg.evaluation.arguments import parse_label_argument, parse_tolerances
from medseg.evaluation.files import score_files
from medseg.evaluation.folders import evaluate_folders
from medseg.evaluation.lesions import LesionGroup, LesionSummary
from medseg.evaluation.options import EmptyAs, ScoringOptions
from medseg.evaluation.pairing import Pairing, pair_folders, pair_images
from medseg.evaluation.results import Evaluation, Failure, read_json
from medseg.evaluation.scores import LesionRow, Score, StudyScores, score_arrays
from medseg.evaluation.spread import Spread
from medseg.evaluation.summary import Overall, Summary, overall, summarise

__all__ = [
    "EmptyAs",
    "Evaluation",
    "Failure",
    "LesionGroup",
    "LesionRow",
    "LesionSummary",
    "Overall",
    "Pairing",
    "Score",
    "ScoringOptions",
    "Spread",
    "StudyScores",
    "Summary",
    "evaluate_folders",
    "overall",
    "pair_folders",
    "pair_images",
    "parse_label_argument",
    "parse_tolerances",
    "read_json",
    "score_arrays",
    "score_files",
    "summarise",
]
