import pytest
import torch

from medseg.inference.slab import Slab


def released(slab, first):
    blocks = list(slab.release(first))
    return [at for at, _ in blocks], torch.cat([block for _, block in blocks])


def test_scores_are_averaged_by_weight_and_what_nothing_covers_is_blank():
    slab = Slab((3, 1), 2, torch.tensor([1.0, 3.0]).view(2, 1, 1).expand(2, 1, 2), torch.tensor([9.0]))
    slab.add(torch.full((1, 2, 1, 2), 4.0), (0, 0, 0))
    slab.add(torch.full((1, 2, 1, 2), 8.0), (1, 0, 0))
    at, scores = released(slab, 2)
    assert at == [0]
    assert scores.shape == (2, 1, 3, 1)
    # the middle voxel has weight 3 of the first window and weight 1 of the second
    assert scores[0, 0, :, 0].tolist() == [4.0, 5.0, 8.0]
    empty = Slab((1, 1), 1, torch.ones(1, 1, 1), torch.tensor([9.0, 2.0]))
    assert released(empty, 1)[1].flatten().tolist() == [9.0, 2.0]


def test_slices_move_on_and_those_left_out_are_blank():
    slab = Slab((1, 1), 4, torch.ones(1, 1, 4), torch.tensor([-1.0]))
    slab.add(torch.arange(4.0).view(1, 1, 1, 4), (0, 0, 0))
    assert released(slab, 3)[1].flatten().tolist() == [0, 1, 2]
    slab.add(torch.full((1, 1, 1, 4), 5.0), (0, 0, 3))
    at, scores = released(slab, 20)
    assert at == [3, 11, 19]
    assert scores.flatten().tolist() == [4.0, 5.0, 5.0, 5.0] + [-1.0] * 13


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_moved_to_the_cpu_it_goes_on(dtype):
    slab = Slab((1, 1), 2, torch.ones(1, 1, 2), torch.tensor([0.0]), dtype)
    slab.add(torch.ones(1, 1, 1, 2), (0, 0, 0))
    slab.move_to_cpu()
    slab.add(torch.full((1, 1, 1, 2), 2.0), (0, 0, 0))
    assert slab.on_cpu
    assert released(slab, 2)[1].flatten().tolist() == [1.5, 1.5]
