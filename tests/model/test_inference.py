"""What a section of settings refuses, and what it takes from YAML."""

import pytest
from pydantic import TypeAdapter

from medseg.model.crf import CRF
from medseg.model.inference import Inference, Locate

ADAPTER = TypeAdapter(Inference)


def test_nothing_is_added_by_default() -> None:
    plain = Inference()
    assert (plain.window_size, plain.crf, plain.locate, plain.memory_gib) == (None, None, None, None)
    assert (plain.flip_axes, plain.scales, plain.postprocess.named) == ((), (1.0,), ())


def test_a_section_is_read_as_yaml_has_it() -> None:
    text = '{"window_size": [16, 12], "flip_axes": ["R"], "crf": {}, "locate": {"classes": ["liver"]}}'
    expected = Inference(window_size=(16, 12), flip_axes=("R",), crf=CRF(), locate=Locate(classes=("liver",)))
    assert ADAPTER.validate_json(text, strict=True) == expected


@pytest.mark.parametrize(
    "text", ['{"window_size": [16]}', '{"window_size": ["16", 16]}', '{"roi": 3}', '{"crf": true}']
)
def test_what_is_no_setting_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=text.split('"')[1]):
        ADAPTER.validate_json(text, strict=True)
