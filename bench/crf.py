"""The fully connected CRF: seconds for a slice and a volume, and how far the bilateral grid is from all pairs.

    python bench/crf.py
    python bench/crf.py --device cuda

The images are noisy ellipses with soft, noisy logits: informative unaries, as a trained network gives them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from medseg.inference.crf import PRESETS, mean_field


def phantom(shape: Sequence[int], device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of three classes, an image in [0, 1] and the truth: an ellipse in an ellipse."""
    generator = torch.Generator().manual_seed(0)
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in shape), indexing="ij")
    label = torch.zeros(tuple(shape), dtype=torch.long)
    label[sum(a.square() for a in axes) < 0.5] = 1
    label[sum((a - 0.2).square() for a in axes) < 0.06] = 2
    image = torch.tensor([0.35, 0.55, 0.48])[label] + 0.03 * torch.randn(label.shape, generator=generator)
    scores = 2.0 * torch.nn.functional.one_hot(label).movedim(-1, 0)
    logits = scores + torch.randn(scores.shape, generator=generator)
    return logits.to(device), image.clamp(0, 1).to(device), label.to(device)


def errors(device: str) -> None:
    print("| grid against all pairs | preset | iterations | mean abs dQ | same class % |\n|---|---|---|---|---|")
    for shape, spacing_mm in (((64, 64), (0.8, 0.8)), ((64, 64), (5.0, 5.0)), ((16, 16, 12), (4.0, 4.0, 8.0))):
        logits, image, _ = phantom(shape, device)
        for name, preset in PRESETS.items():
            for iterations in (1, 10):
                settings = replace(preset, iterations=iterations)
                grid, pairs = (
                    mean_field(logits, image, spacing_mm, settings, exact=exact).softmax(0) for exact in (False, True)
                )
                error = (grid - pairs).abs().mean().item()
                same = 100.0 * (grid.argmax(0) == pairs.argmax(0)).float().mean().item()
                where = f"{'x'.join(map(str, shape))} at {spacing_mm[0]} mm"
                print(f"| {where} | {name} | {iterations} | {error:.5f} | {same:.2f} |", flush=True)


def seconds(device: str) -> None:
    print("\n| 10 iterations, 3 classes | preset | wall s | CPU s | right before % | after % |")
    print("|---|---|---|---|---|---|")
    for shape, spacing_mm in (((512, 512), (0.75, 0.75)), ((96, 96, 64), (3.0, 3.0, 4.0))):
        logits, image, label = phantom(shape, device)
        mean_field(logits[:, :8], image[:8], spacing_mm, exact=False)  # warm up
        for name, settings in PRESETS.items():
            wall, cpu = time.perf_counter(), time.process_time()
            after = mean_field(logits, image, spacing_mm, settings).argmax(0).cpu()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            right = [100.0 * (a == label.cpu()).float().mean().item() for a in (logits.argmax(0).cpu(), after)]
            cells = ("x".join(map(str, shape)), name, f"{wall:.2f}", f"{cpu:.2f}", *(f"{r:.1f}" for r in right))
            print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    device = parser.parse_args().device
    print(f"{torch.get_num_threads()} threads, {device}\n")
    errors(device)
    seconds(device)
