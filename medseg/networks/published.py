"""Numbers of parameters that others have published for these networks, and what ours have with the same options.

A number stands here only if somebody else's network gave it: a paper, its authors' release, or an independent library
(counted by building it). Ours is the same to the unit unless an entry says what it is, and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any


@dataclass(frozen=True)
class Published:
    """One number to hold ours against.

    Attributes:
        name: key of NETWORKS.
        count: trainable parameters of theirs.
        source: whose.
        options: with which ours is the same network.
        dims: spatial dimensions.
        in_channels: of the image.
        num_classes: of the logits.
        rounded_to: 1, or the unit that the source rounds to.
        ours: what we count where that is another number; None is the same.
        why: the difference, or what was rounded.
    """

    name: str
    count: int
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)
    dims: int = 2
    in_channels: int = 3
    num_classes: int = 21
    rounded_to: int = 1
    ours: int | None = None
    why: str = ""

    @property
    def counted(self) -> int:
        """Parameters of ours."""
        return self.count if self.ours is None else self.ours

    @property
    def reproduced(self) -> bool:
        """Ours is theirs, as exactly as they say it."""
        return 2 * abs(self.counted - self.count) <= self.rounded_to - 1


def published(name: str) -> tuple[Published, ...]:
    """What is known of a network; empty where nobody published a number."""
    return tuple(entry for entry in PUBLISHED if entry.name == name)


_R50, _R101 = {"encoder": "resnet50"}, {"encoder": "resnet101"}
_SMALL_STEM = {"stem": "c"}
_DOWN = "MONAI expands a downsampling block by its own level's ratio, the authors by the next one's"

_ct = partial(Published, in_channels=1, num_classes=2)
"""One image, background and one organ."""

PUBLISHED: tuple[Published, ...] = (
    Published("fcn", 134_346_581, "pytorch-semseg, fcn32s", {"variant": "32s"}),
    Published("fcn", 134_357_354, "pytorch-semseg, fcn16s", {"variant": "16s"}),
    Published("fcn", 134_489_759, "the authors' Caffe voc-fcn8s", {"upsampling": "dense"}),
    Published("fcn_resnet", 32_957_013, "torchvision 0.28, fcn_resnet50", _R50),
    Published("fcn_resnet", 51_949_141, "torchvision 0.28, fcn_resnet101", _R101),
    Published("fcn_resnet", 35_322_218, "torchvision 0.28, fcn_resnet50, aux_loss", {**_R50, "auxiliary": True}),
    Published("fcn_resnet", 54_314_346, "torchvision 0.28, fcn_resnet101, aux_loss", {**_R101, "auxiliary": True}),
    Published("deeplabv1", 20_505_429, "the authors' Caffe DeepLab-LargeFOV"),
    Published("segnet", 29_449_355, "the authors' Caffe SegNet for CamVid", num_classes=11),
    Published("deeplabv2", 44_048_532, "kazuto1011/deeplab-pytorch, ResNet-101", _R101),
    Published("deeplabv3", 39_638_869, "torchvision 0.28, deeplabv3_resnet50", _R50),
    Published("deeplabv3", 58_630_997, "torchvision 0.28, deeplabv3_resnet101", _R101),
    Published("deeplabv3", 42_004_074, "torchvision 0.28, deeplabv3_resnet50, aux_loss", {**_R50, "auxiliary": True}),
    Published("deeplabv3", 60_996_202, "torchvision 0.28, deeplabv3_resnet101, aux_loss", {**_R101, "auxiliary": True}),
    Published("deeplabv3", 15_904_085, "segmentation_models_pytorch 0.6, resnet18", {"encoder": "resnet18"}),
    _ct("deeplabv3", 39_627_714, "segmentation_models_pytorch 0.6, resnet50", _R50),
    Published("deeplabv3", 58_040_661, "kazuto1011/deeplab-pytorch, ResNet-101", {**_R101, "extra_conv": False}),
    Published("pspnet", 46_782_550, "the authors' Caffe PSPNet50 for ADE20K", _R50, num_classes=150),
    Published("pspnet", 65_708_501, "the authors' Caffe PSPNet101 for VOC", _R101),
    Published("pspnet", 65_707_475, "the authors' Caffe PSPNet101 for Cityscapes", _R101, num_classes=19),
    Published(
        "pspnet", 49_081_578, "the authors' semseg, ResNet-50 with its auxiliary head", {**_R50, "auxiliary": True}
    ),
    Published(
        "pspnet", 46_611_829, "mmsegmentation 1.2.2, pspnet_r50-d8, without its auxiliary head", _R50 | _SMALL_STEM
    ),
    Published(
        "pspnet", 65_603_957, "mmsegmentation 1.2.2, pspnet_r101-d8, without its auxiliary head", _R101 | _SMALL_STEM
    ),
    Published(
        "deeplabv3plus", 59_344_309, "jfzhang95/pytorch-deeplab-xception, ResNet-101", {**_R101, "separable": False}
    ),
    Published(
        "deeplabv3plus",
        5_816_053,
        "jfzhang95/pytorch-deeplab-xception, MobileNetV2",
        {"encoder": "mobilenet_v2", "separable": False},
    ),
    Published(
        "deeplabv3plus",
        54_705_317,
        "jfzhang95/pytorch-deeplab-xception, Xception",
        {"encoder": "xception65", "separable": False},
        ours=54_711_461,
        why="its decoder taps a map of 128 channels, the paper's one of 256",
    ),
    Published(
        "frrn",
        17_700_000,
        "the paper",
        {"variant": "A"},
        num_classes=19,
        rounded_to=100_000,
        ours=17_746_803,
        why="the paper gives millions with one digit",
    ),
    Published(
        "frrn",
        24_800_000,
        "the paper",
        {"variant": "B"},
        num_classes=19,
        rounded_to=100_000,
        ours=24_755_699,
        why="the paper gives millions with one digit",
    ),
    Published(
        "encnet",
        33_527_270,
        "mmsegmentation 1.2.2, encnet_r50-d8, without its auxiliary head",
        _R50 | _SMALL_STEM,
        num_classes=19,
    ),
    Published(
        "encnet",
        35_891_961,
        "mmsegmentation 1.2.2, encnet_r50-d8",
        {**_R50, **_SMALL_STEM, "auxiliary": True},
        num_classes=19,
    ),
    Published(
        "encnet", 52_521_450, "mmsegmentation 1.2.2, encnet_r101-d8, without its auxiliary head", _R101 | _SMALL_STEM
    ),
    Published(
        "ocrnet",
        55_516_294,
        "mmsegmentation 1.2.2, ocrnet_r101-d8",
        _R101 | _SMALL_STEM,
        num_classes=19,
        ours=57_880_966,
        why="its coarse head has 256 channels, the authors' 512",
    ),
    Published("deconvnet", 251_805_653, "the authors' Caffe DeconvNet"),
    Published("refinenet", 118_052_437, "DrSleep/refinenet-pytorch, ResNet-101", _R101),
    Published(
        "refinenet", 118_142_332, "DrSleep/refinenet-pytorch, ResNet-101 for PASCAL-Context", _R101, num_classes=60
    ),
    Published("refinenet", 118_349_782, "DrSleep/refinenet-pytorch, ResNet-101 for ADE20K", _R101, num_classes=150),
    Published("refinenet", 99_060_309, "DrSleep/refinenet-pytorch, ResNet-50", _R50),
    Published("refinenet", 133_696_085, "DrSleep/refinenet-pytorch, ResNet-152", {"encoder": "resnet152"}),
    Published("fcdensenet", 1_376_795, "bfortuner/pytorch_tiramisu, FC-DenseNet56", {"variant": 56}, num_classes=11),
    Published("fcdensenet", 3_463_243, "bfortuner/pytorch_tiramisu, FC-DenseNet67", {"variant": 67}, num_classes=11),
    Published("fcdensenet", 9_322_091, "bfortuner/pytorch_tiramisu, FC-DenseNet103", {"variant": 103}, num_classes=11),
    Published("denseaspp", 8_280_851, "the authors' DenseASPP121", {"encoder": "densenet121"}, num_classes=19),
    Published("denseaspp", 35_395_427, "the authors' DenseASPP161", {"encoder": "densenet161"}, num_classes=19),
    Published("denseaspp", 18_420_675, "the authors' DenseASPP169", {"encoder": "densenet169"}, num_classes=19),
    Published("denseaspp", 28_639_987, "the authors' DenseASPP201", {"encoder": "densenet201"}, num_classes=19),
    Published(
        "denseaspp",
        2_486_419,
        "the authors' MobileNetDenseASPP",
        {"encoder": "mobilenet_v2"},
        num_classes=19,
        ours=2_485_331,
        why="the first block of its encoder has a 1x1 convolution of 32 channels more",
    ),
    _ct("unet", 1_625_161, "MONAI 1.6.1, UNet"),
    _ct("unet", 4_806_481, "MONAI 1.6.1, UNet", dims=3),
    _ct("dynunet", 31_189_410, "MONAI 1.6.1, DynUNet", dims=3),
    _ct(
        "dynunet",
        31_195_594,
        "dynamic_network_architectures 0.4.4, PlainConvUNet of 6 stages",
        dims=3,
        ours=31_189_410,
        why="it has 4 heads for deep supervision, which are not built unless asked for, and biases before its norms",
    ),
    Published("segresnet", 4_702_227, "MONAI 1.6.1, SegResNet for BraTS", {"init_filters": 16}, 3, 4, 3),
    _ct("segresnet", 18_796_002, "MONAI 1.6.1, SegResNet", {"init_filters": 32}, dims=3),
    _ct("segresnet", 19_914_146, "MONAI 1.6.1, SegResNetDS", {"variant": "ds"}, dims=3),
    _ct("mednext", 5_550_914, "MONAI 1.6.1, MedNeXtS", {"variant": "S"}, dims=3),
    _ct(
        "mednext",
        5_550_915,
        "the authors' MedNeXt-S",
        {"variant": "S"},
        3,
        ours=5_550_914,
        why="it has one scalar more",
    ),
    _ct("mednext", 10_526_307, "the authors' MedNeXt-B", {"variant": "B"}, dims=3, ours=10_510_850, why=_DOWN),
    _ct("mednext", 17_548_963, "the authors' MedNeXt-M", {"variant": "M"}, dims=3, ours=17_533_506, why=_DOWN),
    _ct("mednext", 61_779_267, "the authors' MedNeXt-L", {"variant": "L"}, dims=3, ours=61_726_754, why=_DOWN),
    Published("swinunetr", 62_187_296, "MONAI 1.6.1, SwinUNETR for BTCV", {"feature_size": 48}, 3, 1, 14),
    Published("swinunetr", 62_191_941, "MONAI 1.6.1, SwinUNETR for BraTS", {"feature_size": 48}, 3, 4, 3),
)
