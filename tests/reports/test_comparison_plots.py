import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread

from medseg.evaluation.comparison import compare_evaluations
from medseg.reports import comparison_plots
from medseg.reports.comparison_plots import differences_plot, ranks_plot, scores_plot, write_plots
from tests.evaluation.compared import evaluation, of_liver

BETTER, WORSE = "#4fc3f7", "#ff8a65"

# gains +0.3 -0.1 +0.1 0
PAIR = {"old": of_liver(0.4, 0.6, 0.7, 0.8), "new": of_liver(0.7, 0.5, 0.8, 0.8)}


@pytest.fixture
def figures(monkeypatch) -> list[Figure]:
    """Figures that were saved."""
    saved: list[Figure] = []
    save = comparison_plots.save

    def keep(figure, path):
        saved.append(figure)
        save(figure, path)

    monkeypatch.setattr(comparison_plots, "save", keep)
    return saved


def has(path, colour: str) -> bool:
    return bool(np.any(np.abs(imread(path)[..., :3] - to_rgb(colour)).max(axis=-1) < 0.03))


def words(figure: Figure) -> str:
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_studies_are_sorted_by_what_they_gain(tmp_path, figures):
    differences_plot(compare_evaluations(PAIR), "liver", tmp_path / "x.png")
    (ax,) = figures[0].axes
    (points,) = (c for c in ax.collections if len(c.get_offsets()) == 4)
    np.testing.assert_allclose(points.get_offsets(), [[-0.1, 0], [0, 1], [0.1, 2], [0.3, 3]], atol=1e-9)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["b", "d", "c", "a"]
    assert "mean +0.075 [" in words(figures[0])
    assert "2 better" in words(figures[0])
    assert "1 worse" in words(figures[0])
    assert "1 the same" in words(figures[0])
    assert has(tmp_path / "x.png", BETTER)
    assert has(tmp_path / "x.png", WORSE)


def test_smaller_distances_are_the_gain(tmp_path, figures):
    pair = {"old": of_liver(4.0, 6.0, score="hd95_mm"), "new": of_liver(3.0, 1.0, score="hd95_mm")}
    differences_plot(compare_evaluations(pair, "hd95_mm"), "liver", tmp_path / "x.png")
    assert [tick.get_text() for tick in figures[0].axes[0].get_yticklabels()] == ["a", "b"]  # the greatest gain on top
    assert "difference in HD95 (mm)" in words(figures[0])
    (points,) = (c for c in figures[0].axes[0].collections if len(c.get_offsets()) == 2)
    assert [to_hex(colour) for colour in points.get_facecolors()] == [BETTER, BETTER]


def test_every_pair_of_methods_has_its_panel(tmp_path, figures):
    named = {
        name: of_liver(*scores) for name, scores in zip("abcde", np.random.default_rng(0).random((5, 40)), strict=True)
    }
    differences_plot(compare_evaluations(named), "liver", tmp_path / "x.png")
    titles = [ax.get_title(loc="left") for ax in figures[0].axes]
    assert len(titles) == 10
    assert titles[0] == "b - a"
    assert titles[-1] == "e - d"
    assert [tick.get_text() for tick in figures[0].axes[0].get_yticklabels()] == []  # 40 names would not be readable


def test_scores_stand_by_method_the_best_first(tmp_path, figures):
    scores_plot(compare_evaluations(PAIR), "liver", tmp_path / "x.png")
    (ax,) = figures[0].axes
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["new\n0.700", "old\n0.625"]
    strips = [c.get_offsets()[:, 1] for c in ax.collections if len(c.get_offsets()) == 4]
    np.testing.assert_allclose(strips, [[0.7, 0.5, 0.8, 0.8], [0.4, 0.6, 0.7, 0.8]])
    assert "4 studies, better is up" in ax.get_title(loc="left")


def test_bubbles_have_the_area_of_the_share(tmp_path, figures):
    # of two studies x leads in 3 of 4 samples: see tests/evaluation/test_ranking.py
    comparison = compare_evaluations({"x": of_liver(1.0, 0.0), "y": of_liver(0.0, 0.5)})
    ranks_plot(comparison, ["liver"], tmp_path / "x.png")
    (ax,) = figures[0].axes
    first, second = (c for c in ax.collections if len(c.get_offsets()) == 2)
    np.testing.assert_allclose(first.get_offsets(), [[0, 1], [0, 2]])
    assert first.get_sizes()[0] / first.get_sizes()[1] == pytest.approx(3, rel=0.1)
    assert second.get_sizes()[1] == pytest.approx(first.get_sizes()[0])
    assert f"{100 * comparison.rankings[0].standings[0].shares[0]:.0f} %" in words(figures[0])
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # rank 1 on top


def test_all_pictures_of_a_comparison(tmp_path):
    labels = {"liver": 0.5, "a/b": 0.4}
    named = {
        "x": evaluation(dict.fromkeys("abc", labels)),
        "y": evaluation({s: {"liver": 0.7, "a/b": 0.1} for s in "abc"}),
    }
    paths = write_plots(compare_evaluations(named), tmp_path / "new")
    stems = ["1-liver", "2-a_b", "3-all_labels"]
    expected = [f"{kind}-{stem}.png" for stem in stems for kind in ("differences", "scores")]
    assert [path.name for path in paths] == [*expected, "ranks.png"]
    assert all(path.parent == tmp_path / "new" and path.stat().st_size > 5000 for path in paths)


def test_of_many_labels_the_first_and_the_mean_are_drawn(tmp_path):
    scores = {f"organ{i}": i / 10 for i in range(6)}
    named = {name: evaluation(dict.fromkeys("ab", scores)) for name in "xy"}
    paths = write_plots(compare_evaluations(named), tmp_path, most_labels=2)
    assert [path.name for path in paths if "differences" in path.name] == [
        "differences-1-organ0.png",
        "differences-7-all_labels.png",
    ]


def test_one_study_has_no_stability_to_draw(tmp_path):
    comparison = compare_evaluations({"x": of_liver(0.5), "y": of_liver(0.6)})
    assert [path.name for path in write_plots(comparison, tmp_path)] == [
        "differences-1-liver.png",
        "scores-1-liver.png",
    ]
    with pytest.raises(ValueError, match="expected 2 studies or more"):
        ranks_plot(comparison, ["liver"], tmp_path / "x.png")


def test_a_label_without_pairs_cannot_be_drawn(tmp_path):
    named = {"x": evaluation({"a": {"liver": 0.5, "spleen": 0.5}}), "y": of_liver(0.6)}
    comparison = compare_evaluations(named)
    with pytest.raises(ValueError, match="pairs of studies with 'spleen', found none"):
        differences_plot(comparison, "spleen", tmp_path / "x.png")
    with pytest.raises(ValueError, match="studies with 'spleen' that all methods"):
        scores_plot(comparison, "spleen", tmp_path / "x.png")


@pytest.mark.filterwarnings("error::UserWarning")
def test_long_names_fit_without_a_warning(tmp_path, figures):
    names = ["20260301-120301-unet-of-the-hospital-liver", "20260302-120301-fcn-of-the-hospital-liver", "$x$_{"]
    rng = np.random.default_rng(0)
    comparison = compare_evaluations({name: of_liver(*rng.random(8)) for name in names})
    write_plots(comparison, tmp_path)
    assert "20260301-1203…al-liver" in words(figures[-1])
