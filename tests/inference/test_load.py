"""A model folder is all that is needed, and a folder that is not whole says so."""

import numpy as np
import pytest

import medseg
from medseg.errors import CheckpointError
from medseg.inference.load import load_segmenter
from medseg.inference.segmenter import Segmenter
from medseg.model.folder import copy_model
from medseg.model.inference import Locate
from medseg.phantom.make import SMALL, make_phantom


def same_classes(a, b, image):
    first = a.segment(image).classes
    assert len(np.unique(first)) > 1  # random weights that see nothing would compare nothing
    return np.array_equal(first, b.segment(image).classes)


@pytest.mark.parametrize("mode", ["patch", "slice", "slab"])
def test_saved_and_loaded_model_segments_as_the_one_in_memory(model, mode):
    folder, network, spec = model(mode)
    loaded = load_segmenter(folder, "cpu")
    image, _ = make_phantom(3, 4, SMALL)  # oblique SAL
    assert same_classes(Segmenter((network,), spec), loaded, image)
    assert loaded.segment(image).classes.shape == image.voxels.shape
    assert loaded.spec == spec
    assert not any(n.training for n in loaded.networks)
    assert sorted(p.name for p in folder.iterdir()) == ["model.json", "weights.safetensors"]


def test_run_folder_and_text_lead_to_the_model_too(model, tmp_path):
    folder, *_ = model(folder=tmp_path / "run" / "model")
    image, _ = make_phantom(3, 0, SMALL)
    assert same_classes(load_segmenter(folder), medseg.load_segmenter(str(tmp_path / "run"), "cpu"), image)


def test_coarse_model_travels_inside_the_model(model, tmp_path):
    coarse, *_ = model(folder=tmp_path / "coarse" / "model")
    folder, *_ = model(folder=tmp_path / "model", locate=Locate(model="locate", classes=["liver"]))
    copy_model(coarse.parent, folder / "locate")
    segmenter = load_segmenter(folder, "cpu")
    assert segmenter.coarse is not None
    assert segmenter.coarse.spec.preprocessing.spacing_mm == (6.0, 6.0, None)
    with pytest.raises(CheckpointError, match=r"no model\.json"):
        copy_model(tmp_path / "nowhere", folder / "locate")


def test_same_weights_may_look_at_a_coarser_grid(model):
    folder, *_ = model(locate=Locate(spacing_mm=9.0))
    segmenter = load_segmenter(folder, "cpu", memory_gib=3.0)
    assert segmenter.coarse.spec.preprocessing.spacing_mm == (9.0, 9.0, 9.0)
    assert segmenter.coarse.spec.inference.flip_axes == ()
    assert segmenter.coarse.coarse is None
    assert segmenter.spec.inference.memory_gib == 3.0


def test_coarse_class_that_is_none_is_refused_with_the_models_name(model):
    folder, *_ = model(locate=Locate(classes=["lung"]))
    with pytest.raises(CheckpointError, match=r"model\.json: not usable by this medseg \(.*no 'lung'"):
        load_segmenter(folder, "cpu")


def test_runtime_is_the_coarse_passs_too(model):
    folder, *_ = model(locate=Locate(spacing_mm=9.0))
    image, _ = make_phantom(3, 0, SMALL)
    plain, faster = load_segmenter(folder, "cpu"), load_segmenter(folder, "cpu", backend="openvino")
    assert all(len(s.runners) == 1 and s.runners != s.networks for s in (faster, faster.coarse))
    assert (plain.segment(image).classes == faster.segment(image).classes).mean() > 0.999


def test_runtime_that_knows_no_scales_leaves_them_to_torch(model, caplog):
    folder, *_ = model(scales=(0.5, 1.0))
    assert load_segmenter(folder, "cpu", backend="openvino").runners == ()
    assert "works on the CPU at scale 1" in caplog.text
