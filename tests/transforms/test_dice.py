"""The dice of one part of the augmentation."""

import numpy as np

from medseg.transforms.dice import drawn
from medseg.transforms.settings import Flip


def test_a_part_is_drawn_as_often_as_its_chance_says():
    rng = np.random.default_rng(0)
    flip = Flip(0.3)
    rolls = [drawn(flip, rng) for _ in range(2000)]
    assert 0.27 < rolls.count(flip) / 2000 < 0.33
    assert rolls.count(None) + rolls.count(flip) == 2000
    assert drawn(Flip(1.0), rng) == Flip(1.0)
    assert drawn(Flip(0.0), rng) is None


def test_a_part_that_is_off_takes_its_number_all_the_same():
    numbers = []
    for part in (None, Flip(0.0), Flip(1.0)):
        rng = np.random.default_rng(7)
        drawn(part, rng)
        numbers.append(rng.random())
    assert numbers[0] == numbers[1] == numbers[2]
