"""The table of networks, written by hand: a row for each architecture's file.

This module imports no torch: the table is read by the command line, the architectures are imported when one is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from medseg.networks.encoder_names import ENCODERS

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class NetworkInfo:
    """One row of the table.

    Attributes:
        module: the architecture's file in ``networks.architectures``.
        builder: the class in it, called as ``builder(spatial_dims, in_channels, num_classes, **options)``.
        paper: title of the publication.
        year: of the publication.
        arxiv: arXiv id, or None.
        encoders: names the user can choose from (or the only one).
        small: options of a form that runs in seconds on a CPU (tests, smoke runs).
        note: what to know before choosing it.
        dims: spatial dimensions it is built for.
    """

    module: str
    builder: str
    paper: str
    year: int
    arxiv: str | None
    encoders: tuple[str, ...]
    small: Mapping[str, Any]
    note: str
    dims: tuple[int, ...] = (2, 3)

    def load(self) -> Callable[..., nn.Module]:
        """Import the architecture's file and return its builder."""
        builder: Callable[..., nn.Module] = getattr(
            import_module(f"medseg.networks.architectures.{self.module}"), self.builder
        )
        return builder


NETWORKS: dict[str, NetworkInfo] = {
    "fcn": NetworkInfo(
        module="fcn",
        builder="FCN",
        paper="Fully Convolutional Networks for Semantic Segmentation",
        year=2015,
        arxiv="1411.4038",
        encoders=("vgg16",),
        small={"width": 0.125, "fc_kernel": 3, "fc_width": 32},
        note="variants 32s, 16s, 8s; has no norm unless asked: norm: batch eases training from scratch",
    ),
    "fcn_resnet": NetworkInfo(
        module="fcn_resnet",
        builder="FCNResNet",
        paper="Fully Convolutional Networks for Semantic Segmentation",
        year=2015,
        arxiv="1411.4038",
        encoders=ENCODERS,
        small={"encoder": "resnet18", "width": 0.125, "auxiliary": True},
        note="torchvision's FCN, on a dilated ResNet and without skips: the baseline of deeplabv3 and pspnet",
    ),
    "zoomout": NetworkInfo(
        module="zoomout",
        builder="ZoomOut",
        paper="Feedforward Semantic Segmentation with Zoom-Out Features",
        year=2015,
        arxiv="1412.0774",
        encoders=("vgg16",),
        small={"width": 0.125, "fc_kernel": 3, "fc_width": 32, "cell_size": 4},
        note="scores the cells of a grid, 8 voxels in 2D and 4 in 3D: details below cell_size are lost",
    ),
    "deeplabv1": NetworkInfo(
        module="deeplabv1",
        builder="DeepLabV1",
        paper="Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected CRFs",
        year=2015,
        arxiv="1412.7062",
        encoders=("vgg16",),
        small={"width": 0.125, "atrous_rate": 2},
        note="LargeFOV; has no norm unless asked; small patches want a smaller atrous_rate (a warning says so)",
    ),
    "attention_to_scale": NetworkInfo(
        module="attention_to_scale",
        builder="AttentionToScale",
        paper="Attention to Scale: Scale-aware Semantic Image Segmentation",
        year=2016,
        arxiv="1511.03339",
        encoders=("vgg16",),
        small={"width": 0.125, "fc_width": 32, "atrous_rate": 2},
        note="deeplabv1 at several scales, each trained too; norm: group, since the scales would share batch's",
    ),
    "segnet": NetworkInfo(
        module="segnet",
        builder="SegNet",
        paper="SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation",
        year=2017,
        arxiv="1511.00561",
        encoders=("vgg16",),
        small={"width": 0.125, "stages": 4},
        note="upsamples by max-pool indices; stages: 4 and width: 0.5 suit 3D patches",
    ),
    "deeplabv2": NetworkInfo(
        module="deeplabv2",
        builder="DeepLabV2",
        paper="DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution, "
        "and Fully Connected CRFs",
        year=2017,
        arxiv="1606.00915",
        encoders=ENCODERS,
        small={"encoder": "resnet18", "width": 0.125, "atrous_rates": (1, 2, 3)},
        note="vgg16 is the paper's with norm: none; small patches want smaller atrous_rates (a warning says so)",
    ),
    "deeplabv3": NetworkInfo(
        module="deeplabv3",
        builder="DeepLabV3",
        paper="Rethinking Atrous Convolution for Semantic Image Segmentation",
        year=2017,
        arxiv="1706.05587",
        encoders=ENCODERS,
        small={"encoder": "resnet18", "width": 0.125, "atrous_rates": (1, 2, 3), "auxiliary": True},
        note="in 3D separable: true or a small encoder; small patches want smaller atrous_rates (a warning says so)",
    ),
    "pspnet": NetworkInfo(
        module="pspnet",
        builder="PSPNet",
        paper="Pyramid Scene Parsing Network",
        year=2017,
        arxiv="1612.01105",
        encoders=ENCODERS,
        small={"encoder": "resnet18", "width": 0.125, "auxiliary": True},
        note="segment with windows of the training patch's size; bins: [1, 2, 3] where its map is below 12 cells",
    ),
    "deeplabv3plus": NetworkInfo(
        module="deeplabv3plus",
        builder="DeepLabV3Plus",
        paper="Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation",
        year=2018,
        arxiv="1802.02611",
        encoders=ENCODERS,
        small={
            "encoder": "resnet18",
            "width": 0.125,
            "atrous_rates": (1, 2, 3),
        },
        note="patches below 300 voxels want smaller atrous_rates or stem_stride: 1 (a warning says so)",
    ),
    "frrn": NetworkInfo(
        module="frrn",
        builder="FRRN",
        paper="Full-Resolution Residual Networks for Semantic Segmentation in Street Scenes",
        year=2017,
        arxiv="1611.08323",
        encoders=("frrn",),
        small={"width": 0.125},
        note="keeps maps of the image's size: much memory; stream_stride: 2 (the default in 3D) halves their size",
    ),
    "resnet38": NetworkInfo(
        module="resnet38",
        builder="ResNet38",
        paper="Wider or Deeper: Revisiting the ResNet Model for Visual Recognition",
        year=2016,
        arxiv="1611.10080",
        encoders=("resnet38",),
        small={"width": 0.125, "atrous_rate": 2},
        note="124 million weights in 2D, 323 in 3D: width: 0.25 or 0.5 there; small patches want a smaller atrous_rate",
    ),
    "duc": NetworkInfo(
        module="duc",
        builder="DUC",
        paper="Understanding Convolution for Semantic Segmentation",
        year=2018,
        arxiv="1702.08502",
        encoders=ENCODERS,
        small={"encoder": "resnet18", "width": 0.125, "atrous_rates": (1, 2)},
        note="head grows with num_classes * cell ** dims; patches below 256 voxels want smaller rates",
    ),
    "encnet": NetworkInfo(
        module="encnet",
        builder="EncNet",
        paper="Context Encoding for Semantic Segmentation",
        year=2018,
        arxiv="1803.08904",
        encoders=ENCODERS,
        small={"encoder": "resnet18", "width": 0.125, "codewords": 8},
        note="trains which classes are present too: se_weight: 0 where every patch holds every class",
    ),
    "rgnet": NetworkInfo(
        module="rgnet",
        builder="RGNet",
        paper="Representative Graph Neural Network",
        year=2020,
        arxiv="2008.05202",
        encoders=ENCODERS,
        small={"encoder": "resnet18", "width": 0.125, "zero_init_residual": False},
        note="own reading: the authors published no code; not bit-repeatable on CUDA",
    ),
    "ocrnet": NetworkInfo(
        module="ocrnet",
        builder="OCRNet",
        paper="Object-Contextual Representations for Semantic Segmentation",
        year=2020,
        arxiv="1909.11065",
        encoders=ENCODERS,
        small={"encoder": "resnet18", "width": 0.125},
        note="attends to one vector a class: cheap in 3D; trains coarse scores of stage 3 beside its logits",
    ),
    "deconvnet": NetworkInfo(
        module="deconvnet",
        builder="DeconvNet",
        paper="Learning Deconvolution Network for Semantic Segmentation",
        year=2015,
        arxiv="1505.04366",
        encoders=("vgg16",),
        small={"width": 0.125, "fc_kernel": 2, "fc_width": 32},
        note="252 million parameters, four fifths in fc6 and its mirror (fc: false drops them); needs patches of 193 "
        "(97 in 3D) unless fc_kernel is smaller",
    ),
    "gcn": NetworkInfo(
        module="gcn",
        builder="GCN",
        paper="Large Kernel Matters -- Improve Semantic Segmentation by Global Convolutional Network",
        year=2017,
        arxiv="1703.02719",
        encoders=ENCODERS,
        small={"encoder": "resnet18", "width": 0.125, "kernel_size": 5},
        note="few classes make thin score maps: take score_channels: 16; kernel_size: 7 suits patches",
    ),
    "refinenet": NetworkInfo(
        module="refinenet",
        builder="RefineNet",
        paper="RefineNet: Multi-Path Refinement Networks for High-Resolution Semantic Segmentation",
        year=2017,
        arxiv="1611.06612",
        encoders=ENCODERS,
        small={"encoder": "resnet18", "width": 0.125, "crp_stages": 2, "output_rcus": 1},
        note="large decoder (76 million parameters in 2D): channels: [256, 128] and crp_stages: 2 suit 3D",
    ),
    "fcdensenet": NetworkInfo(
        module="fcdensenet",
        builder="FCDenseNet",
        paper="The One Hundred Layers Tiramisu: Fully Convolutional DenseNets for Semantic Segmentation",
        year=2017,
        arxiv="1611.09326",
        encoders=("dense",),
        small={"variant": 56, "width": 0.34, "pools": 2},
        note="variants 56, 67, 103; few parameters, much memory at full resolution: checkpoint: true, pools: 4 in 3D",
    ),
    "denseaspp": NetworkInfo(
        module="denseaspp",
        builder="DenseASPP",
        paper="DenseASPP for Semantic Segmentation in Street Scenes",
        year=2018,
        arxiv=None,
        encoders=ENCODERS,
        small={"encoder": "densenet121", "width": 0.125, "atrous_rates": (1, 2, 3)},
        note="the paper's encoders are DenseNets; patches below 300 voxels want atrous_rates: [1, 2, 4, 6]",
    ),
    "layer_cascade": NetworkInfo(
        module="layer_cascade",
        builder="LayerCascade",
        paper="Not All Pixels Are Equal: Difficulty-Aware Semantic Segmentation via Deep Layer Cascade",
        year=2017,
        arxiv="1704.01344",
        encoders=ENCODERS,
        small={"encoder": "resnet18", "width": 0.125},
        note="easy images leave the encoder early: train with threshold: 1 first, then with 0.985",
    ),
    "unet": NetworkInfo(
        module="unet",
        builder="UNet",
        paper="Left-Ventricle Quantification Using Residual U-Net",
        year=2019,
        arxiv=None,
        encoders=("residual",),
        small={"channels": (8, 16, 32), "strides": (2, 2), "num_res_units": 1},
        note="MONAI's residual U-Net: the yardstick",
    ),
    "dynunet": NetworkInfo(
        module="dynunet",
        builder="DynUNet",
        paper="nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation",
        year=2021,
        arxiv="1904.08128",
        encoders=("dynunet",),
        small={"strides": (1, 2, 2, 2), "filters": (8, 16, 24, 32), "deep_supervision": True},
        note="nnU-Net's network, from MONAI: its file's function `plan` gives strides and kernels for a patch",
    ),
    "segresnet": NetworkInfo(
        module="segresnet",
        builder="SegResNet",
        paper="3D MRI brain tumor segmentation using autoencoder regularization",
        year=2018,
        arxiv="1810.11654",
        encoders=("segresnet",),
        small={"variant": "ds", "init_filters": 8, "blocks_down": (1, 1, 1), "supervised_levels": 2},
        note="MONAI's, without the autoencoder; variant: ds is Auto3DSeg's and trains coarser scores too",
    ),
    "mednext": NetworkInfo(
        module="mednext",
        builder="MedNeXt",
        paper="MedNeXt: Transformer-driven Scaling of ConvNets for Medical Image Segmentation",
        year=2023,
        arxiv="2303.09975",
        encoders=("mednext",),
        small={"init_filters": 8},
        note="MONAI's, without deep supervision; variants S, B, M and L",
    ),
    "swinunetr": NetworkInfo(
        module="swinunetr",
        builder="SwinUNETR",
        paper="Swin UNETR: Swin Transformers for Semantic Segmentation of Brain Tumors in MRI Images",
        year=2022,
        arxiv="2201.01266",
        encoders=("swin",),
        small={"feature_size": 12, "window_size": 2},
        note="MONAI's; pads to multiples of 32; segment with windows of the training patch's size",
    ),
}
