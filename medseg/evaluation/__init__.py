"""Reference and segmentation to scores: one row a study and label, on the study's native grid.

    folders: pair_folders -> scores: score_files -> results: Evaluation -> CSV, JSON
                                                    summary: summarise, overall -> reports

The scores and their empty cases are those of ``metrics.overlap``. What could not be scored is listed with its reason,
beside what could.
"""

from medseg.evaluation.folders import evaluate_folders, pair_folders, parse_label_argument
from medseg.evaluation.results import Evaluation, Failure, read_json
from medseg.evaluation.scores import Score, StudyScores, score_arrays, score_files
from medseg.evaluation.summary import Overall, Spread, Summary, overall, summarise

__all__ = [
    "Evaluation",
    "Failure",
    "Overall",
    "Score",
    "Spread",
    "StudyScores",
    "Summary",
    "evaluate_folders",
    "overall",
    "pair_folders",
    "parse_label_argument",
    "read_json",
    "score_arrays",
    "score_files",
    "summarise",
]
