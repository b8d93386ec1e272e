"""The peer of pipelines/sarcoma_ct.yaml: a plain 2D MONAI BasicUNet, trained for the same minutes on the same fold.

    python bench/sarcoma_baseline.py --minutes 25 --fold 0 --output baseline.json

Ordinary MONAI code from the file to the native grid: nothing of medseg takes part but the manifest's split and the
definition of Dice, so that both stand in one table. Defaults of MONAI's wherever nobody has a reason to differ.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.data import CacheDataset, DataLoader, Dataset, decollate_batch, pad_list_data_collate
from monai.inferers import SliceInferer
from monai.losses import DiceCELoss
from monai.networks.nets import BasicUNet
from monai.transforms import (
    Compose,
    DivisiblePadd,
    EnsureChannelFirstd,
    Invertd,
    LoadImaged,
    Orientationd,
    RandFlipd,
    ScaleIntensityRanged,
    Spacingd,
)
from monai.utils import set_determinism

from medseg.evaluation.options import ScoringOptions
from medseg.evaluation.scores import score_arrays
from medseg.files import atomic_path
from medseg.study.load import read_label
from medseg.study.manifest import read_manifest, split
from medseg.tracking.environment import environment
from medseg.types import LabelMap, Study

ROOT = Path(__file__).resolve().parents[1]
TUMOUR = LabelMap({"tumour": (1,)})
BATCH_SIZE = 16
LEARNING_RATE = 1e-3


def preprocessing(keys: Sequence[str]) -> Compose:
    """RAS, 2 mm in plane with the study's own slices (0 keeps an axis), window -160..240 HU, sides divisible by 16."""
    modes = ["bilinear" if key == "image" else "nearest" for key in keys]
    return Compose(
        [
            LoadImaged(keys),
            EnsureChannelFirstd(keys),
            Orientationd(keys, "RAS", labels=None),
            Spacingd(keys, pixdim=(2.0, 2.0, 0.0), mode=modes),
            ScaleIntensityRanged("image", -160, 240, 0, 1, clip=True),
            DivisiblePadd(keys, k=(16, 16, 1)),
        ]
    )


def slice_loader(studies: Sequence[Study]) -> DataLoader:
    """Every slice of the studies, held in memory, in random batches of 16 with random flips in plane."""
    files = [{"image": study.image, "label": study.label} for study in studies]
    volumes = CacheDataset(files, preprocessing(("image", "label")), num_workers=1, progress=False)
    slices = [
        {key: volume[key].as_tensor()[..., k].contiguous() for key in ("image", "label")}
        for volume in volumes
        for k in range(volume["image"].shape[-1])
    ]
    flips = Compose([RandFlipd(("image", "label"), prob=0.5, spatial_axis=axis) for axis in (0, 1)])
    # Studies differ in size: a batch is padded to its own largest slice, which stays divisible by 16.
    return DataLoader(
        Dataset(slices, flips), batch_size=BATCH_SIZE, shuffle=True, drop_last=True, collate_fn=pad_list_data_collate
    )


def train(loader: DataLoader, minutes: float, device: torch.device) -> tuple[torch.nn.Module, int, float]:
    """AdamW on Dice and cross-entropy until the minutes are over; also returns steps and seconds."""
    network = BasicUNet(spatial_dims=2, in_channels=1, out_channels=2).to(device).train()
    # Over the batch, because many single slices hold no tumour and have no Dice worth learning from.
    loss = DiceCELoss(to_onehot_y=True, softmax=True, batch=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
    started, step, losses = time.monotonic(), 0, []
    for batch in endless(loader):
        image, label = (batch[key].as_tensor().to(device) for key in ("image", "label"))
        optimizer.zero_grad()
        value = loss(network(image), label)
        value.backward()
        optimizer.step()
        step += 1
        losses.append(value.item())
        if step % 50 == 0:
            print(f"step {step}  loss {statistics.fmean(losses[-50:]):.4f}", flush=True)
        if time.monotonic() - started >= minutes * 60:
            break
    return network.eval(), step, time.monotonic() - started


def endless(loader: DataLoader) -> Iterator[dict[str, Any]]:
    """Epoch after epoch, each in a new order."""
    return itertools.chain.from_iterable(itertools.repeat(loader))


@torch.inference_mode()
def segment(network: torch.nn.Module, study: Study, device: torch.device) -> torch.Tensor:
    """Predict slice by slice, take the logits back to the file's own grid, and decide there: (I, J, K) uint8."""
    chain = preprocessing(("image",))
    batch = next(iter(DataLoader(Dataset([{"image": study.image}], chain), batch_size=1)))
    whole_slice = batch["image"].shape[2:4]
    infer = SliceInferer(spatial_dim=2, roi_size=whole_slice, sw_batch_size=BATCH_SIZE)
    batch["logits"] = infer(batch["image"].to(device), network)
    back = Invertd("logits", transform=chain, orig_keys="image", nearest_interp=False, device="cpu")
    logits: torch.Tensor = back(decollate_batch(batch)[0])["logits"]
    return logits.argmax(0).to(torch.uint8)


def dice(network: torch.nn.Module, study: Study, device: torch.device) -> float:
    """Native-grid Dice by medseg's definition."""
    assert study.label is not None
    reference = read_label(study.label, TUMOUR, study.study_id)
    found = segment(network, study, device).numpy()
    overlap = ScoringOptions(surface=False)
    return (
        score_arrays(study.study_id, reference.voxels, found, TUMOUR.names, reference.grid.affine, overlap).rows[0].dice
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, required=True, help="wall clock of training, reading apart")
    parser.add_argument("--fold", type=int, default=0)
    data = Path(os.environ.get("MEDSEG_DATA", ROOT.parent / "shared" / "data")) / "sarcoma"
    parser.add_argument("--data", type=Path, default=data, help="folder of the 24 studies")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="JSON to write")
    args = parser.parse_args()

    set_determinism(args.seed)
    device = torch.device(args.device)
    folds = split(read_manifest(ROOT / "data_manifests" / "sarcoma.csv", args.data), args.fold)
    network, steps, seconds = train(slice_loader(folds.train), args.minutes, device)
    scores = {study.study_id: dice(network, study, device) for study in folds.validation}
    mean = statistics.fmean(scores.values())
    facts = environment()
    result = {
        "network": "MONAI BasicUNet 2D, 2 mm in plane",
        "minutes": args.minutes,
        "fold": args.fold,
        "seed": args.seed,
        "device": args.device,
        "steps": steps,
        "training_s": round(seconds, 1),
        "steps_per_s": round(steps / seconds, 3),
        "dice": scores,
        "mean_dice": mean,
        "cores": torch.get_num_threads(),
        "torch": facts["torch"],
        "monai": facts["monai"],
    }
    print(f"\n{'study':<12}native-grid Dice")
    print("".join(f"{study_id:<12}{value:.3f}\n" for study_id, value in scores.items()) + f"{'mean':<12}{mean:.3f}")
    print(f"{steps} steps of {BATCH_SIZE} slices in {seconds:.0f} s")
    if args.output:
        with atomic_path(args.output) as path:
            path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
