import numpy as np

from medseg.reports.page.intensity import KNOTS, decode_hu, encode_hu


def test_soft_tissue_is_kept_to_two_hu_and_lung_and_bone_to_twenty():
    for low, high, error in ((-200, 300, 1.5), (-1024, -200, 9.5), (300, 1500, 16.0), (1500, 3071, 160.0)):
        hu = np.arange(low, high + 1)
        assert np.abs(decode_hu(encode_hu(hu)) - hu).max() <= error


def test_codes_rise_with_hu_and_reach_both_ends():
    codes = encode_hu(np.arange(-3000, 5000))
    assert (np.diff(codes.astype(int)) >= 0).all()
    assert (codes[0], codes[-1]) == (0, 255)
    assert [int(encode_hu(np.array(hu))) for hu, _ in KNOTS] == [code for _, code in KNOTS]


def test_what_is_no_number_becomes_air():
    assert encode_hu(np.array([np.nan, np.inf, -np.inf])).tolist() == [0, 255, 0]
