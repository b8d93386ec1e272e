from medseg.model.spec import ModelSpec


def test_background_is_one_more_class() -> None:
    spec = ModelSpec("unet", {}, 3, 1, ("liver", "tumour"), "patch", 0, {}, {})
    assert spec.num_classes == 3
