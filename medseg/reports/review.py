"""What a reviewer sees in MLflow's charts: aggregates under stable names."""

from __future__ import annotations

import math

from medseg.evaluation.results import Evaluation
from medseg.evaluation.spread import Spread
from medseg.evaluation.summary import Summary, overall, summarise

_SURFACE = ("nsd", "hd_mm", "hd95_mm", "assd_mm")
_LESIONS = ("lesion_f1", "lesion_sensitivity", "lesion_precision", "lesion_dice")
_VOLUMES = ("volume_difference_ml", "absolute_volume_difference_ml", "relative_volume_difference", "ravd")


def aggregates(evaluation: Evaluation, split: str) -> dict[str, float]:
    """Metric name -> value, such as ``test/dice/liver``, ``test/dice_sd/liver``, ``test/miou_foreground``.

    Args:
        evaluation: scored studies and failures.
        split: train, validation or test; starts every name.

    Returns:
        Mean, sd and median over the studies of every score of each label (of Dice the mean's 95 % interval too, as
        ``_low`` and ``_high``), the overall scores, and how many studies count, lack the label on one side or both, or
        failed. Surfaces and lesions only for labels that were scored by them. NaN where nothing is defined.
    """
    metrics: dict[str, float] = {}
    for summary in summarise(evaluation.scores):
        for name, spread in _spreads(summary).items():
            metrics[f"{split}/{name}/{summary.label}"] = spread.mean
            metrics[f"{split}/{name}_sd/{summary.label}"] = spread.sd
            metrics[f"{split}/{name}_median/{summary.label}"] = spread.median
        metrics[f"{split}/dice_low/{summary.label}"] = summary.dice.low
        metrics[f"{split}/dice_high/{summary.label}"] = summary.dice.high
        empty = summary.n_empty_both + summary.n_empty_reference + summary.n_empty_segmentation
        metrics[f"{split}/empty_studies/{summary.label}"] = float(empty)
    whole = overall(evaluation.scores)
    metrics |= {f"{split}/{key}": getattr(whole, key) for key in ("accuracy", "miou", "miou_foreground", "fw_iou")}
    metrics[f"{split}/studies"] = float(len(evaluation.scores))
    metrics[f"{split}/failed_studies"] = float(len(evaluation.failures))
    return metrics


def _spreads(summary: Summary) -> dict[str, Spread]:
    """Metric name -> spread of what the label was scored by."""
    names = ["dice", "iou", "precision", "recall", "specificity", *_VOLUMES]
    if not math.isnan(summary.tolerance_mm):
        names += _SURFACE
    if summary.lesions is None:
        return {name: summary.spreads[name] for name in names}
    spreads = {name: summary.spreads[name] for name in (*names, *_LESIONS)}
    return spreads | {"false_positives_per_study": summary.spreads["false_positive_lesions"]}
