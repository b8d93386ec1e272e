"""Pictures of an evaluation as PNG: studies with their contours and errors, and the curves of a training run."""

from medseg.reports.figures.curves import training_curves
from medseg.reports.figures.error_map import error_map
from medseg.reports.figures.overlay import overlay
from medseg.reports.figures.slices import slices

__all__ = ["error_map", "overlay", "slices", "training_curves"]
