"""Pretrained weights for the encoders: ImageNet files of torchvision and timm, and models of medseg, in 2D and 3D nets.

What a file of photographs becomes:

Axes. A kernel for photographs has rows H, downwards, and columns W. Our arrays (RAS) have I from the patient's left to
the right and J from the back to the front. A photograph may be mirrored left to right but not upside down, and so may a
body: W is I, and H is J reversed, as slices are displayed with the front up. So kernels are turned by a quarter,
``new[i, j] = old[h - 1 - j, i]`` with h rows, and the net sees a slice upright, as it saw the photographs. Which end of
I columns begin at is of no matter, since ImageNet nets were trained on mirrored photographs too.

Channels. One channel takes the sum over the three colours, which is what a grey image in all of them gives. k channels
take the colours in turn, times 3 / k: the same again where k is a multiple of 3, and else not far from it. Mean and
deviation, by which photographs are normalised, are not folded in: training adapts the norm after the first convolution
to our window of [0, 1], and a net without norm (vgg16) starts with smaller activations than it was trained for.

Depth. In 3D a kernel becomes the ``centre`` slice of a volume of zeros, so that the net begins by looking at each slice
alone, or the ``mean``: every slice is the kernel divided by their number. Where kernels are flat (k, k, 1) both are the
plain kernel. Inside a volume that is constant along K all of them give the maps of the slice.
"""

from __future__ import annotations

import pickle
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

from medseg.errors import CheckpointError, ConfigError
from medseg.networks.encoder_names import EncoderName
from medseg.networks.encoders import Backbone
from medseg.networks.encoders.densenet import DenseNet
from medseg.networks.encoders.mobilenetv2 import MobileNetV2
from medseg.networks.encoders.resnet import BLOCKS, ResNet
from medseg.networks.encoders.resnet38 import WideResNet38
from medseg.networks.encoders.vgg import VGG16
from medseg.networks.encoders.xception import Xception

Inflation = Literal["centre", "mean"]
"""What a kernel of two axes becomes in three."""

State = Mapping[str, Tensor]

_ENCODERS = (VGG16, ResNet, MobileNetV2, Xception, DenseNet, WideResNet38)
_CLASSIFIER = re.compile(r"(fc|classifier|head|pre_logits|aux_classifier)\.")
_OLD_DENSENET = re.compile(r"(\.denselayer\d+\.(?:norm|conv))\.(?=[12]\.)")
_NOT_IN_CLASSIFIERS = re.compile(r"layer[5-9]\.|features\.transition4\.")
"""DeepLab v3's cascade and DenseASPP's last transition, which start from random weights."""
_COUNTER = "num_batches_tracked"
_IN_TURN = "taken in turn"


@dataclass(frozen=True)
class WeightsReport:
    """What became of a file of weights; the keys are the encoder's, those of ``unused`` the file's.

    Attributes:
        matched: loaded as they are.
        adapted: loaded after a change -> the change.
        missing: not in the file, since they belong to layers that no classifier has; they keep their random weights.
        unused: of the file, with no place in the encoder: its classifier, or layers beyond the encoder's last.
    """

    matched: tuple[str, ...]
    adapted: Mapping[str, str]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        changes = [f"{how}: {count}" for how, count in Counter(self.adapted.values()).items()]
        loaded = f"{len(self.matched) + len(self.adapted)} tensors loaded"
        parts = [f"{loaded}, {len(self.matched)} of them as they are", *changes]
        return "; ".join(parts + [f"not used: {_layers(self.unused)}"] * bool(self.unused))

    @property
    def surprises(self) -> list[str]:
        """What a user may not expect of pretrained weights, worth a warning."""
        notes = [f"{key}: {how}" for key, how in self.adapted.items() if _IN_TURN in how]
        if self.missing:
            notes.append(f"not in the file, start from random weights: {_layers(self.missing)}")
        return notes


def load_encoder_weights(network: nn.Module, path: Path | str, inflation: Inflation = "centre") -> WeightsReport:
    """Load pretrained weights into a network's encoder, in place.

    Args:
        network: a network with an ``encoder``, or an encoder.
        path: a file of tensors by ``torch.save``, or a ``.safetensors``: the state dict of

            - a classifier, torchvision's or timm's of our encoders (timm's resnet50c and resnet50s for the stems `c`
              and `s`; DenseNets with today's keys or those of before 2019; Xception is timm's),
            - a segmentation network of torchvision (``backbone.`` keys; its heads are passed over),
            - a model of medseg (``encoder.`` keys; likewise), whose axes are ours: nothing is turned.

            Kernels that have three axes already are taken as they are.
        inflation: what kernels of two axes become in 3D.

    Raises:
        ConfigError: the network has no encoder of ours.
        CheckpointError: there is no such file, it holds anything but tensors, or it does not fit: it is of another
            encoder, width or norm. Nothing was loaded then.
    """
    encoder = encoder_of(network)
    state, photographs = _of_encoder(_read(Path(path)))
    own = _without_counters(encoder.state_dict())
    first = next(key for key, value in own.items() if _is_kernel(value))
    new = _new_layers(own.keys(), state.keys())
    loaded, changes = {}, {}
    for key, value in own.items():
        if key in state and key not in new:
            loaded[key], changes[key] = _fitted(
                state[key].to(value.dtype), value, colours=key == first, turn=photographs, inflation=inflation
            )
    unused = tuple(key for key in state if key not in loaded)
    misfit = _misfit(own, state, loaded, new, [key for key in unused if not _may_stay_unused(encoder, key, new)])
    if misfit:
        raise CheckpointError(f"{path}: {_whose(own, state)}: {misfit}")
    encoder.load_state_dict(loaded, strict=False)
    return WeightsReport(
        matched=tuple(key for key, how in changes.items() if not how),
        adapted={key: ", ".join(how) for key, how in changes.items() if how},
        missing=tuple(key for key in own if key in new),
        unused=unused,
    )


def encoder_of(network: nn.Module) -> nn.Module:
    """The part of a network that takes pretrained weights.

    Raises:
        ConfigError: there is none.
    """
    encoder = getattr(network, "encoder", network)
    if not isinstance(encoder, _ENCODERS):
        raise ConfigError(
            f"network.encoder_weights: {type(network).__name__} has no encoder that takes pretrained weights; remove "
            "it, or take a network that stands on one (see `medseg networks`)"
        )
    return encoder


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    expected = "expected tensors saved by torch.save, or a .safetensors file; what may hold code is not opened"
    if not path.is_file():
        raise CheckpointError(f"{path}: no such weights file")
    try:
        safe = path.suffix == ".safetensors"
        content = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise CheckpointError(f"{path}: not a weights file: {expected} ({reason})") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: not a weights file: {expected}, found {type(content).__name__}")
    if others := [str(key) for key, value in content.items() if not isinstance(value, Tensor)]:
        raise CheckpointError(
            f"{path}: expected a state dict, tensors by name and nothing else, found {', '.join(others[:4])}; save the "
            "state dict by itself"
        )
    return {str(key): value for key, value in content.items()}


def _of_encoder(state: State) -> tuple[dict[str, Tensor], bool]:
    """The encoder's part of a file (and its classifier) under today's keys, and whether it was trained on images."""
    state = _without_counters(state)
    for prefix in ("backbone.", "encoder."):
        if any(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            return state, prefix != "encoder."
    return {_OLD_DENSENET.sub(r"\1", key): value for key, value in state.items()}, True


def _without_counters(state: State) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if not key.endswith(_COUNTER)}


def _is_kernel(value: Tensor) -> bool:
    return value.ndim > 3


def _new_layers(own: Collection[str], file: Collection[str]) -> set[str]:
    """Keys of layers that no classifier has; a norm behind a new transition is another than the file's."""
    new = {key for key in own if key not in file and _NOT_IN_CLASSIFIERS.match(key)}
    return new | {key for key in own if key.startswith("features.norm5.") and any("transition4" in k for k in new)}


def _may_stay_unused(encoder: nn.Module, key: str, new: Collection[str]) -> bool:
    if _CLASSIFIER.match(key) or key in new:
        return True
    # SegNet may stop before VGG16's end, and DeepLab before MobileNetV2's last convolution.
    number = re.match(r"features\.(\d+)\.", key)
    return isinstance(encoder, VGG16 | MobileNetV2) and number is not None and int(number[1]) >= len(encoder.features)


def _fitted(
    value: Tensor, like: Tensor, *, colours: bool, turn: bool, inflation: Inflation
) -> tuple[Tensor, tuple[str, ...]]:
    """A tensor of the file as the encoder needs it, if it can be, and what was done to it."""
    how = []
    if value.ndim == 4 and turn and max(value.shape[2:]) > 1:
        value = torch.rot90(value, -1, (2, 3))
        how.append("turned to (I, J)")
    if colours and _is_kernel(value) and value.shape[1] != like.shape[1]:
        have, want = value.shape[1], like.shape[1]
        if want == 1:
            value = value.sum(dim=1, keepdim=True)
            how.append(f"{have} channels summed")
        else:
            value = value[:, torch.arange(want) % have] * (have / want)
            how.append(f"{have} channels {_IN_TURN} for {want}")
    if value.ndim == 4 and like.ndim == 5:
        slices = like.shape[-1]
        weights = torch.full((slices,), 1 / slices, dtype=value.dtype)
        if inflation == "centre":
            weights = torch.eye(slices, dtype=value.dtype)[slices // 2]
        value = value.unsqueeze(-1) * weights
        how.append("given a third axis" if slices == 1 else f"inflated ({inflation})")
    return value, tuple(how)


def _misfit(own: State, file: State, loaded: State, new: Collection[str], unused: Collection[str]) -> str:
    """How the file does not fit; "" where it does."""
    missing = [key for key in own if key not in loaded and key not in new]
    shapes = [
        f"{key}, {_by(file[key])} in the file and {_by(own[key])} in the network"
        for key, value in loaded.items()
        if value.shape != own[key].shape
    ]
    counts = {"not in the file": missing, "of another shape": shapes, "without a place": unused}
    misfits = [f"{len(keys)} tensors {what} (first: {next(iter(keys))})" for what, keys in counts.items() if keys]
    if misfits and any(key.endswith("running_mean") for key in file) and not any("running_mean" in key for key in own):
        misfits.append("the file's weights go with network.norm: batch")
    return "; ".join(misfits)


def _by(value: Tensor) -> str:
    return " x ".join(map(str, value.shape))


def _whose(own: State, file: State) -> str:
    """Whose weights the file seems to hold, and whose were expected."""
    asked, (likeness, likest) = _likest(own)[1], _likest(file)
    if likeness < 0.8:
        return f"a weights file of another encoder, and of none that medseg has; the network has {asked}"
    if likest == asked:
        return f"does not fit {asked}"
    return f"a weights file of another encoder: it seems to be from {likest}, and the network has {asked}"


def _likest(state: State) -> tuple[float, str]:
    """How much the kernels of an encoder are like those of the likest that we have, from 0 to 1, and its name."""
    kernels = _kernels(state)

    def likeness(candidate: Mapping[str, int]) -> tuple[float, float]:
        common = kernels.keys() & candidate.keys()
        return (
            len(common) / len(kernels.keys() | candidate.keys()),
            sum(kernels[key] == candidate[key] for key in common) / max(1, len(common)),
        )

    (share, widths), name = max((likeness(candidate), name) for name, candidate in _candidates())
    return share, name if widths > 0.9 else f"{name} of another width"


def _kernels(state: State) -> dict[str, int]:
    """Output channels of every convolution, which do not depend on the image's axes and channels."""
    return {key: value.shape[0] for key, value in state.items() if _is_kernel(value) and not _CLASSIFIER.match(key)}


@cache
def _candidates() -> tuple[tuple[str, dict[str, int]], ...]:
    """Name and convolutions of every encoder there is."""

    def backbones() -> Iterator[tuple[str, Backbone]]:
        yield "vgg16 with norm: none", Backbone("vgg16", 32, norm="none")
        yield "vgg16 with norm: batch (vgg16_bn)", Backbone("vgg16", 32)
        for name in get_args(EncoderName):
            if name in BLOCKS:
                yield name, Backbone(name, 32)
                yield f"{name} with stem: c", Backbone(name, 32, stem="c")
                yield f"{name} with stem: s", Backbone(name, 32, stem="s")
            elif name != "vgg16":
                yield name, Backbone(name, 32)

    with torch.device("meta"):
        built = ((name, cast(nn.Module, backbone.build(2, 3))) for name, backbone in backbones())
        return tuple((name, _kernels(encoder.state_dict())) for name, encoder in built)


def _layers(keys: Collection[str]) -> str:
    """The layers that keys belong to, a few of them."""
    layers = list(dict.fromkeys(key.rpartition(".")[0] for key in keys))
    return ", ".join(layers[:4]) + (f" and {len(layers) - 4} more" if len(layers) > 4 else "")
