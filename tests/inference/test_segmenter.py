"""A model folder is all that is needed, and a folder that is not whole says so."""

import copy
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from medseg.errors import CheckpointError, ConfigError, StudyError
from medseg.inference.crf import mean_field
from medseg.inference.load import load_segmenter
from medseg.inference.request import Request
from medseg.inference.segmenter import Segmenter
from medseg.model.classes import Classes
from medseg.model.crf import CRF
from medseg.model.folder import save_model
from medseg.model.inference import Inference, Locate
from medseg.model.postprocess import PostProcessing
from medseg.model.spec import ModelSpec
from medseg.model.view import View
from medseg.phantom.make import SMALL, make_phantom
from medseg.study.geometry import reorient_like
from medseg.study.nifti import write_image
from medseg.transforms.preprocessing import preprocess
from medseg.transforms.restore import restore
from medseg.transforms.settings import Preprocessing
from medseg.types import Grid, Volume


class Threshold(torch.nn.Module):
    """Liver where the image is above one half, tumour where above nine tenths."""

    def forward(self, x):
        return torch.cat([0.5 - x, x - 0.5, 2 * x - 1.4], dim=1)


WHOLE = Preprocessing(intensity_range_hu=(0.0, 100.0), crop_to_body=False)


def spec_of(preprocessing=WHOLE, **inference):
    windows = Inference(**{"window_size": (4, 4, 4), **inference})
    return ModelSpec("unet", {}, Classes(("liver", "tumour")), View(), preprocessing, windows)


def threshold(**inference):
    return Segmenter((Threshold(),), spec_of(**inference))


def same_classes(a, b, image):
    first = a.segment(image).classes
    assert len(np.unique(first)) > 1  # random weights that see nothing would compare nothing
    return np.array_equal(first, b.segment(image).classes)


def logits_of(network, spec, study):
    """All of a study's logits at once."""
    return torch.cat(list(Segmenter((network,), spec).predict(study))).permute(1, 2, 3, 0)


def test_classes_are_numbered_in_the_order_of_their_names():
    voxels = np.array([[10, 60, 70, 99], [95, 45, 55, 92]], np.int16).reshape(2, 4, 1)
    classes = threshold().segment_array(voxels, np.diag([-1.0, 2.0, 3.0, 1.0]))
    assert classes[..., 0].tolist() == [[0, 1, 1, 2], [2, 0, 1, 2]]
    assert classes.dtype == np.uint8


def test_only_the_classes_asked_for_keep_their_largest_piece():
    voxels = np.array([99, 0, 60, 70, 0, 60, 0, 99], np.float32).reshape(8, 1, 1)
    classes = threshold(postprocess=PostProcessing(keep_largest=("liver",))).segment_array(voxels, np.eye(4))
    assert classes.flatten().tolist() == [2, 0, 1, 1, 0, 0, 0, 2]
    assert voxels.max() == 99  # the caller's own array


@pytest.mark.parametrize(("least", "expected"), [(0.3, [0, 0, 1, 2, 0, 0, 0, 0]), (0.35, [0, 0, 1, 1, 0, 0, 0, 0])])
def test_thresholds_decide_and_then_the_steps_of_the_section_run(least, expected):
    # of 70 HU, x 0.7 and logits (-0.2, 0.2, 0), the tumour has a probability of 0.33
    voxels = np.array([99, 0, 60, 70, 0, 60, 0, 99], np.float32).reshape(8, 1, 1)
    steps = {"thresholds": {"tumour": least}, "keep_largest": ["liver"], "inside": {"tumour": {"of": ["liver"]}}}
    cleaned = threshold(postprocess=PostProcessing(**steps))
    assert cleaned.segment_array(voxels, np.eye(4)).flatten().tolist() == expected


def test_a_request_cleans_otherwise_without_changing_the_segmenter():
    voxels = np.array([99, 0, 60, 70, 0, 60, 0, 99], np.float32).reshape(8, 1, 1)
    image = Volume(voxels, Grid((8, 1, 1), np.eye(4)))
    segmenter = threshold(postprocess=PostProcessing(keep_largest=("liver",)))
    own = segmenter.segment(image).classes.ravel().tolist()
    raw = segmenter.segment(image, Request(postprocess=PostProcessing())).classes.ravel().tolist()
    other = PostProcessing(thresholds={"tumour": 0.3}, keep_largest=("tumour",))
    assert own == [2, 0, 1, 1, 0, 0, 0, 2]
    assert raw == [2, 0, 1, 1, 0, 1, 0, 2]
    assert segmenter.segment(image, Request(postprocess=other)).classes.ravel().tolist() == [2, 0, 1, 0, 0, 1, 0, 0]
    assert segmenter.segment(image).classes.ravel().tolist() == own


def test_the_stages_by_hand_are_a_segmentation():
    image, _ = make_phantom(3, 4, SMALL)
    segmenter = threshold(postprocess=PostProcessing(keep_largest=("liver",)))
    study = segmenter.prepare(image)
    raw = segmenter.restore(segmenter.predict(study), study)
    by_hand = segmenter.clean(raw, image.grid)
    assert not np.array_equal(raw.classes, by_hand.classes)
    assert np.array_equal(by_hand.classes, segmenter.segment(image).classes)


CRF_2D = CRF(iterations=3, smoothness_weight=0.2, appearance_weight=0.2, appearance_mm=30.0, axes=2)


@pytest.mark.parametrize("mode", ["patch", "slice", "slab"])
def test_crf_and_scales_travel_with_the_model(model, mode):
    image, _ = make_phantom(3, 4, SMALL)
    _, network, spec = model(mode)
    plain = Segmenter((network,), spec).segment(image).classes
    for changes in ({"crf": CRF_2D}, {"scales": (0.5, 1.0), "scale_fusion": "max"}):
        folder, network, spec = model(mode, **changes)
        assert same_classes(Segmenter((network,), spec), load_segmenter(folder, "cpu"), image)
        assert not np.array_equal(load_segmenter(folder, "cpu").segment(image).classes, plain)


def test_crf_works_on_the_network_grid(model):
    _, network, spec = model("patch", crf=CRF_2D)
    image, _ = make_phantom(3, 4, SMALL)
    study = preprocess(image, spec.preprocessing)
    logits = logits_of(network, replace(spec, inference=replace(spec.inference, crf=None)), study)
    logits = mean_field(logits, study.image, study.grid.spacing_mm, CRF_2D)
    assert np.array_equal(
        Segmenter((network,), spec).segment(image).classes, restore(logits, study, spec.classes.decide)
    )


@pytest.mark.parametrize("codes", [(1, 2), (0, 1), (4, 0)])
def test_segmentation_has_exactly_the_geometry_of_its_image(tmp_path, codes):
    image, _ = make_phantom(3, 4, SMALL)
    header = image.header.copy()
    header.set_qform(image.grid.affine, codes[0])
    header.set_sform(image.grid.affine, codes[1])
    header.set_xyzt_units("mm", "sec")
    write_image(tmp_path / "ct.nii.gz", image.voxels, Volume(image.voxels, image.grid, header))
    threshold().segment_file(tmp_path / "ct.nii.gz", tmp_path / "out" / "seg.nii.gz")
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
            threshold().segment_file(path, output)
    assert path.read_bytes() == before


def two_models(model, tmp_path):
    """Folders and networks of two models that differ in their weights alone."""
    first, network, spec = model(folder=tmp_path / "first")
    other = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)))
    save_model(tmp_path / "second", other, spec)
    return [first, tmp_path / "second"], [network, other], spec


def test_ensemble_decides_by_its_mean_probability(model, tmp_path):
    folders, networks, spec = two_models(model, tmp_path)
    image, _ = make_phantom(3, 4, SMALL)
    segmenter = load_segmenter(folders, "cpu")
    study = preprocess(image, spec.preprocessing)
    one, two = (logits_of(n, spec, study).softmax(dim=0) for n in networks)
    result = segmenter.segment(image, Request(("tumour",), "disagreement"))
    # windows are averaged before they are blended: the same but for rounding, blank windows aside
    agree = result.classes == restore((one + two) / 2, study, spec.classes.decide)
    assert agree.mean() > 0.98
    assert not np.array_equal(result.classes, Segmenter(tuple(networks[:1]), spec).segment(image).classes)
    assert list(result.probabilities) == ["tumour"]
    assert result.uncertainty is not None
    assert 0 < result.uncertainty.max() < 255


def test_models_that_do_not_go_together_are_refused(model, tmp_path):
    folders, network, spec = two_models(model, tmp_path)
    save_model(folders[1], network[1], replace(spec, classes=Classes(("liver", "lesion"))))
    with pytest.raises(CheckpointError, match=r"must agree in classes: expected .*tumour.* found .*lesion"):
        load_segmenter(folders)


def test_probability_and_entropy_come_back_on_the_studys_grid():
    voxels = np.array([0, 60, 70, 99], np.float32).reshape(4, 1, 1)
    wanted = Request(("tumour", "liver"), "entropy")
    result = threshold().segment(Volume(voxels, Grid((4, 1, 1), np.eye(4))), wanted)
    x = torch.from_numpy(voxels) / 100
    expected = torch.cat([0.5 - x, x - 0.5, 2 * x - 1.4], dim=1).softmax(dim=1)
    assert np.abs(result.probabilities["tumour"][:, 0, 0] / 255 - expected[:, 2, 0].numpy()).max() < 0.003
    assert np.abs(result.probabilities["liver"][:, 0, 0] / 255 - expected[:, 1, 0].numpy()).max() < 0.003
    sure = -(expected * expected.log()).sum(dim=1)[:, 0] / np.log(3)
    assert result.uncertainty is not None
    assert np.abs(result.uncertainty[:, 0, 0] / 255 - sure.numpy()).max() < 0.003


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(("spleen",)), "no 'spleen'"),
        (Request((), "disagreement"), "ensemble of two models or more"),
        (Request(postprocess=PostProcessing(fill_holes=("lung",))), "no 'lung'"),
    ],
)
def test_what_the_model_cannot_make_is_refused(request_, message):
    with pytest.raises(ConfigError, match=message):
        threshold().segment(bright_ball(), request_)


def bright_ball():
    """A body of 40 HU, 60 voxels of 2 mm wide, with a ball of 99 HU in one corner and a speck in the other."""
    voxels = np.full((64, 64, 64), -1000, np.int16)
    voxels[2:62, 2:62, 2:62] = 40
    axes = np.meshgrid(*(np.arange(64) - c for c in (18, 20, 22)), indexing="ij")
    voxels[sum(a**2 for a in axes) < 9**2] = 99
    voxels[50:53, 50:53, 50:53] = 70
    return Volume(voxels, Grid(voxels.shape, np.diag([-2.0, -2.0, 2.0, 1.0])))


def located(**settings):
    spec = spec_of(window_size=(16, 16, 16), locate=Locate(**settings))
    coarse = spec_of(Preprocessing(intensity_range_hu=(0.0, 100.0), spacing_mm=(5.0, 5.0, 5.0)))
    return Segmenter((Threshold(),), spec, coarse=Segmenter((Threshold(),), coarse))


def test_coarse_pass_leaves_the_full_pass_only_the_organs_box():
    image = bright_ball()
    whole = threshold(window_size=(16, 16, 16)).segment(image).classes
    result = located(classes=["tumour"], margin_mm=10.0).segment(image)
    assert (result.classes == 2).sum() == (whole == 2).sum() > 2000
    assert whole[51, 51, 51] == 1
    assert result.classes[51, 51, 51] == 0  # far from the organ: not looked at
    assert "coarse pass" in result.notes[0]


def test_a_class_that_the_coarse_model_does_not_have_is_refused():
    with pytest.raises(ConfigError, match="no 'lung'"):
        located(classes=["lung"])


def test_coarse_pass_that_finds_nothing_leaves_the_whole_body():
    image = bright_ball()
    result = located(classes=["tumour"], minimum_ml=100.0).segment(image)
    assert np.array_equal(result.classes, threshold().segment(image).classes)
    assert "whole body" in result.notes[0]


def budgeted(network, spec, memory_gib):
    return Segmenter((network,), replace(spec, inference=replace(spec.inference, memory_gib=memory_gib)))


def test_budget_of_memory_is_planned_before_it_is_spent(model):
    _, network, spec = model()
    image, _ = make_phantom(3, 0, SMALL)
    assert same_classes(budgeted(network, spec, 1000.0), Segmenter((network,), spec), image)
    with pytest.raises(StudyError, match=r"memory_gib 0.001, and it takes at least \d"):
        budgeted(network, spec, 0.001).segment(image)


def test_crf_takes_the_scores_of_all_slices_into_the_budget(model):
    image, _ = make_phantom(3, 0, SMALL)
    depths = []
    for crf in (None, CRF_2D):
        _, network, spec = model("slice", crf=crf)
        study = preprocess(image, spec.preprocessing)
        depths.append(Segmenter((network,), spec)._depth(study))
    assert depths == [4, study.grid.shape[2]]
    assert depths[1] > 4


def test_volume_path_and_array_are_all_understood(tmp_path):
    voxels = np.array([[10, 60, 70, 99], [95, 45, 55, 92]], np.int16).reshape(2, 4, 1)
    grid = Grid((2, 4, 1), np.diag([-1.0, 2.0, 3.0, 1.0]))
    write_image(tmp_path / "ct.nii", voxels, grid)
    segmenter = threshold()
    expected = segmenter.segment(Volume(voxels, grid)).classes
    for given in (tmp_path / "ct.nii", str(tmp_path / "ct.nii")):
        assert np.array_equal(segmenter.segment(given).classes, expected)
    assert np.array_equal(segmenter.segment_array(voxels, grid.affine), expected)


def monais_mask(network, path, spacing_mm, size):
    """What a MONAI bundle's pipeline makes of a file with the same network."""
    from monai.data import decollate_batch, list_data_collate
    from monai.inferers import sliding_window_inference
    from monai.transforms import (
        AsDiscreted,
        Compose,
        CropForegroundd,
        EnsureChannelFirstd,
        Invertd,
        LoadImaged,
        Orientationd,
        ScaleIntensityRanged,
        Spacingd,
    )

    before = Compose(
        [
            LoadImaged("image"),
            EnsureChannelFirstd("image"),
            Orientationd("image", "RAS", labels=None),
            Spacingd("image", pixdim=spacing_mm, mode="bilinear"),
            ScaleIntensityRanged("image", -100, 240, 0, 1, clip=True),
            CropForegroundd("image", source_key="image", allow_smaller=True),
        ]
    )
    after = Compose(
        [Invertd("pred", transform=before, orig_keys="image", nearest_interp=False), AsDiscreted("pred", argmax=True)]
    )
    batch = list_data_collate([before({"image": path})])
    with torch.inference_mode():
        batch["pred"] = sliding_window_inference(batch["image"], size, 1, network, overlap=0.5, mode="gaussian")
    return after(decollate_batch(batch)[0])["pred"][0].numpy().astype(np.uint8)


@pytest.mark.parametrize("index", [0, 1, 2])  # RAS, LPS, ASL
@pytest.mark.parametrize("spacing_mm", [(4.0, 4.0, 5.0), (6.5, 5.0, 3.0)])
def test_monais_convention_gives_monais_mask(model, tmp_path, index, spacing_mm):
    _, network, spec = model()
    image, _ = make_phantom(3, index, SMALL)
    write_image(tmp_path / "ct.nii.gz", image.voxels, image)
    chain = Preprocessing(spacing_mm=spacing_mm, intensity_range_hu=(-100.0, 240.0), convention="monai")
    windows = Inference(window_size=(16, 16, 16), overlap=0.5, placement="steps")
    segmenter = Segmenter((network,), replace(spec, preprocessing=chain, inference=windows))
    ours = segmenter.segment(tmp_path / "ct.nii.gz").classes
    theirs = monais_mask(network.eval(), tmp_path / "ct.nii.gz", spacing_mm, (16, 16, 16))
    assert len(np.unique(theirs)) > 1
    study = preprocess(image, chain)
    inside = np.zeros(study.ras_shape, bool)
    inside[study.crop] = True
    inside = reorient_like(inside, image.grid.affine)
    assert (ours != theirs)[inside].mean() < 1e-4  # ties
    assert not ours[~inside].any()  # one network voxel away MONAI's scores are zero but for the last bit
