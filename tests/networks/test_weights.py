"""Pretrained weights. The files are made here, from the keys and shapes that torchvision's and timm's files have."""

import pickle
import re

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from medseg.errors import CheckpointError, ConfigError
from medseg.networks import build_network
from medseg.networks.encoders import Backbone
from medseg.networks.encoders.densenet import DenseNet, Depth
from medseg.networks.encoders.mobilenetv2 import MobileNetV2
from medseg.networks.encoders.vgg import VGG16
from medseg.networks.weights import WeightsReport, encoder_of, load_encoder_weights

HEADS = {
    "vgg16": [("classifier.0", 4096, 25088), ("classifier.3", 4096, 4096), ("classifier.6", 1000, 4096)],
    "resnet": [("fc", 1000, 2048)],
    "densenet": [("classifier", 1000, 1024)],
    "mobilenet": [("features.18.0", 1280, 320, 1, 1), ("classifier.1", 1000, 1280)],
    "xception": [("head.fc", 1000, 2048)],
}


def head_of(name):
    layers = next(layers for start, layers in HEADS.items() if name.startswith(start))
    head = {f"{layer}.weight": shape for layer, *shape in layers}
    head |= {f"{layer}.bias": shape[:1] for layer, *shape in layers if len(shape) == 2}
    if name == "mobilenet_v2":
        head |= {f"features.18.1.{key}": (1280,) for key in ("weight", "bias", "running_mean", "running_var")}
        head["features.18.1.num_batches_tracked"] = ()
    return head


def empty(shape):
    """A tensor that takes no room."""
    return torch.zeros(()).expand(tuple(shape))


def classifier(name, **options):
    """The state dict of an ImageNet file, all zeros, at full width."""
    encoder = on_meta(name, **options)
    shapes = {key: value.shape for key, value in encoder.state_dict().items()} | head_of(name)
    return {key: empty(shape) for key, shape in shapes.items()}


def on_meta(name, dims=2, in_channels=3, **options):
    with torch.device("meta"):
        return Backbone(name, 32, **options).build(dims, in_channels)


def randomised(encoder, seed=0):
    """An encoder in eval mode whose norms are not the identity."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in encoder.state_dict().values():
            if value.ndim == 1:
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return encoder.eval()


@pytest.fixture
def write(tmp_path):
    def write(state, name="weights.pth"):
        torch.save(state, tmp_path / name)
        return tmp_path / name

    return write


class TestFilesOfImageNet:
    @pytest.mark.parametrize(
        ("name", "options", "entries"),
        [
            ("vgg16", {"norm": "none"}, 32),
            ("vgg16", {"norm": "batch"}, 97),
            ("resnet50", {}, 320),
            ("densenet121", {}, 727),
            ("mobilenet_v2", {}, 314),
        ],
        ids=["vgg16", "vgg16_bn", "resnet50", "densenet121", "mobilenet_v2"],
    )
    @pytest.mark.filterwarnings("ignore:.*no-op:UserWarning")
    def test_torchvisions_fit_key_by_key(self, write, name, options, entries):
        state = classifier(name, **options)
        assert len(state) == entries
        report = load_encoder_weights(on_meta(name, **options), write(state))
        assert report.missing == ()
        counters = [key for key in state if key.endswith("num_batches_tracked")]
        assert len(report.matched) + len(report.adapted) + len(report.unused) + len(counters) == entries
        assert set(report.unused) == {key for key in head_of(name) if key not in counters}
        assert report.surprises == []

    @pytest.mark.parametrize(
        ("name", "options", "keys"),
        [
            ("resnet18", {"stem": "c"}, ["conv1.0.weight", "conv1.1.running_mean", "conv1.3.weight", "conv1.6.weight"]),
            ("resnet50", {"stem": "s"}, ["conv1.0.weight", "conv1.6.weight", "bn1.weight"]),
            ("xception41", {}, ["stem.0.conv.weight", "blocks.0.stack.conv1.bn_dw.weight", "blocks.0.shortcut.conv"]),
        ],
        ids=["resnet18c", "resnet50s", "xception41"],
    )
    @pytest.mark.filterwarnings("ignore:.*no-op:UserWarning")
    def test_timms_fit(self, write, name, options, keys):
        state = classifier(name, **options)
        assert all(any(key.startswith(start) for key in state) for start in keys)
        report = load_encoder_weights(on_meta(name, **options), write(state))
        assert (report.missing, set(report.unused)) == ((), set(head_of(name)))

    def test_densenets_of_before_2019_have_dots_in_their_layers_names(self, write):
        encoder = randomised(Backbone("densenet121", 32, width=0.125).build(2, 3))
        state = encoder.state_dict()
        dotted = {re.sub(r"(denselayer\d+\.(norm|conv))([12])", r"\1.\3", key): value for key, value in state.items()}
        assert "features.denseblock1.denselayer1.norm.1.weight" in dotted
        found = Backbone("densenet121", 32, width=0.125).build(2, 3)
        assert load_encoder_weights(found, write(dotted)).missing == ()
        layer = "features.denseblock4.denselayer16.conv1.weight"
        assert torch.equal(found.state_dict()[layer], state[layer])

    def test_torchvisions_segmentation_networks_give_their_backbone(self, write):
        state = Backbone("resnet18", width=0.125).build(2, 3).state_dict()
        prefixed = {f"backbone.{key}": value for key, value in state.items()}
        heads = {"classifier.0.convs.0.0.weight": empty((256, 512, 1, 1)), "aux_classifier.4.bias": empty((21,))}
        found = Backbone("resnet18", width=0.125).build(2, 3)
        report = load_encoder_weights(found, write(prefixed | heads))
        assert (report.missing, report.unused) == ((), ())
        assert torch.equal(found.state_dict()["layer4.1.bn2.weight"], state["layer4.1.bn2.weight"])

    def test_counters_of_batches_are_no_loss(self, write):
        state = Backbone("resnet18", width=0.125).build(2, 3).state_dict()
        state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
        assert load_encoder_weights(Backbone("resnet18", width=0.125).build(2, 3), write(state)).missing == ()

    def test_safetensors_and_half_precision(self, tmp_path):
        state = Backbone("resnet18", width=0.125).build(2, 3).state_dict()
        save_file({key: value.half() for key, value in state.items()}, tmp_path / "w.safetensors")
        found = Backbone("resnet18", width=0.125).build(2, 3)
        load_encoder_weights(found, tmp_path / "w.safetensors")
        kernel = found.state_dict()["layer1.0.conv1.weight"]
        assert kernel.dtype == torch.float32
        torch.testing.assert_close(kernel, state["layer1.0.conv1.weight"].rot90(-1, (2, 3)), atol=1e-3, rtol=1e-3)


SMALL = {
    "vgg16": lambda dims, channels: VGG16(dims, channels, width=0.125),
    "resnet18": lambda dims, channels: Backbone("resnet18", 32, width=0.125).build(dims, channels),
    "densenet": lambda dims, channels: DenseNet(dims, channels, depth=Depth(4, 8, (2, 2, 2, 2))),
    "mobilenet_v2": lambda dims, channels: MobileNetV2(dims, channels, width=0.125),
}


@pytest.fixture(params=list(SMALL))
def small(request, write):
    """Makes a small encoder that has the weights of one file, the encoder of photographs, and the file."""
    make = SMALL[request.param]
    torch.manual_seed(0)
    photographs = randomised(make(2, 3)).double()
    path = write(photographs.state_dict())

    def loaded(dims, channels, inflation="centre"):
        encoder = make(dims, channels).double().eval()
        report = load_encoder_weights(encoder, path, inflation)
        assert report.missing == report.unused == ()
        return encoder

    return loaded, photographs


def as_close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


class TestResponse:
    @pytest.mark.parametrize("name", ["vgg16", "resnet18", "mobilenet_v2"])
    def test_slice_is_seen_upright(self, write, name):
        """Row 0 of a photograph is its top; the top of a displayed slice is the front, where J ends."""
        backbone = Backbone(name, 32, width=0.125)
        torch.manual_seed(0)
        photographs, slices = (randomised(backbone.build(2, 3)).double() for _ in range(2))
        load_encoder_weights(slices, write(photographs.state_dict()))
        photograph = torch.rand(1, 3, 65, 33).double()  # of these sizes both ends are alike to every stride
        upright = torch.stack([photograph[..., 64 - j, :] for j in range(65)], dim=-1)  # (B, C, I, J)
        assert upright.shape == (1, 3, 33, 65)
        for found, expected in zip(slices(upright), photographs(photograph), strict=True):
            as_close(found, expected.rot90(-1, (2, 3)))

    def test_grey_image_is_the_same_in_one_channel_and_in_three(self, small):
        loaded, _ = small
        grey = torch.rand(1, 1, 33, 40).double()
        expected = loaded(2, 1)(grey)
        for channels in (3, 6):
            for found, wanted in zip(loaded(2, channels)(grey.expand(1, channels, 33, 40)), expected, strict=True):
                as_close(found, wanted)

    @pytest.mark.parametrize("inflation", ["centre", "mean"])
    def test_inside_a_volume_that_is_constant_along_k_are_the_maps_of_the_slice(self, small, inflation):
        loaded, _ = small
        image = torch.rand(1, 1, 9, 11).double()
        volume = image.unsqueeze(-1).expand(1, 1, 9, 11, 512)
        with torch.no_grad():
            flat, deep = loaded(2, 1)(image), loaded(3, 1, inflation)(volume)
        for slice_map, found in zip(flat, deep, strict=True):
            as_close(found[..., found.shape[-1] // 2], slice_map)
        ends = [torch.allclose(d[..., 0], f) for f, d in zip(flat, deep, strict=True)]
        assert all(ends) is (inflation == "centre")  # the mean sees the zeros beyond the volume


def test_first_layer_takes_colours_in_turn(write):
    photographs = Backbone("resnet18", width=0.125).build(2, 3)
    encoder = Backbone("resnet18", width=0.125).build(2, 5)
    report = load_encoder_weights(encoder, write(photographs.state_dict()))
    red, green, blue = photographs.conv1.weight.rot90(-1, (2, 3)).unbind(1)
    torch.testing.assert_close(encoder.conv1.weight, torch.stack([red, green, blue, red, green], 1) * 3 / 5)
    assert report.surprises == ["conv1.weight: turned to (I, J), 3 channels taken in turn for 5"]


def test_kernels_that_are_flat_in_3d_are_those_of_the_file(write):
    photographs = Backbone("resnet18", width=0.125).build(2, 1)
    path = write(photographs.state_dict())
    for inflation in ("centre", "mean"):
        encoder = Backbone("resnet18", width=0.125, flat_levels=2).build(3, 1)
        report = load_encoder_weights(encoder, path, inflation)
        assert encoder.conv1.weight.shape == (8, 1, 7, 7, 1)
        assert torch.equal(encoder.conv1.weight[..., 0], photographs.conv1.weight.rot90(-1, (2, 3)))
        assert report.adapted["conv1.weight"] == "turned to (I, J), given a third axis"
        assert report.adapted["layer4.0.conv1.weight"] == f"turned to (I, J), inflated ({inflation})"
        assert report.adapted["layer2.0.downsample.0.weight"] == "given a third axis"
        assert "layer1.0.bn1.running_mean" in report.matched


class TestModelsOfMedseg:
    def test_slices_network_begins_a_volumes_and_nothing_is_turned(self, tmp_path):
        options = {"encoder": "resnet18", "width": 0.125, "norm": "instance"}
        slices = build_network("deeplabv3plus", 2, 1, 3, **options)
        save_file(slices.state_dict(), tmp_path / "weights.safetensors")
        volumes = build_network("deeplabv3plus", 3, 1, 2, **options)
        report = load_encoder_weights(volumes, tmp_path / "weights.safetensors")
        assert report.missing == report.unused == ()
        assert torch.equal(volumes.encoder.conv1.weight[..., 3], slices.encoder.conv1.weight)
        assert not volumes.encoder.conv1.weight[..., 0].any()

    @pytest.mark.parametrize("prefix", ["encoder.", ""])
    def test_volumes_network_gives_its_encoder_as_it_is(self, write, prefix):
        first, second = (Backbone("resnet18", width=0.125).build(3, 1) for _ in range(2))
        report = load_encoder_weights(second, write({prefix + key: v for key, v in first.state_dict().items()}))
        assert report.adapted == {}
        assert torch.equal(second.layer1[0].conv1.weight, first.layer1[0].conv1.weight)


class TestLayersThatNoClassifierHas:
    def test_cascade_of_deeplabv3(self, write):
        path = write(Backbone("resnet18", width=0.125).build(2, 3).state_dict())
        network = build_network("deeplabv3", 2, 3, 2, encoder="resnet18", width=0.125, cascade=1)
        report = load_encoder_weights(network, path)
        assert {key.split(".")[0] for key in report.missing} == {"layer5"}
        assert report.surprises[0].startswith("not in the file, start from random weights: layer5.0.conv1, ")

    def test_last_transition_of_denseaspp_and_the_norm_behind_it(self, write):
        path = write(Backbone("densenet121", 32, width=0.125).build(2, 3).state_dict())
        encoder = Backbone("densenet121", 8, width=0.125).build(2, 3, last_transition=True)
        report = load_encoder_weights(encoder, path)
        layers = {key.rpartition(".")[0] for key in report.missing}
        assert layers == {"features.transition4.norm", "features.transition4.conv", "features.norm5"}
        assert {key.rpartition(".")[0] for key in report.unused} == {"features.norm5"}
        own = write({f"encoder.{key}": value for key, value in encoder.state_dict().items()}, "own.pth")
        again = Backbone("densenet121", 8, width=0.125).build(2, 3, last_transition=True)
        assert load_encoder_weights(again, own).missing == ()

    def test_encoder_may_stop_before_the_classifiers_last_stage(self, write):
        path = write(VGG16(2, 3, width=0.125, norm="batch").state_dict())
        segnet = build_network("segnet", 2, 3, 2, width=0.125, stages=4)
        report = load_encoder_weights(segnet, path)
        assert report.missing == ()
        assert {int(key.split(".")[1]) for key in report.unused} == {34, 35, 37, 38, 40, 41}


class TestRefused:
    @pytest.mark.parametrize(
        ("file", "asked", "text"),
        [
            (("resnet34", {}), ("resnet18", {}), "seems to be from resnet34, and the network has resnet18"),
            (("resnet18", {}), ("resnet34", {}), "seems to be from resnet18, and the network has resnet34"),
            (("resnet50", {}), ("densenet121", {}), "seems to be from resnet50, and the network has densenet121"),
            (("densenet169", {}), ("densenet121", {}), "from densenet169, and the network has densenet121"),
            (("resnet50", {"stem": "c"}), ("resnet50", {"stem": "s"}), "stem: c, and the network has resnet50 with"),
            (("resnet50", {"stem": "s"}), ("resnet50", {}), "from resnet50 with stem: s, and the network has resnet50"),
            (
                ("vgg16", {}),
                ("vgg16", {"norm": "none"}),
                r"\(vgg16_bn\), and the network has vgg16 with norm: none",
            ),
            (("vgg16", {"norm": "none"}), ("vgg16", {}), "norm: none, and the network has vgg16 with norm: batch"),
            (("resnet18", {}), ("resnet18", {"width": 0.5}), "and the network has resnet18 of another width"),
        ],
    )
    def test_another_encoder_is_named_with_the_one_asked_for(self, write, file, asked, text):
        path = write(classifier(file[0], **file[1]))
        with pytest.raises(CheckpointError, match=f"a weights file of another encoder: it .*{text}"):
            load_encoder_weights(on_meta(asked[0], **asked[1]), path)

    def test_net_that_medseg_does_not_have(self, write):
        state = {f"blocks.{n}.conv_pw.weight": empty((8, 8, 1, 1)) for n in range(20)}
        with pytest.raises(CheckpointError, match="another encoder, and of none that medseg has; the network has mobi"):
            load_encoder_weights(on_meta("mobilenet_v2"), write(state))

    @pytest.mark.parametrize("norm", ["instance", "group", "none"])
    def test_another_norm(self, write, norm):
        with pytest.raises(CheckpointError, match=r"does not fit resnet18: .*; .* go with network\.norm: batch"):
            load_encoder_weights(on_meta("resnet18", norm=norm), write(classifier("resnet18")))

    def test_volumes_weights_for_slices(self, write):
        state = {key: empty(value.shape) for key, value in on_meta("resnet18", dims=3).state_dict().items()}
        with pytest.raises(
            CheckpointError,
            match=r"does not fit resnet18: 20 tensors of another shape \(first: conv1.weight, 64 x 3 x 7 x 7 x 7 in "
            r"the file and 64 x 3 x 7 x 7 in the network\)",
        ):
            load_encoder_weights(on_meta("resnet18"), write(state))

    def test_one_missing_tensor_and_nothing_is_loaded(self, write):
        state = Backbone("resnet18", width=0.125).build(2, 3).state_dict()
        del state["layer3.1.bn2.running_var"]
        encoder = Backbone("resnet18", width=0.125).build(2, 3)
        before = {key: value.clone() for key, value in encoder.state_dict().items()}
        with pytest.raises(CheckpointError, match=r"1 tensors not in the file \(first: layer3.1.bn2.running_var\)"):
            load_encoder_weights(encoder, write(state))
        assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


class Code:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


class TestNotAWeightsFile:
    def _refusal(self, path):
        with pytest.raises(CheckpointError) as caught:
            load_encoder_weights(on_meta("resnet18"), path)
        return str(caught.value)

    @pytest.mark.parametrize("by", ["torch", "pickle"])
    def test_code_is_not_run(self, tmp_path, by):
        path, trace = tmp_path / "evil.pth", tmp_path / "trace"
        if by == "torch":
            torch.save({"conv1.weight": Code(trace)}, path)
        else:
            path.write_bytes(pickle.dumps(Code(trace), protocol=2))
        assert "not a weights file: expected tensors saved by torch.save" in self._refusal(path)
        assert not trace.exists()

    def test_whole_network(self, write):
        assert "what may hold code is not opened" in self._refusal(write(nn.Conv2d(3, 8, 3)))

    def test_checkpoint_with_more_than_tensors(self, write):
        text = self._refusal(write({"state_dict": classifier("resnet18"), "epoch": 3}))
        assert "found state_dict, epoch; save the state dict by itself" in text

    def test_list(self, write):
        assert "found list" in self._refusal(write([torch.zeros(3)]))

    @pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
    @pytest.mark.parametrize("content", [b"", b"neither one nor the other"])
    def test_rubbish(self, tmp_path, name, content):
        (tmp_path / name).write_bytes(content)
        assert f"{name}: not a weights file" in self._refusal(tmp_path / name)

    def test_truncated(self, write, tmp_path):
        whole = write({"conv1.weight": torch.zeros(64, 3, 7, 7)}).read_bytes()
        (tmp_path / "half.pth").write_bytes(whole[: len(whole) // 2])
        assert "not a weights file" in self._refusal(tmp_path / "half.pth")

    def test_no_file(self, tmp_path):
        assert self._refusal(tmp_path / "none.pth") == f"{tmp_path / 'none.pth'}: no such weights file"


class UNet(nn.Module):
    """Has no encoder."""


def test_encoder_of_a_network_and_of_one_without():
    segnet = build_network("segnet", 2, 1, 2, width=0.125)
    assert encoder_of(segnet) is encoder_of(segnet.encoder) is segnet.encoder
    with pytest.raises(ConfigError, match=r"network\.encoder_weights: UNet has no encoder that takes pretrained weig"):
        encoder_of(UNet())


def test_report_is_one_line():
    report = WeightsReport(
        matched=("bn1.weight", "bn1.bias"),
        adapted={"conv1.weight": "3 channels summed", "a.weight": "turned to (I, J)", "b.weight": "turned to (I, J)"},
        missing=(),
        unused=("fc.weight", "fc.bias"),
    )
    assert str(report) == (
        "5 tensors loaded, 2 of them as they are; 3 channels summed: 1; turned to (I, J): 2; not used: fc"
    )
