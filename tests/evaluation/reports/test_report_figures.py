"""The figures of the report, read back as data: what is drawn is what was given, and nothing else."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from matplotlib.colors import to_rgb

from evaluation.palette import ON_DARK, PALETTE
from evaluation.reports import run_figures as figures
from evaluation.reports.canvas import styles_of, thousands
from evaluation.reports.run_results import journal_lines
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




def legend_of(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def ticks_of(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def curve_of(axes, label):
    """x and y of the line or error bar of this label."""
    handles, labels = axes.get_legend_handles_labels()
    handle = handles[labels.index(label)]
    line = handle[0] if hasattr(handle, "has_xerr") else handle
    return list(line.get_xdata()), list(line.get_ydata())


def test_eight_models_differ_in_colour_and_marker_and_none_but_the_first_has_the_accent():
    looks = list(styles_of([f"m{n}" for n in range(20)]).values())
    assert len({look["color"] for look in looks[:8]}) == len({look["marker"] for look in looks[:8]}) == 8
    assert [look["color"] for look in looks].count(PALETTE[0]) == 1
    assert len({tuple(look.values()) for look in looks}) == 20


@pytest.mark.parametrize("palette", [PALETTE, ON_DARK])
@pytest.mark.parametrize("sight", MACHADO)
def test_any_two_colours_can_be_told_apart_with_every_kind_of_sight(palette, sight):
    """At least 25 apart in CIELAB; a difference of 2.3 is just noticeable side by side."""
    coded = np.array([to_rgb(colour) for colour in palette])
    light = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    seen = np.clip(light @ np.array(MACHADO[sight]).T, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = seen @ np.array(to_xyz).T / [0.9505, 1.0, 1.089]
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    lab = np.stack([116 * root[:, 1] - 16, 500 * (root[:, 0] - root[:, 1]), 200 * (root[:, 1] - root[:, 2])], 1)
    assert min(math.dist(one, other) for one, other in combinations(lab, 2)) > 25


# ---- models


def test_models_stand_best_first_with_intervals_and_those_that_adapt_below_a_line():
    figure = figures.bits_figure(made_table(), STYLES, RUN.floor, "kn5")
    (axes,) = figure.axes
    assert ticks_of(axes.yaxis)[::-1] == ["lstm", "gru", "lstm-char", "kn5", "nplm", "unigram", "lstm+cache"]
    row = RUN.row("lstm")
    spans = [list(line.get_xdata()) for line in axes.lines if line.get_alpha() == 0.45]
    assert [row["open_bits_per_byte_lo"], row["open_bits_per_byte_hi"]] in spans
    points = {line.get_ydata()[0]: line for line in axes.lines if line.get_marker() == "o"}
    assert [points[6].get_xdata()[0], points[6].get_color()] == [row["open_bits_per_byte"], STYLES["lstm"]["color"]]
    assert [line.get_ydata()[0] for line in axes.lines if line.get_ydata()[0] == 0.5] == [0.5]
    assert legend_of(figure) == ["baseline", "floor 0.766: no model can need less"]


def test_a_model_far_behind_stands_at_the_edge_with_an_arrow():
    table = made_table().with_columns(
        open_bits_per_byte=pl.when(pl.col("model") == "kn5").then(math.inf).otherwise("open_bits_per_byte")
    )
    (axes,) = figures.bits_figure(table, STYLES).axes
    texts = [text.get_text() for text in axes.texts]
    assert {"infinite →", "2.100 →", "0.820"} <= set(texts)
    assert max(line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o") == figures.FARTHEST * 0.8


def curves(histories, final={}):  # noqa: B006
    return figures.loss_curves(histories, STYLES, final)


def test_curves_have_a_log_scale_and_their_best_value():
    history = [{"step": step, "train/perplexity": 900 / step, "learning_rate": 1.0} for step in (1, 2, 3, 4)]
    history += [{"step": step, "validation/perplexity": 1_000 / step} for step in (2, 4)]
    drawn = curves({"lstm": history, "kn5": [{"step": 4, "validation/perplexity": 300.0}]})
    (axes,) = drawn.axes
    assert axes.get_yscale() == "log"
    assert sorted(legend_of(drawn)) == ["kn5: 300", "lstm: best 250"]
    assert list(axes.lines[1].get_xdata()) == [2, 4]


def test_the_kept_weights_are_ringed_with_the_figure_that_the_terminal_shows():
    history = [{"step": step, "validation/perplexity": value} for step, value in ((4, 6.4), (8, 3.732))]
    drawn = curves({"lstm": history}, {"lstm": (8, 3.703)})
    assert legend_of(drawn) == ["lstm: 3.703"]
    (ring,) = [line for line in drawn.axes[0].lines if line.get_markersize() == 11]
    assert (list(ring.get_xdata()), list(ring.get_ydata())) == ([8], [3.703])


def test_infinite_points_are_left_out_of_a_curve_and_hide_no_other():
    perplexities = (math.inf, 500.0, 400.0)
    history = [{"step": step, "validation/perplexity": value} for step, value in enumerate(perplexities)]
    drawn = curves({"lstm": history, "unigram": [{"step": 4, "validation/perplexity": math.inf}]})
    assert sorted(legend_of(drawn)) == ["lstm: best 400", "unigram: infinite"]
    assert curve_of(drawn.axes[0], "lstm: best 400") == ([1, 2], [500.0, 400.0])


@pytest.mark.parametrize("histories", [{}, {"lstm": []}, {"lstm": [{"step": 1, "train/perplexity": math.nan}]}])
def test_curves_without_points_are_drawn_empty(histories):
    assert legend_of(curves(histories)) == []


def test_a_journal_is_read_up_to_a_torn_last_line(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "train/nats": 2.0}\n{"step": 2, "tra')
    assert journal_lines(tmp_path / "metrics.jsonl") == [{"step": 1, "train/nats": 2.0}]


def test_reliability_has_a_panel_per_model_without_empty_bins():
    table = pl.DataFrame({"count": [10, 0, 5], "mean_probability": [0.1, None, 0.9], "mean_accuracy": [0.2, None, 0.8]})
    facts = {"lstm": {"ece": 0.1234}}
    first, second = figures.reliability_figure({"lstm": table, "kn5": table}, facts, STYLES).axes
    assert first.get_title() == "lstm\nECE 0.123"
    assert second.get_title() == "kn5"
    points = first.collections[0]
    assert [list(place) for place in points.get_offsets()] == [[0.1, 0.2], [0.9, 0.8]]
    assert points.get_sizes()[0] > points.get_sizes()[1]


def test_novelty_shows_samples_and_people_and_leaves_out_what_has_no_figure():
    table = pl.DataFrame({"n": [1, 2, 3], "samples": [0.9, 0.5, None], "real": [0.8, 0.4, 0.1]})
    figure = figures.novelty_figure({"lstm": table}, STYLES)
    assert curve_of(figure.axes[0], "lstm") == ([1, 2], [0.9, 0.5])
    assert curve_of(figure.axes[0], "held-out reviews") == ([1, 2, 3], [0.8, 0.4, 0.1])


def test_exposure_has_a_point_per_canary_its_mean_and_the_line_of_chance():
    table = pl.DataFrame({"copies": [1, 1, 16, 16], "exposure": [1.0, 3.0, 8.0, None]})
    figure = figures.exposure_figure({"lstm": table}, STYLES, 12.0)
    (axes,) = figure.axes
    assert curve_of(axes, "lstm") == ([0, 0, 1], [1.0, 3.0, 8.0])
    assert ticks_of(axes.xaxis) == ["once", "16 times"]
    assert [line.get_ydata()[0] for line in axes.lines if line.get_linewidth() == 2.5] == [2.0, 8.0]
    _, (chance, _) = curve_of(axes, "95% of never planted below")
    assert 2**-chance == pytest.approx(0.05)
    assert "most that can be shown: 12.0" in legend_of(figure)


# ---- slices


def test_the_worst_slices_stand_on_top_and_those_surely_lost_are_marked():
    above, gains = figures.worst_slices_figure(RUN.slices, "lstm", "kn5", STYLES).axes
    own = RUN.slices.filter(model="lstm")
    worst = own.sort("excess", descending=True).row(0, named=True)
    assert ticks_of(above.yaxis)[-1].startswith(f"{worst['dimension']}: {worst['slice']} (")
    assert gains.get_legend_handles_labels()[1] == ["may be chance", "sure"]
    assert sorted(curve_of(gains, "sure")[0])[-1] == -own["gain"].min()
    assert gains.get_xlabel() == "more bits than kn5 needs"


def test_a_slice_that_is_infinite_stands_on_top_and_has_a_word_for_its_point():
    first = (pl.col("model") == "lstm") & (pl.col("slice") == "3")
    endless = {"open_bits_per_byte": math.inf, "excess": None, "gain": None}
    changed = [pl.when(first).then(pl.lit(value)).otherwise(name).alias(name) for name, value in endless.items()]
    drawn = figures.worst_slices_figure(RUN.slices.with_columns(changed), "lstm", "kn5", STYLES)
    for axes in drawn.axes:
        assert ticks_of(axes.yaxis)[-1].startswith("stars: 3 (")
        assert [(text.get_text(), text.xy[1]) for text in axes.texts] == [("infinite", len(ticks_of(axes.yaxis)) - 1)]


def test_the_baseline_itself_is_not_held_against_itself():
    assert len(figures.worst_slices_figure(RUN.slices, "kn5", "kn5", STYLES).axes) == 1


@pytest.mark.parametrize(("count", "text"), [(7, "7"), (999, "999"), (1_234, "1.23 k"), (2_500_000, "2.5 M")])
def test_counts_are_shortened(count, text):
    assert thousands(count) == text


def test_drawing_keeps_matplotlib_s_global_state_out():
    assert "pyplot" not in Path(figures.__file__).read_text(encoding="utf-8")
