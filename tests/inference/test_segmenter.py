"""A model folder is all that is needed, and a folder that is not whole says so."""

import json
import pickle
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import medseg
from medseg.errors import CheckpointError, StudyError
from medseg.inference.crf import CRFSettings, mean_field
from medseg.inference.model import load_segmenter, load_weights, pick_device, save_model
from medseg.inference.segmenter import Segmenter
from medseg.inference.sliding_window import predict_logits
from medseg.networks import build_network
from medseg.study.nifti import write_image
from medseg.study.phantom import SMALL, make_phantom
from medseg.transforms.preprocessing import preprocess
from medseg.transforms.restore import restore
from medseg.types import Grid, ModelSpec, Volume


class Threshold(torch.nn.Module):
    """Liver where the image is above one half, tumour where above nine tenths."""

    def forward(self, x):
        return torch.cat([0.5 - x, x - 0.5, 2 * x - 1.4], dim=1)


def spec_of(network="unet", **changes):
    values = {"options": {}, "spatial_dims": 3, "in_channels": 1, "class_names": ("liver", "tumour"), "mode": "patch"}
    values |= {"slab_neighbours": 0, "preprocessing": {"intensity_range_hu": (0.0, 100.0), "crop_to_body": False}}
    return ModelSpec(network, **{**values, "inference": {"size": (4, 4, 4)}, **changes})


def rewrite(folder, **changes):
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def same_classes(a, b, image):
    first = a.segment(image)
    assert len(np.unique(first)) > 1  # random weights that see nothing would compare nothing
    return np.array_equal(first, b.segment(image))


@pytest.mark.parametrize("mode", ["patch", "slice", "slab"])
def test_saved_and_loaded_model_segments_as_the_one_in_memory(model, mode):
    folder, network, spec = model(mode)
    loaded = load_segmenter(folder, "cpu")
    image, _ = make_phantom(3, 4, SMALL)  # oblique SAL
    assert same_classes(Segmenter(network, spec), loaded, image)
    assert loaded.segment(image).shape == image.voxels.shape
    assert loaded.spec.class_names == ("liver", "tumour")
    assert not loaded.network.training
    assert sorted(p.name for p in folder.iterdir()) == ["model.json", "weights.safetensors"]


def test_run_folder_and_text_lead_to_the_model_too(model, tmp_path):
    folder, *_ = model(folder=tmp_path / "run" / "model")
    image, _ = make_phantom(3, 0, SMALL)
    assert same_classes(load_segmenter(folder), medseg.load_segmenter(str(tmp_path / "run"), "cpu"), image)


def test_classes_are_numbered_in_the_order_of_their_names():
    voxels = np.array([[10, 60, 70, 99], [95, 45, 55, 92]], np.int16).reshape(2, 4, 1)
    classes = Segmenter(Threshold(), spec_of()).segment_array(voxels, np.diag([-1.0, 2.0, 3.0, 1.0]))
    assert classes[..., 0].tolist() == [[0, 1, 1, 2], [2, 0, 1, 2]]
    assert classes.dtype == np.uint8


def test_only_the_classes_asked_for_keep_their_largest_piece():
    voxels = np.array([99, 0, 60, 70, 0, 60, 0, 99], np.float32).reshape(8, 1, 1)
    kept = spec_of(inference={"size": (4, 4, 4), "keep_largest": ["liver"]})
    classes = Segmenter(Threshold(), kept).segment_array(voxels, np.eye(4))
    assert classes.flatten().tolist() == [2, 0, 1, 1, 0, 0, 0, 2]
    assert voxels.max() == 99  # the caller's own array


@pytest.mark.parametrize(("least", "expected"), [(0.3, [0, 0, 1, 2, 0, 0, 0, 0]), (0.35, [0, 0, 1, 1, 0, 0, 0, 0])])
def test_thresholds_decide_and_then_the_steps_of_the_section_run(least, expected):
    # of 70 HU, x 0.7 and logits (-0.2, 0.2, 0), the tumour has a probability of 0.33
    voxels = np.array([99, 0, 60, 70, 0, 60, 0, 99], np.float32).reshape(8, 1, 1)
    steps = {"thresholds": {"tumour": least}, "keep_largest": ["liver"], "inside": {"tumour": {"of": ["liver"]}}}
    cleaned = Segmenter(Threshold(), spec_of(inference={"size": (4, 4, 4), "postprocess": steps}))
    assert cleaned.segment_array(voxels, np.eye(4)).flatten().tolist() == expected


CRF = {"iterations": 3, "smoothness_weight": 0.2, "appearance_weight": 0.2, "appearance_mm": 30.0, "axes": 2}


@pytest.mark.parametrize("mode", ["patch", "slice", "slab"])
def test_crf_and_scales_travel_with_the_model(model, mode):
    image, _ = make_phantom(3, 4, SMALL)
    plain = Segmenter(*model(mode)[1:]).segment(image)
    for changes in ({"crf": CRF}, {"scales": (0.5, 1.0), "scale_fusion": "max"}):
        folder, network, spec = model(mode, **changes)
        assert same_classes(Segmenter(network, spec), load_segmenter(folder, "cpu"), image)
        assert not np.array_equal(load_segmenter(folder, "cpu").segment(image), plain)


def test_crf_works_on_the_network_grid(model):
    _, network, spec = model("patch", crf=CRF)
    image, _ = make_phantom(3, 4, SMALL)
    segmenter = Segmenter(network, spec)
    study = preprocess(image, segmenter.preprocessing)
    logits = predict_logits(network, study.image, segmenter.windows, 3)
    logits = mean_field(logits, study.image, study.grid.spacing_mm, CRFSettings(**CRF))
    assert np.array_equal(segmenter.segment(image), restore(logits, study))


def test_model_of_before_crf_and_scales_still_loads(model):
    folder, network, spec = model()
    assert not {"crf", "scales", "scale_fusion"} & json.loads((folder / "model.json").read_text())["inference"].keys()
    today = {**spec.inference, "crf": None, "scales": (1.0,), "scale_fusion": "mean"}
    image, _ = make_phantom(3, 4, SMALL)
    assert same_classes(load_segmenter(folder, "cpu"), Segmenter(network, replace(spec, inference=today)), image)


@pytest.mark.parametrize(
    "changes", [{"crf": {"iterations": 0}}, {"crf": {"sigma": 1}}, {"scales": []}, {"crf": True}], ids=str
)
def test_inference_settings_out_of_range_are_refused(model, changes):
    folder, *_ = model(**changes)
    with pytest.raises(CheckpointError, match="not usable by this medseg"):
        load_segmenter(folder)


@pytest.mark.parametrize("codes", [(1, 2), (0, 1), (4, 0)])
def test_segmentation_has_exactly_the_geometry_of_its_image(tmp_path, codes):
    image, _ = make_phantom(3, 4, SMALL)
    header = image.header.copy()
    header.set_qform(image.grid.affine, codes[0])
    header.set_sform(image.grid.affine, codes[1])
    header.set_xyzt_units("mm", "sec")
    write_image(tmp_path / "ct.nii.gz", image.voxels, Volume(image.voxels, image.grid, header))
    Segmenter(Threshold(), spec_of()).segment_file(tmp_path / "ct.nii.gz", tmp_path / "out" / "seg.nii.gz")
    before, after = (nib.load(tmp_path / name) for name in ("ct.nii.gz", "out/seg.nii.gz"))
    assert after.shape == before.shape
    assert np.array_equal(after.affine, before.affine)
    for name in ("qform_code", "sform_code", "xyzt_units", "pixdim", "quatern_b", "qoffset_x", "srow_x", "srow_z"):
        assert np.array_equal(after.header[name], before.header[name]), name
    assert after.get_data_dtype() == np.uint8
    expected = np.digitize(image.voxels, [50.001, 90.001])
    assert (np.asarray(after.dataobj) == expected).mean() > 0.999


def test_image_is_never_replaced_by_its_own_segmentation(tmp_path):
    path = tmp_path / "ct.nii"
    write_image(path, np.zeros((4, 4, 4), np.int16), Grid((4, 4, 4), np.eye(4)))
    before = path.read_bytes()
    (tmp_path / "link.nii").symlink_to(path)
    for output in (path, tmp_path / "x" / ".." / "ct.nii", tmp_path / "link.nii"):
        with pytest.raises(StudyError, match="choose another output"):
            Segmenter(Threshold(), spec_of()).segment_file(path, output)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
def test_missing_file_is_named(model, name):
    folder, *_ = model()
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"no {name}"):
        load_segmenter(folder)


@pytest.mark.parametrize("keep", [0, 4, 200, -1])
def test_weights_cut_short_are_refused(model, keep):
    folder, *_ = model()
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_segmenter(folder)


def test_weights_of_another_network_are_refused_with_numbers(model):
    folder, *_ = model()
    other = build_network("segnet", 3, 1, 3, width=0.125, stages=4)
    save_file(other.state_dict(), folder / "weights.safetensors")
    with pytest.raises(
        CheckpointError, match=r"does not fit the network 'unet': \d+ tensors missing, \d+ unexpected, 0 of"
    ):
        load_segmenter(folder)


def test_weights_of_other_options_are_refused_with_the_first_tensor(model):
    folder, network, _ = model()
    rewrite(folder, class_names=["liver", "tumour", "vessel"])
    with pytest.raises(CheckpointError, match=r"0 tensors missing, 0 unexpected, \d+ of another shape \(first: unet"):
        load_segmenter(folder)
    weights = load_file(folder / "weights.safetensors")
    del weights[min(weights)]
    with pytest.raises(CheckpointError, match="here does not fit the network 'n': 1 tensors missing"):
        load_weights(network, weights, "here", "n")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 2, and this medseg reads format 1"),
        ({"format": None}, "format None"),
        ({"colour": 1}, "expected the keys"),
        ({"network": "unet9"}, "unknown network 'unet9'"),
        ({"network": "os.system"}, "unknown network"),
        ({"options": {"channels": [2, 4], "strides": [2], "_target_": "os.system"}}, "unknown option"),
        ({"options": 3}, "not usable"),
        ({"spatial_dims": 4}, "spatial_dims"),
        ({"class_names": "liver"}, "expected a list, found 'liver'"),
        ({"preprocessing": {"spacing": [1, 1, 1]}}, "unexpected keyword argument 'spacing'"),
        ({"preprocessing": {"intensity_range_hu": [5, 5]}}, "intensity_range_hu"),
        ({"preprocessing": []}, "not usable"),
        ({"inference": {"size": [16, 16, 16], "roi": 3}}, "unexpected keyword argument 'roi'"),
        ({"inference": {"size": [16, 16, 16], "overlap": 1.5}}, "overlap"),
        ({"inference": {"size": "large"}}, "not usable"),
        ({"inference": {}}, "size"),
        ({"inference": {"size": [16, 16, 16], "keep_largest": ["spleen"]}}, "not in"),
        ({"inference": {"size": [16, 16, 16], "postprocess": {"smooth": ["liver"]}}}, "smooth"),
        ({"inference": {"size": [16, 16, 16], "postprocess": 3}}, "not usable"),
    ],
)
def test_description_that_this_medseg_cannot_use_is_refused(model, changes, message):
    folder, *_ = model()
    rewrite(folder, **changes)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_segmenter(folder)
    assert str(folder / "model.json") in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '"x"', "{}", "\x00\xff"])
def test_description_that_is_none_is_refused(model, text):
    folder, *_ = model()
    (folder / "model.json").write_text(text, encoding="latin-1")
    with pytest.raises(CheckpointError, match="not a model description"):
        load_segmenter(folder)


def test_pickle_in_place_of_weights_is_never_opened(model, tmp_path):
    class Harm:
        def __reduce__(self):
            return (open, (str(tmp_path / "harm"), "w"))

    folder, *_ = model()
    for content in (pickle.dumps(Harm()), pickle.dumps({"weight": Harm()}, protocol=0)):
        (folder / "weights.safetensors").write_bytes(content)
        with pytest.raises(CheckpointError, match="not a whole safetensors file"):
            load_segmenter(folder)
    assert not (tmp_path / "harm").exists()


def test_failed_save_leaves_the_old_model_whole(model, monkeypatch):
    folder, network, spec = model()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with torch.no_grad():
        next(network.parameters()).add_(1.0)

    def full(tensors, path):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space"):
        save_model(folder, network, spec)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_device_is_what_is_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu", 1) == torch.device("cpu")
    with pytest.raises(CheckpointError, match="found none; use auto or cpu"):
        pick_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto", 1) == torch.device("cuda:1")
    assert pick_device("cuda") == torch.device("cuda")
