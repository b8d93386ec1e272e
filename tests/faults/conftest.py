"""The generators of bad studies beside this file are modules that its tests import; the model is a tiny one."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """A model folder: a U-Net of random weights, resampling to 4 mm."""
    from medseg.model.classes import Classes
    from medseg.model.folder import save_model
    from medseg.model.inference import Inference
    from medseg.model.spec import ModelSpec
    from medseg.model.view import View
    from medseg.networks import build_network
    from medseg.transforms.settings import Preprocessing

    options = {"channels": [2, 4], "strides": [2], "num_res_units": 0, "norm": "instance"}
    spec = ModelSpec(
        network="unet",
        options=options,
        classes=Classes(("liver", "tumour")),
        view=View(),
        preprocessing=Preprocessing(spacing_mm=(4.0, 4.0, 4.0), intensity_range_hu=(-100.0, 240.0)),
        inference=Inference(window_size=(32, 32, 32), overlap=0.25),
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("faults") / "model"
    save_model(folder, build_network("unet", 3, 1, 3, **options), spec)
    return folder
