from medseg.reports import palette


def test_colours_begin_again_after_the_last_class():
    count = len(palette.CLASS_COLOURS)
    assert palette.class_colour(1) == palette.CLASS_COLOURS[0] == palette.class_colour(count + 1)
    assert palette.class_colour(count) == palette.CLASS_COLOURS[-1]


def test_no_class_has_the_colour_of_an_error():
    def channels(colour: str) -> list[int]:
        return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]

    for error in (palette.MISSED, palette.EXTRA, palette.CONFUSED):
        for colour in palette.CLASS_COLOURS:
            assert max(abs(a - b) for a, b in zip(channels(error), channels(colour), strict=True)) > 80
