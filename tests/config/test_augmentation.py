import pytest
from pydantic import ValidationError

from medseg.config.augmentation import AugmentationConfig


def test_nothing_is_augmented_unless_asked():
    assert set(AugmentationConfig().model_dump().values()) == {None}


def test_an_empty_section_has_its_own_defaults():
    config = AugmentationConfig.model_validate({"flip": {}, "gamma": {}})
    assert config.flip is not None
    assert config.flip.axes == ["R"]
    assert config.gamma is not None


@pytest.mark.parametrize(
    ("section", "settings"),
    [("flip", {"axes": ["X"]}), ("rotate", {"degrees": -1}), ("contrast", {"factor": [2, 1]}), ("noise", {"stdd": 1})],
)
def test_wrong_settings_are_refused(section, settings):
    with pytest.raises(ValidationError):
        AugmentationConfig.model_validate({section: settings})
