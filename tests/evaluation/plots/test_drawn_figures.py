from pathlib import Path

import polars as pl
import pytest
from matplotlib.colors import to_hex

from evaluation.plots import curves as figures
from evaluation.plots.canvas import styles_of
from evaluation.reports.run_results import journal_lines
from evaluation.scoring.metrics import Figures
from evaluation.statistics.comparison import comparison_table
from evaluation.statistics.floor import Floor

FLOOR = Floor(100, 100, 5_000.0, 10_000)


def one(nats, unit="word", vocabulary="v"):
    return Figures(100, 2_000, 10_000, 1_900, 5, nats, 10.0, unit, vocabulary, "b")


@pytest.fixture
def table():
    models = {"kn5": one(9_000.0), "lstm": one(7_000.0), "chars": one(8_000.0, "char", "c")}
    return comparison_table(models, baseline="kn5")


def texts_of(axes):
    legend = axes.get_legend().get_texts() if axes.get_legend() else []
    return [text.get_text() for text in [*axes.texts, *legend]]


def names_of(axes):
    """Names beside the bars, from top to bottom."""
    return [label.get_text() for label in axes.get_yticklabels()][::-1]


def test_bits_per_byte_are_ordered_best_first_with_floor_and_baseline(table):
    _, right = figures.perplexity_bars(table, FLOOR, "kn5").axes
    assert names_of(right) == ["lstm (word)", "chars (char)", "kn5 (word)"]
    assert right.get_xlim()[0] == 0
    assert "bits per byte" in right.get_xlabel()
    assert any("floor 0.721" in text for text in texts_of(right))
    assert any("baseline kn5" in text for text in texts_of(right))


def test_perplexities_are_grouped_by_vocabulary_and_have_no_floor(table):
    left, _ = figures.perplexity_bars(table, FLOOR, "kn5").axes
    assert names_of(left) == ["lstm (word)", "kn5 (word)", "chars (char)"]
    assert "between two lines only" in left.get_xlabel()
    assert not any("floor" in text for text in texts_of(left))
    (parting,) = [line for line in left.lines if list(line.get_xdata()) == [0, 1]]
    assert parting.get_ydata()[0] == 0.5  # above the lowest bar


def test_each_bar_has_the_colour_that_its_model_has_in_every_figure(table):
    styles = styles_of(["kn5", "lstm", "chars"])
    for axes in figures.perplexity_bars(table, FLOOR, "kn5", styles).axes:
        drawn = [to_hex(bar.get_facecolor()).upper() for bar in axes.patches][::-1]  # from top to bottom
        assert drawn == [styles[name.split()[0]]["color"] for name in names_of(axes)]


def test_the_title_says_what_was_tested_on(table):
    assert "100 reviews, 10,000 bytes" in figures.perplexity_bars(table).get_suptitle()


def test_curves_have_a_log_scale_and_their_best_value():
    history = [{"step": step, "train/perplexity": 900 / step, "learning_rate": 1.0} for step in (1, 2, 3, 4)]
    history += [{"step": step, "validation/perplexity": 1_000 / step} for step in (2, 4)]
    drawn = figures.loss_curves({"lstm": history, "kn5": [{"step": 4, "validation/perplexity": 300.0}]})
    (axes,) = drawn.axes
    assert axes.get_yscale() == "log"
    assert texts_of(axes) == ["lstm: best 250", "kn5: 300"]
    assert list(axes.lines[1].get_xdata()) == [2, 4]
    assert "tokens" in axes.get_xlabel()


def test_the_kept_weights_are_ringed_with_the_figure_that_the_terminal_shows():
    history = [{"step": step, "validation/perplexity": value} for step, value in ((4, 6.4), (8, 3.732))]
    (axes,) = figures.loss_curves({"lstm": history}, {"lstm": (8, 3.703)}).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["lstm: 3.703"]
    (ring,) = [line for line in axes.lines if line.get_markersize() == 11]
    assert (list(ring.get_xdata()), list(ring.get_ydata())) == ([8], [3.703])


def test_a_model_of_which_no_point_is_finite_is_named_even_alone():
    (axes,) = figures.loss_curves({"mle": [{"step": 4, "validation/perplexity": float("inf")}]}).axes
    assert texts_of(axes) == ["mle: infinite"]


def test_a_network_with_one_finite_point_is_no_level_of_a_model_of_counts():
    history = [{"step": 1, "validation/perplexity": float("inf")}, {"step": 2, "validation/perplexity": 9.0}]
    (axes,) = figures.loss_curves({"lstm": history}).axes
    assert texts_of(axes) == ["lstm: best 9"]


def test_an_infinite_point_is_left_out_of_its_curve_and_hides_no_other():
    perplexities = (float("inf"), 500.0, 400.0)
    history = [{"step": step, "validation/perplexity": value} for step, value in enumerate(perplexities)]
    endless = [{"step": 4, "validation/perplexity": float("inf")}]
    (axes,) = figures.loss_curves({"lstm": history, "mle": endless}).axes
    assert texts_of(axes) == ["lstm: best 400", "mle: infinite"]
    curve = next(line for line in axes.lines if line.get_label() == "lstm: best 400")
    assert (list(curve.get_xdata()), list(curve.get_ydata())) == ([1, 2], [500.0, 400.0])


@pytest.mark.parametrize("histories", [{}, {"lstm": []}, {"lstm": [{"step": 1, "train/perplexity": float("nan")}]}])
def test_curves_without_points_are_drawn_empty(histories, tmp_path):
    figures.save(figures.loss_curves(histories), tmp_path / "empty.png")
    assert (tmp_path / "empty.png").stat().st_size > 0


def test_a_journal_is_read_up_to_a_torn_last_line(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "train/nats": 2.0}\n{"step": 2, "tra')
    assert journal_lines(tmp_path / "metrics.jsonl") == [{"step": 1, "train/nats": 2.0}]


def test_star_bars_say_how_many_reviews_there_are():
    def slices(level):
        return pl.DataFrame({"stars": [0, 1, 5], "open_bits_per_byte": [level] * 3, "reviews": [3, 1_200, 40]})

    (axes,) = figures.star_bars({"kn5": slices(1.3), "lstm": slices(1.1)}).axes
    ticks = [label.get_text() for label in axes.get_xticklabels()]
    assert ticks == ["unknown\n3 reviews", "1 star\n1,200 reviews", "5 stars\n40 reviews"]
    assert axes.get_ylim()[0] == 0
    assert [bar.get_height() for bar in axes.patches] == [1.3] * 3 + [1.1] * 3


@pytest.mark.slow
def test_equal_figures_are_equal_files(table, tmp_path):
    for name in ("one.png", "two.png"):
        figures.save(figures.perplexity_bars(table, FLOOR, "kn5"), tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_drawing_keeps_matplotlib_s_global_state_out():
    assert "pyplot" not in Path(figures.__file__).read_text(encoding="utf-8")
