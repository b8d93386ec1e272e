"""Losses: Dice with squared denominators, pixel cross-entropy (weighted, or of the worst voxels), and sums of them.

``terms`` are settings that build themselves; their torch modules stand in ``modules``; ``weighted_sum`` adds them up.
To add a loss: write its term, with its module, and put it into ``terms.LossTerm``.

What holds for every term:

* logits (B, C, ...) of any float type, labels (B, ...) int64, 2D or 3D. Sums run in float32, under autocast too.
* Voxels labelled ``IGNORE_INDEX`` have no part in value or gradient; a batch of nothing else gives 0 with gradient 0.
"""
