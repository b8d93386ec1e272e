"""A model folder is all that is needed, and a folder that is not whole says so."""

import json
from dataclasses import replace

import numpy as np
import pytest

import medseg
from medseg.errors import CheckpointError
from medseg.inference.load import load_segmenter
from medseg.inference.segmenter import Segmenter
from medseg.model.folder import copy_model
from medseg.phantom.make import SMALL, make_phantom


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
