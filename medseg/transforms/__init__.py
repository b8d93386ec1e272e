"""From a study's own grid to the network's and back, and what training does to the images in between.

``preprocessing`` is the one deterministic chain of training, validation and inference; ``restore`` is its inverse for
logits; ``spatial``, ``anatomy`` and ``intensity`` are the augmentations, in the order in which training applies them
and ``dice`` draws them; ``settings`` are those of all.
"""
