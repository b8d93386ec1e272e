"""What a network returns when it has more to train than its logits, and how scores come back to the image's size.

In eval mode every network returns the plain logits. In train mode a network with auxiliary outputs returns a
``TrainingOutput``, in which it declares what else is trained and with what weight; the training step adds the losses
without knowing the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from medseg.networks.layers.sizes import crop
from medseg.networks.layers.upsampling import resize


class Auxiliary(NamedTuple):
    """One more output to train.

    Attributes:
        name: ends the metric ``train/auxiliary/<name>``.
        logits: (B, num_classes, I, J[, K]) scores of voxels, trained with the pipeline's loss, or (B, num_classes)
            scores of the classes' presence in the patch, trained with binary cross-entropy.
        weight: factor of its loss.
        counted: (B, I, J[, K]) bool, the voxels that train it; None is all.
    """

    name: str
    logits: Tensor
    weight: float
    counted: Tensor | None = None


class TrainingOutput(NamedTuple):
    """Logits with auxiliary outputs, in train mode.

    Attributes:
        logits: (B, num_classes, I, J[, K]).
        auxiliary: what else is trained.
        counted: (B, I, J[, K]) bool, the voxels that train the logits; None is all.
    """

    logits: Tensor
    auxiliary: tuple[Auxiliary, ...]
    counted: Tensor | None = None


Output = Tensor | TrainingOutput
"""What a network's forward returns: plain logits in eval mode, either in train mode."""


def to_size(output: Output, padded: Sequence[int], size: Sequence[int]) -> Output:
    """Enlarge scores of coarse maps linearly to the padded image, then cut them to the image.

    Args:
        output: scores at any size; presence scores and masks are left alone.
        padded: spatial size that the network worked on.
        size: spatial size of the image, at the near end of ``padded``.
    """
    if isinstance(output, Tensor):
        return crop(resize(output, padded), size)
    auxiliary = tuple(
        a._replace(logits=crop(resize(a.logits, padded), size)) if a.logits.ndim > 2 else a for a in output.auxiliary
    )
    return TrainingOutput(crop(resize(output.logits, padded), size), auxiliary, output.counted)
