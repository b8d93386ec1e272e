"""A model folder that is not whole says so, and nothing in it is executed."""

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from medseg.errors import CheckpointError
from medseg.model.crf import CRF
from medseg.model.folder import load_network, load_weights, model_classes, model_folder, read_spec, save_model
from medseg.model.inference import Locate
from medseg.networks import build_network


def load(folder):
    folder = model_folder(folder)
    return load_network(folder, read_spec(folder))


def rewrite(folder, **changes):
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
def test_missing_file_is_named(model, name):
    folder, *_ = model()
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"no {name}"):
        load(folder)


@pytest.mark.parametrize("keep", [0, 4, 200, -1])
def test_weights_cut_short_are_refused(model, keep):
    folder, *_ = model()
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load(folder)


def test_weights_of_another_network_are_refused_with_numbers(model):
    folder, *_ = model()
    other = build_network("segnet", 3, 1, 3, width=0.125, stages=4)
    save_file(other.state_dict(), folder / "weights.safetensors")
    with pytest.raises(
        CheckpointError, match=r"does not fit the network 'unet': \d+ tensors missing, \d+ unexpected, 0 of"
    ):
        load(folder)


def test_weights_of_other_options_are_refused_with_the_first_tensor(model):
    folder, network, _ = model()
    rewrite(folder, classes={"names": ["liver", "tumour", "vessel"]})
    with pytest.raises(CheckpointError, match=r"0 tensors missing, 0 unexpected, \d+ of another shape \(first: unet"):
        load(folder)
    weights = load_file(folder / "weights.safetensors")
    del weights[min(weights)]
    with pytest.raises(CheckpointError, match="here does not fit the network 'n': 1 tensors missing"):
        load_weights(network, weights, "here", "n")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '"x"', "{}", "\x00\xff"])
def test_description_that_is_none_is_refused(model, text):
    folder, *_ = model()
    (folder / "model.json").write_text(text, encoding="latin-1")
    with pytest.raises(CheckpointError, match="not a model description"):
        load(folder)


def test_pickle_in_place_of_weights_is_never_opened(model, tmp_path):
    class Harm:
        def __reduce__(self):
            return (open, (str(tmp_path / "harm"), "w"))

    folder, *_ = model()
    for content in (pickle.dumps(Harm()), pickle.dumps({"weight": Harm()}, protocol=0)):
        (folder / "weights.safetensors").write_bytes(content)
        with pytest.raises(CheckpointError, match="not a whole safetensors file"):
            load(folder)
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


def test_what_is_saved_is_what_is_read(model):
    for mode in ("slice", "slab", "patch"):
        folder, _, spec = model(mode, crf=CRF(axes=2), locate=Locate(), memory_gib=2.5)
        assert read_spec(folder) == spec


def test_classes_are_known_without_the_weights(model):
    folder, *_ = model()
    assert model_classes(folder).names == ("liver", "tumour")
