"""The figures of the report, read back as data: what is drawn is what was given, and nothing else."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from matplotlib.colors import to_rgb

from evaluation.palette import PALETTE
from evaluation.plots import curves as calibration_figures
from evaluation.plots import figures as cost_figures
from evaluation.plots import figures as token_figures
from evaluation.plots import figures as writing_figures
from evaluation.plots import (
    slices as slice_figures,
)
from evaluation.plots.canvas import styles_of
from evaluation.plots.curves import perplexity_bars
from evaluation.statistics.floor import Floor
from tests.evaluation.made_results import LEVELS, made_results, made_table

RUN = made_results()
STYLES = styles_of(list(LEVELS))
MACHADO = {
    "full": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""From light to light as it is seen, after Machado, Oliveira and Fernandes (2009), severity 1."""


def legend_of(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def ticks_of(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def curve_of(axes, label):
    """x and y of the line or error bar of this label."""
    handles, labels = axes.get_legend_handles_labels()
    handle = handles[labels.index(label)]
    line = handle[0] if hasattr(handle, "has_xerr") else handle
    return list(line.get_xdata()), list(line.get_ydata())


def test_sixteen_models_differ_in_colour_and_in_marker_and_64_in_one_of_three():
    looks = list(styles_of([f"m{n}" for n in range(64)]).values())
    assert len({tuple(look.values()) for look in looks}) == 64
    assert len({look["color"] for look in looks[:16]}) == len({look["marker"] for look in looks[:16]}) == 16


@pytest.mark.parametrize("sight", MACHADO)
def test_any_two_of_the_sixteen_colours_can_be_told_apart_with_every_kind_of_sight(sight):
    """At least 16 apart in CIELAB; a difference of 2.3 is just noticeable side by side."""
    coded = np.array([to_rgb(colour) for colour in PALETTE])
    light = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    seen = np.clip(light @ np.array(MACHADO[sight]).T, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = seen @ np.array(to_xyz).T / [0.9505, 1.0, 1.089]
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    lab = np.stack([116 * root[:, 1] - 16, 500 * (root[:, 0] - root[:, 1]), 200 * (root[:, 1] - root[:, 2])], 1)
    assert min(math.dist(one, other) for one, other in combinations(lab, 2)) > 16


def test_bars_have_the_ends_of_their_intervals_and_labels_beyond_them():
    left, right = perplexity_bars(made_table(), RUN.floor, "kn5").axes
    row = RUN.row("lstm")
    spans = [list(line.get_xdata()) for line in right.lines if line.get_marker() == "|"]
    assert [row["open_bits_per_byte_lo"], row["open_bits_per_byte_hi"]] in spans
    assert len(spans) == len(LEVELS) == sum(line.get_marker() == "|" for line in left.lines)
    labels = {text.get_text(): text.xy[0] for text in right.texts}
    assert labels["0.820"] == row["open_bits_per_byte_hi"]


def test_bars_without_intervals_are_drawn_without_whiskers():
    bare = made_table().select(pl.exclude("^.*_(lo|hi)$"))
    _, right = perplexity_bars(bare, None, "").axes
    assert not [line for line in right.lines if line.get_marker() == "|"]
    assert "whiskers" not in right.figure.get_suptitle()


def test_an_infinite_interval_has_no_whisker():
    table = made_table().with_columns(open_bits_per_byte_hi=pl.lit(math.inf))
    _, right = perplexity_bars(table, None, "").axes
    assert not [line for line in right.lines if line.get_marker() == "|"]


# ---- slices


def test_slices_of_reviews_stand_in_one_panel_in_their_order():
    units = dict.fromkeys(LEVELS, "word")
    figure = slice_figures.slice_figure(RUN.slices, "stars", units, STYLES)
    (axes,) = figure.axes
    xs, ys = curve_of(axes, "lstm")
    own = RUN.slices.filter((pl.col("model") == "lstm") & (pl.col("dimension") == "stars"))
    assert ys == own["open_bits_per_byte"].to_list()
    assert xs == sorted(xs)
    assert ticks_of(axes.xaxis) == ["1\n40", "2\n77", "3\n114", "4\n151", "5\n188"]
    assert "reviews" in axes.get_xlabel()


def test_whiskers_end_where_the_intervals_do():
    figure = slice_figures.slice_figure(RUN.slices, "stars", {"kn5": "word"}, STYLES)
    (bars,) = figure.axes[0].containers[0].lines[2]
    own = RUN.slices.filter((pl.col("model") == "kn5") & (pl.col("dimension") == "stars"))
    ends = [(segment[0][1], segment[1][1]) for segment in bars.get_segments()]
    assert ends == [pytest.approx(pair) for pair in own.select("lo", "hi").iter_rows()]


def test_each_vocabulary_has_a_panel_of_its_own_where_tokens_are_compared():
    units = {name: "char" if name == "lstm-char" else "word" for name in LEVELS}
    figure = slice_figures.slice_figure(RUN.slices, "frequency", units, STYLES)
    word, char = figure.axes
    assert legend_of(char) == ["lstm-char"]
    assert legend_of(word) == [name for name in LEVELS if name != "lstm-char"]
    assert "vocabulary: char" in char.get_title()
    assert word.get_ylabel() == "bits per token"


def test_slices_in_no_order_are_not_joined_by_a_line():
    for dimension, style in (("category", "None"), ("stars", "-")):
        figure = slice_figures.slice_figure(RUN.slices, dimension, {"kn5": "word"}, STYLES)
        assert figure.axes[0].containers[0].lines[0].get_linestyle() == style


def test_lines_of_models_with_equal_figures_lie_nearly_on_each_other():
    units = dict.fromkeys(LEVELS, "word")
    for dimension, widest in (("position", 0.12), ("category", 0.6)):
        (axes,) = slice_figures.slice_figure(RUN.slices, dimension, units, STYLES).axes
        first, last = (curve_of(axes, name)[0] for name in (legend_of(axes)[0], legend_of(axes)[-1]))
        assert 0 < last[0] - first[0] <= widest


def test_many_slices_have_bands_instead_of_whiskers_and_fewer_labels():
    figure = slice_figures.slice_figure(RUN.slices, "month", {"kn5": "word"}, STYLES)
    (axes,) = figure.axes
    assert len(curve_of(axes, "kn5")[1]) == 36
    assert len(axes.collections) == 1
    assert len(ticks_of(axes.xaxis)) == slice_figures.MOST


def test_an_infinite_slice_leaves_a_gap():
    first = RUN.slices.with_columns(
        open_bits_per_byte=pl.when(pl.col("slice") == "3").then(math.inf).otherwise("open_bits_per_byte")
    )
    figure = slice_figures.slice_figure(first, "stars", {"kn5": "word"}, STYLES)
    assert len(curve_of(figure.axes[0], "kn5")[1]) == 4


def test_the_worst_slices_stand_on_top_and_those_surely_lost_are_marked():
    figure = slice_figures.worst_slices_figure(RUN.slices, "lstm", "kn5")
    above, gains = figure.axes
    own = RUN.slices.filter(pl.col("model") == "lstm")
    worst = own.sort("excess", descending=True).row(0, named=True)
    assert ticks_of(above.yaxis)[-1].startswith(f"{worst['dimension']}: {worst['slice']} (")
    _, labels = gains.get_legend_handles_labels()
    assert labels == ["sure"]
    xs, _ = curve_of(gains, "sure")
    assert sorted(xs)[-1] == -own["gain"].min()
    assert "negative is better" in gains.get_xlabel()


def test_a_slice_that_is_infinite_stands_on_top_and_has_a_word_for_its_point():
    first = (pl.col("model") == "lstm") & (pl.col("slice") == "3")
    endless = {"open_bits_per_byte": math.inf, "excess": None, "gain": None}
    changed = [pl.when(first).then(pl.lit(value)).otherwise(name).alias(name) for name, value in endless.items()]
    above, gains = slice_figures.worst_slices_figure(RUN.slices.with_columns(changed), "lstm", "kn5").axes
    for axes in (above, gains):
        assert ticks_of(axes.yaxis)[-1].startswith("stars: 3 (")
        assert [(text.get_text(), text.xy[1]) for text in axes.texts] == [("infinite", len(ticks_of(axes.yaxis)) - 1)]


def test_small_months_that_were_merged_into_years_are_called_years():
    years = RUN.slices.filter(pl.col("dimension") == "month").with_columns(pl.col("slice").str.head(4))
    figure = slice_figures.slice_figure(years.unique(["model", "slice"]), "month", {"kn5": "word"}, STYLES)
    assert "by year" in figure.get_suptitle()
    assert figure.axes[0].get_xlabel().startswith("year of the review")
    assert slice_figures.slice_name({"dimension": "month", "slice": "2020"}) == "year 2020"
    assert slice_figures.slice_name({"dimension": "month", "slice": "2020-03"}) == "month 2020-03"


def test_the_baseline_itself_is_not_held_against_itself():
    assert len(slice_figures.worst_slices_figure(RUN.slices, "kn5", "kn5").axes) == 1


@pytest.mark.parametrize(("count", "said"), [(7, "7"), (999, "999"), (1_234, "1.23 k"), (2_500_000, "2.5 M")])
def test_counts_are_shortened(count, said):
    assert slice_figures.short(count) == said


# ---- tokens


def test_shares_by_rank_are_counted_and_tokens_never_suggested_count_as_missed():
    ranks = pl.DataFrame({"rank": pl.Series([1, 1, 2, 7, None, None, None, None], dtype=pl.Int64)})
    figure = token_figures.rank_figure({"kn5": ranks}, STYLES)
    xs, ys = curve_of(figure.axes[0], "kn5: 25.0% at 1")
    assert xs == [1, 2, 5, 10]
    assert ys == [0.25, 0.375, 0.375, 0.5]


def test_certainty_puts_equally_many_tokens_into_each_class():
    ln2 = math.log(2)
    tokens = pl.DataFrame({"entropy": [k * ln2 for k in range(20)], "nats": [2 * k * ln2 for k in range(20)]})
    table = token_figures.certainty_table(tokens, 5)
    assert table["tokens"].to_list() == [4] * 5
    assert table["entropy"].to_list() == pytest.approx([1.5, 5.5, 9.5, 13.5, 17.5])
    assert table["surprisal"].to_list() == pytest.approx([3.0, 11.0, 19.0, 27.0, 35.0])


def test_impossible_tokens_have_no_place_among_the_classes():
    tokens = pl.DataFrame({"entropy": [1.0, 1.0], "nats": [1.0, math.inf]})
    assert token_figures.certainty_table(tokens)["tokens"].sum() == 1
    assert len(token_figures.certainty_table(tokens.clear())) == 0


# ---- calibration, cost, writing


def test_reliability_has_a_panel_per_model_without_empty_bins():
    table = pl.DataFrame({"count": [10, 0, 5], "mean_probability": [0.1, None, 0.9], "mean_accuracy": [0.2, None, 0.8]})
    facts = {"lstm": {"ece": 0.1234, "temperature": 1.1}}
    figure = calibration_figures.reliability_figure({"lstm": table, "kn5": table}, facts, STYLES)
    first, second = figure.axes
    assert first.get_title() == "lstm\nECE 0.123, T = 1.10"
    assert second.get_title() == "kn5"
    points = first.collections[0]
    assert [list(place) for place in points.get_offsets()] == [[0.1, 0.2], [0.9, 0.8]]
    assert points.get_sizes()[0] > points.get_sizes()[1]


def test_the_front_is_filled_and_models_far_above_stand_at_the_edge():
    table = pl.DataFrame({
        "model": ["small", "good", "worse", "awful"], "open_bits_per_byte": [1.0, 0.8, 1.1, 9.0],
        "megabytes": [1.0, 5.0, 6.0, 0.1], "score_seconds": [1.0, 2.0, 3.0, 4.0],
    })  # fmt: skip
    styles = styles_of(table["model"].to_list())
    assert cost_figures.on_front(table) == ["small", "good", "awful"]
    figure = cost_figures.pareto_figure(table, styles, Floor(10, 10, 500.0, 1_000))
    size, time = figure.axes
    handles, labels = size.get_legend_handles_labels()
    drawn = dict(zip(labels, handles, strict=True))
    assert drawn["worse"].get_markerfacecolor() == "white"
    assert drawn["good"].get_markerfacecolor() == styles["good"]["color"]
    assert list(drawn["awful"].get_ydata()) == [pytest.approx(cost_figures.FARTHEST * 0.8)]
    assert [text.get_text() for text in size.texts] == ["↑ 9.00"]
    assert "floor 0.721" in labels
    steps, _ = [line for line in time.lines if line.get_drawstyle() == "steps-post"]
    assert list(steps.get_ydata()) == [1.0, 0.8]


def test_static_and_adaptive_models_have_a_front_each():
    table = pl.DataFrame({
        "model": ["lstm", "lstm+cache"], "adaptation": ["static", "continuous cache"],
        "open_bits_per_byte": [0.8, 0.7], "megabytes": [5.0, 4.0], "score_seconds": [2.0, 1.0],
    })  # fmt: skip
    assert cost_figures.on_front(table) == ["lstm", "lstm+cache"]
    size, _ = cost_figures.pareto_figure(table, styles_of(["lstm", "lstm+cache"])).axes
    fronts = {line.get_linestyle(): list(line.get_ydata()) for line in size.lines if line.get_drawstyle() != "default"}
    assert fronts == {"-": [0.8], ":": [0.7]}
    assert legend_of(size) == ["lstm", "lstm+cache, adapts"]


def test_a_cost_that_nobody_measured_has_no_panel():
    table = made_table().with_columns(megabytes=pl.lit(None, pl.Float64))
    assert cost_figures.known_costs(table) == ["score_seconds"]
    assert len(cost_figures.pareto_figure(table, STYLES).axes) == 1


def test_novelty_shows_samples_and_people_and_leaves_out_what_has_no_figure():
    table = pl.DataFrame({"n": [1, 2, 3], "samples": [0.9, 0.5, None], "real": [0.8, 0.4, 0.1]})
    figure = writing_figures.novelty_figure({"lstm": table}, STYLES)
    assert curve_of(figure.axes[0], "lstm") == ([1, 2], [0.9, 0.5])
    assert curve_of(figure.axes[0], "held-out reviews") == ([1, 2, 3], [0.8, 0.4, 0.1])


def test_exposure_has_a_point_per_canary_its_mean_and_the_line_of_chance():
    table = pl.DataFrame({"copies": [1, 1, 16, 16], "exposure": [1.0, 3.0, 8.0, None]})
    (axes,) = writing_figures.exposure_figure({"lstm": table}, STYLES, 12.0).axes
    xs, ys = curve_of(axes, "lstm")
    assert (xs, ys) == ([0, 0, 1], [1.0, 3.0, 8.0])
    assert ticks_of(axes.xaxis) == ["once", "16 times"]
    means = [line.get_ydata()[0] for line in axes.lines if line.get_linewidth() == 2.5]
    assert means == [2.0, 8.0]
    handles, labels = axes.get_legend_handles_labels()
    chance = handles[labels.index("95% of never planted below")]
    assert 2 ** -chance.get_ydata()[0] == pytest.approx(0.05)
    assert "most that can be shown: 12.0" in labels
