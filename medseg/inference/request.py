"""What is asked of a segmenter beside the label map; everything else is the model's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medseg.model.postprocess import PostProcessing

UncertaintyKind = Literal["none", "entropy", "disagreement"]
"""Of the mean probabilities; or how far the networks of an ensemble disagree: the entropy of their mean beyond the mean
of their entropies. Both in [0, 1], of the largest possible entropy."""


@dataclass(frozen=True)
class Request:
    """One way to ask; a segmenter answers each study's own.

    Attributes:
        probabilities: names of the classes whose probabilities are kept.
        uncertainty: see ``UncertaintyKind``.
        postprocess: in place of the model's own, thresholds included; None is the model's own.
    """

    probabilities: tuple[str, ...] = ()
    uncertainty: UncertaintyKind = "none"
    postprocess: PostProcessing | None = None

    @property
    def num_extras(self) -> int:
        """Maps that are made beside the label map."""
        return len(self.probabilities) + (self.uncertainty != "none")
