"""Our networks beside their peers with the same weights: the largest difference of their outputs, and its JSON.

    python bench/network_peers.py        # in an environment that also has torchvision and timm

Every peer gets random weights, random norm statistics included, which are then copied into our network by name, or in
order where the names differ. 0 or float noise is expected: inputs are float64, so noise is about 1e-12.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from medseg.networks import build_network  # noqa: E402
from medseg.networks.encoders import Backbone  # noqa: E402
from medseg.networks.layers.aspp import ImagePooling  # noqa: E402
from medseg.networks.layers.blocks import BATCH_NORM  # noqa: E402
from medseg.networks.layers.upsampling import resize  # noqa: E402

RESULTS = ROOT / "bench" / "results" / "network_peers.json"
NOISE = 1e-9

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Comparison:
    """A peer and our counterpart, each with the function that gives what is compared."""

    peer: str
    ours: Callable[[], nn.Module]
    theirs: Callable[[], nn.Module]
    our_output: Callable[[nn.Module], Function]
    their_output: Callable[[nn.Module], Function]
    size: tuple[int, ...]
    note: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args()
    rows = []
    for comparison in comparisons():
        try:
            rows.append(compared(comparison))
        except ValueError as error:
            rows.append({"peer": comparison.peer, "difference": float("inf"), "scale": 1.0, "note": str(error)})
    width = max(len(row["peer"]) for row in rows)
    for row in rows:
        print(f"{row['peer']:<{width}}  {row['difference']:9.2e} of {row['scale']:.2g}  {row['note']}")
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps({"versions": versions(), "networks": rows}, indent=1) + "\n")
    wrong = [row["peer"] for row in rows if row["difference"] > NOISE * row["scale"]]
    if wrong:
        print(f"not equal: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


def compared(comparison: Comparison) -> dict[str, Any]:
    torch.manual_seed(0)
    theirs, ours = comparison.theirs().double().eval(), comparison.ours().double().eval()
    randomise(theirs)
    how = copy(theirs, ours)
    x = torch.randn(2, *comparison.size, dtype=torch.float64)
    with torch.no_grad():
        expected = comparison.their_output(theirs)(x)
        found = comparison.our_output(ours)(x)
    if found.shape != expected.shape:
        raise ValueError(f"{comparison.peer}: expected {tuple(expected.shape)}, found {tuple(found.shape)}")
    note = f"{tuple(x.shape)}, weights by {how}" + (f"; {comparison.note}" if comparison.note else "")
    return {
        "peer": comparison.peer,
        "difference": (found - expected).abs().max().item(),
        "scale": expected.abs().max().item(),
        "note": note,
    }


def randomise(network: nn.Module) -> None:
    """Norm statistics as after training, and no layer at zero."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)


def copy(theirs: nn.Module, ours: nn.Module) -> str:
    """Copy the weights; the peer may have a classifier that we do not."""
    have, want = theirs.state_dict(), ours.state_dict()
    if set(want) <= set(have):
        ours.load_state_dict({key: have[key] for key in want})
        return "name"
    tensors = [v for k, v in have.items() if not k.endswith("num_batches_tracked")]
    keys = [k for k in want if not k.endswith("num_batches_tracked")]
    for key, tensor in zip(keys, tensors, strict=True):
        if want[key].shape != tensor.shape:
            raise ValueError(f"{key}: expected {tuple(want[key].shape)}, the peer has {tuple(tensor.shape)}")
        want[key] = tensor
    ours.load_state_dict(want)
    return "order"


def comparisons() -> list[Comparison]:
    return [*torchvision_encoders(), *timm_encoders(), *torchvision_networks(), *monai_encoders()]


def last_map(network: nn.Module) -> Function:
    return lambda x: network(x)[-1]


def features(network: nn.Module) -> Function:
    return network.features  # type: ignore[return-value]


def torchvision_encoders() -> list[Comparison]:
    from torchvision import models
    from torchvision.models._utils import IntermediateLayerGetter

    found = []
    for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"):
        found.append(
            Comparison(
                f"torchvision {name}",
                lambda name=name: Backbone(name, 32).build(2, 3),
                lambda name=name: getattr(models, name)(),
                last_map,
                lambda m: lambda x: IntermediateLayerGetter(m, {"layer4": "out"})(x)["out"],
                (3, 97, 129),
            )
        )
    dilated = {"replace_stride_with_dilation": [False, True, True]}
    found.append(
        Comparison(
            "torchvision resnet50, output stride 8",
            lambda: Backbone("resnet50", 8).build(2, 3),
            lambda: models.resnet50(**dilated),
            last_map,
            lambda m: lambda x: IntermediateLayerGetter(m, {"layer4": "out"})(x)["out"],
            (3, 97, 129),
        )
    )
    for name, ours in (("vgg16", "none"), ("vgg16_bn", "batch")):
        found.append(
            Comparison(
                f"torchvision {name}",
                lambda ours=ours: vgg(ours),
                lambda name=name: getattr(models, name)(),
                last_map,
                features,
                (3, 96, 128),
                "even sizes: our pools round up",
            )
        )
    for name in ("densenet121", "densenet161", "densenet169", "densenet201"):
        found.append(
            Comparison(
                f"torchvision {name}",
                lambda name=name: Backbone(name, 32).build(2, 3),
                lambda name=name: getattr(models, name)(),
                last_map,
                lambda m: lambda x: torch.relu(m.features(x)),
                (3, 96, 128),
                "even sizes: our pools round up",
            )
        )
    found.append(
        Comparison(
            "torchvision mobilenet_v2",
            lambda: Backbone("mobilenet_v2", 32).build(2, 3),
            models.mobilenet_v2,
            last_map,
            lambda m: m.features[:18],
            (3, 97, 129),
            "without the last 1x1",
        )
    )
    return found


def vgg(norm: str) -> nn.Module:
    from medseg.networks.encoders.vgg import VGG16

    return VGG16(2, 3, norm=norm)


def timm_encoders() -> list[Comparison]:
    import timm

    def of(name: str, ours: str, **options: Any) -> Comparison:
        return Comparison(
            f"timm {name}",
            lambda: Backbone(ours, 32, stem=options.get("stem")).build(2, 3),
            lambda: timm.create_model(name, num_classes=0),
            last_map,
            lambda m: m.forward_features,
            (3, 97, 129),
        )

    return [
        *(of(name, name) for name in ("xception41", "xception65", "xception71")),
        of("resnet50c", "resnet50", stem="c"),
        of("resnet50s", "resnet50", stem="s"),
    ]


def torchvision_networks() -> list[Comparison]:
    from torchvision.models import segmentation

    def of(peer: str, name: str, encoder: str, note: str = "") -> Comparison:
        return Comparison(
            f"torchvision {peer}",
            lambda: with_batch_norm(build_network(name, 2, 3, 21, encoder=encoder, auxiliary=False)),
            lambda: getattr(segmentation, peer)(weights=None, weights_backbone=None, num_classes=21),
            lambda m: m,
            lambda m: lambda x: resize(m.classifier(m.backbone(x)["out"]), x.shape[2:]),
            (3, 97, 129),
            note,
        )

    pooling = "batch norm put after image pooling"
    return [
        of("fcn_resnet50", "fcn_resnet", "resnet50"),
        of("fcn_resnet101", "fcn_resnet", "resnet101"),
        of("deeplabv3_resnet50", "deeplabv3", "resnet50", pooling),
        of("deeplabv3_resnet101", "deeplabv3", "resnet101", pooling),
    ]


def with_batch_norm(network: nn.Module) -> nn.Module:
    """Put the peer's batch norm where we normalise the pooled map so that batch 1 can be trained."""
    for module in list(network.modules()):
        if isinstance(module, ImagePooling):
            project: Any = module.project
            project[1] = BATCH_NORM[project[0].weight.ndim - 2](project[0].out_channels)
    return network


def monai_encoders() -> list[Comparison]:
    from monai.networks.nets import densenet, resnet

    def residual(name: str, dims: int, size: tuple[int, ...]) -> Comparison:
        options = {"spatial_dims": dims, "n_input_channels": 1, "bias_downsample": False, "conv1_t_stride": 2}
        return Comparison(
            f"monai {name} {dims}D",
            lambda: Backbone(name, 32).build(dims, 1),
            lambda: getattr(resnet, name)(pretrained=False, feed_forward=False, **options),
            last_map,
            residual_maps,
            size,
        )

    def dense(name: str, peer: str, dims: int, size: tuple[int, ...]) -> Comparison:
        return Comparison(
            f"monai {peer} {dims}D",
            lambda: Backbone(name, 32).build(dims, 1),
            lambda: getattr(densenet, peer)(spatial_dims=dims, in_channels=1, out_channels=2).features,
            last_map,
            lambda m: lambda x: torch.relu(m(x)),
            size,
        )

    return [
        residual("resnet18", 3, (1, 49, 33, 41)),
        residual("resnet50", 3, (1, 49, 33, 41)),
        residual("resnet50", 2, (1, 97, 129)),
        dense("densenet121", "DenseNet121", 3, (1, 64, 64, 32)),
        dense("densenet121", "DenseNet121", 2, (1, 96, 128)),
    ]


def residual_maps(network: Any) -> Function:
    def forward(x: Tensor) -> Tensor:
        x = network.maxpool(network.act(network.bn1(network.conv1(x))))
        for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
            x = layer(x)
        return x

    return forward


def versions() -> dict[str, str]:
    import monai
    import timm
    import torchvision

    return {module.__name__: module.__version__ for module in (torch, torchvision, timm, monai)}


if __name__ == "__main__":
    sys.exit(main())
