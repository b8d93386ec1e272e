from medseg.networks.encoder_names import ENCODERS
from medseg.networks.encoders import _ENCODERS


def test_every_name_has_its_encoder():
    assert set(ENCODERS) == set(_ENCODERS)
