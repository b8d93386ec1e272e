"""The terms of a loss as a pipeline's settings, each of which builds its own module; nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from medseg.model.classes import Classes
from medseg.settings import NAMES_CHANNELS, NotNegative, Positive, settings
from medseg.types import BACKGROUND
from medseg.words import listed

if TYPE_CHECKING:
    from torch import nn

ClassVoxels = Mapping[int, int]
"""Class index -> voxels of the training studies; a class that is absent has none."""


@settings
class Dice:
    """1 - 2 sum(y p) / (sum y^2 + sum p^2), per class, averaged over classes (and samples).

    y is the one-hot label and p the softmax probability (Milletari et al. 2016, arXiv:1606.04797). A class that a crop
    lacks gives 1 - e / (sum p^2 + e) with e = 1e-7: about 1, hardly any gradient, until every p is almost 0.
    """

    name: Literal["dice"] = "dice"
    weight: Positive = 1.0
    include_background: bool = False
    """Count class 0 as a class of the average."""
    batch: bool = False
    """Sum over the whole batch before the division instead of over each sample."""

    def build(self, classes: Classes, class_voxels: ClassVoxels) -> nn.Module:
        """The term's module.

        Raises:
            ValueError: no foreground class to average over.
        """
        from medseg.losses.modules import DiceLoss

        if not classes.names:
            raise ValueError("dice: expected background and at least one class, found background alone")
        return DiceLoss(classes, include_background=self.include_background, batch=self.batch)


@settings
class CrossEntropy:
    """Pixel cross-entropy, weighted by class on request: sum(w[y] * -log p[y]) / sum(w[y]) over the voxels that count.

    Voxels of classes with weight 0 count like ignored ones.
    """

    name: Literal["cross_entropy"] = "cross_entropy"
    weight: Positive = 1.0
    class_weights: Annotated[Literal["balanced"] | dict[str, NotNegative] | None, NAMES_CHANNELS] = None
    """`balanced`: inverse to each class's share of the training voxels; or a weight a class (background too)."""

    def build(self, classes: Classes, class_voxels: ClassVoxels) -> nn.Module:
        """The term's module.

        Raises:
            ValueError: a weight of no class, or balanced weights of no voxel at all.
        """
        from medseg.losses.modules import CrossEntropyLoss

        if self.class_weights == "balanced":
            counts = [class_voxels.get(c, 0) for c in range(classes.num_channels)]
            return CrossEntropyLoss(balanced_weights(counts).tolist())
        own, channels = self.class_weights or {}, (BACKGROUND, *classes.names)
        if unknown := sorted(own.keys() - set(channels)):
            raise ValueError(f"cross_entropy: expected weights of {listed(channels)}, found one of {unknown[0]!r}")
        return CrossEntropyLoss([own.get(name, 1.0) for name in channels])


@settings
class BootstrappedCrossEntropy:
    """Pixel cross-entropy of the worst voxels of each patch alone: the mean of -log p[y] over those that are kept.

    Online bootstrapping (Wu et al. 2016, arXiv:1605.06885; FRRN, Pohlen et al. 2017, arXiv:1611.08323), also called
    online hard example mining. FRRN keeps 32,768 pixels of each image, whatever its size; a share suits any patch.
    """

    name: Literal["bootstrapped_cross_entropy"] = "bootstrapped_cross_entropy"
    weight: Positive = 1.0
    share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.0625
    """Share of a patch's voxels that is kept, worst first (rounded, and at least one); 1 is plain cross-entropy."""
    threshold: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Keep beside those every voxel whose true class has a lower probability; null keeps no more."""

    def build(self, classes: Classes, class_voxels: ClassVoxels) -> nn.Module:
        """The term's module."""
        from medseg.losses.modules import BootstrappedCrossEntropyLoss

        return BootstrappedCrossEntropyLoss(self.share, self.threshold)


LossTerm = Annotated[Dice | CrossEntropy | BootstrappedCrossEntropy, Field(discriminator="name")]
"""Every term there is; a pipeline chooses by the name."""


def balanced_weights(voxel_counts: ArrayLike) -> NDArray[np.float64]:
    """Class weights inverse to each class's share of the voxels, scaled to a mean of 1 over the classes that occur.

    Args:
        voxel_counts: (num_classes,) voxels of the training set, background first. A class without voxels gets 0: it has
            no target to weigh, and any other number would push the other weights about.

    Raises:
        ValueError: negative counts, or no voxel at all.
    """
    counts = np.asarray(voxel_counts, dtype=np.float64)
    present = counts > 0
    if counts.ndim != 1 or (counts < 0).any() or not present.any():
        raise ValueError(f"expected voxel counts >= 0, one a class and not all 0, found {counts.tolist()}")
    weights = np.zeros_like(counts)
    weights[present] = 1.0 / counts[present]
    return np.asarray(weights / weights[present].mean())
