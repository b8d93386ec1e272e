"""A model folder is all that is needed, and a folder that is not whole says so."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import medseg
from medseg.errors import CheckpointError
from medseg.inference.model import copy_model, load_segmenter, load_weights, pick_device, save_model
from medseg.inference.segmenter import Segmenter
from medseg.networks import build_network
from medseg.study.phantom import SMALL, make_phantom


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


def test_coarse_model_travels_inside_the_model(model, tmp_path):
    coarse, *_ = model(folder=tmp_path / "coarse" / "model")
    folder, *_ = model(folder=tmp_path / "model", locate={"model": "locate", "classes": ["liver"]})
    copy_model(coarse.parent, folder / "locate")
    segmenter = load_segmenter(folder, "cpu")
    assert segmenter.coarse is not None
    assert segmenter.locate.classes == ("liver",)
    assert segmenter.coarse.preprocessing.spacing_mm == (6.0, 6.0, None)
    with pytest.raises(CheckpointError, match=r"no model\.json"):
        copy_model(tmp_path / "nowhere", folder / "locate")


def test_same_weights_may_look_at_a_coarser_grid(model):
    folder, *_ = model(locate={"spacing_mm": 9.0})
    segmenter = load_segmenter(folder, "cpu", memory_gib=3.0)
    assert segmenter.coarse.preprocessing.spacing_mm == (9.0, 9.0, 9.0)
    assert segmenter.coarse.windows.flip_axes == ()
    assert segmenter.coarse.coarse is None
    assert segmenter.memory_gib == 3.0
