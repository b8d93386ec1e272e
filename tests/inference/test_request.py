from medseg.inference.request import Request


def test_every_map_beside_the_label_map_is_counted() -> None:
    assert Request().num_extras == 0
    assert Request(("liver", "tumour")).num_extras == 2
    assert Request(("liver",), "entropy").num_extras == 2
