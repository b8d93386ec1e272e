import pytest

from medseg.model.crf import CRF, PRESETS


def test_presets_are_deeplabs():
    assert list(PRESETS["deeplab_v1"].values()) == [3.0, 3.0, 5.0, 50.0, 10.0]
    assert list(PRESETS["deeplab_v2"].values()) == [3.0, 1.0, 4.0, 67.0, 3.0]
    assert list(PRESETS["deeplab_v1"]) == list(PRESETS["deeplab_v2"])
    assert CRF().iterations == 10


def test_a_model_keeps_every_number_should_a_preset_ever_change():
    filled = CRF("deeplab_v2", appearance_mm=30.0).filled(spatial_dims=2)
    expected = CRF("deeplab_v2", 10, 3.0, 1.0, 4.0, 30.0, 3.0, axes=2)
    assert filled == expected
    assert (CRF().filled(3).axes, CRF(axes=2).filled(3).axes) == (3, 2)
    assert CRF(smoothness_weight=0.0).filled(3).smoothness_weight == 0.0


@pytest.mark.parametrize(
    "settings",
    [
        {"iterations": 0},
        {"axes": 1},
        {"smoothness_weight": -1.0},
        {"appearance_weight": float("nan")},
        {"smoothness_mm": 0.0},
        {"appearance_mm": -3.0},
        {"appearance_intensity": 0.0},
        {"preset": "deeplab_v3"},
        {"sigma": 1},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused_by_name(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        CRF(**settings)
