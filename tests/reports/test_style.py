import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread

from medseg.reports.style import BACKGROUND, COLOURS, GRID, SPINE, colour, dress, save


def test_colours_begin_again_after_the_last():
    assert [colour(1), colour(8), colour(9)] == [COLOURS[0], COLOURS[7], COLOURS[0]]
    assert len(set(COLOURS)) == 8


def test_axes_become_dark_and_quiet():
    ax = Figure().subplots()
    dress(ax)
    assert to_hex(ax.get_facecolor()) == BACKGROUND
    assert {to_hex(spine.get_edgecolor()) for spine in ax.spines.values()} == {SPINE}
    assert to_hex(ax.get_xgridlines()[0].get_color()) == GRID


def test_a_png_keeps_the_figure_s_background_and_leaves_nothing_beside_it(tmp_path):
    save(Figure(figsize=(1, 1), dpi=20, facecolor=BACKGROUND), tmp_path / "new" / "picture.png")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["picture.png"]
    picture = imread(tmp_path / "new" / "picture.png")
    assert picture.shape[:2] == (20, 20)
    assert to_hex(picture[10, 10, :3]) == BACKGROUND


def test_a_figure_that_cannot_be_drawn_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")

    def broken(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", broken)
    with pytest.raises(OSError, match="disk full"):
        save(Figure(), path)
    assert path.read_bytes() == b"old"
