"""Tables and pictures of what models remember: everything that was measured is in them, also what is no number."""

import math

import numpy as np
import polars as pl
import pytest

from course.figures import gradient_figure, learning_figure
from course.gradient_flow import GradientFlow
from course.tables import gradient_table, learning_table
from course.toy_training import CurvePoint, Learned
from evaluation.plots.memory import context_figure, probe_figure
from evaluation.probing.context_use import ContextUse, Kept
from evaluation.probing.memory_tables import context_table, probe_rows, scoring_speed
from evaluation.probing.probes import ANSWERS, table_of

HALVES = GradientFlow(0.5 ** (np.arange(1, 61) / 10)[None])
NOTHING = GradientFlow(np.zeros((1, 60)))
USE = {
    "kn": ContextUse((Kept(1, 150.0, 0.4, 0.1), Kept(5, 100.5, 0.0, 0.0), Kept(None, 100.0, 0.0, 0.0)), 50, 3),
    "mle": ContextUse(tuple(Kept(k, math.inf, math.inf, math.inf) for k in (1, 5, None)), 50, 3),
}
POINTS = (CurvePoint(50, 1.4, 0.25, 0.25), CurvePoint(100, 0.1, 1.0, 1.0))


def legend_of(figure):
    return [text.get_text() for text in (figure.axes[0].get_legend() or figure.legends[0]).get_texts()]


def probes_of(shift):
    rows = [("number", d, f"{d}", "", "", "", sign + shift, 2.0 - shift) for d in (1, 4, 9) for sign in (-1.0, 1.0)]
    rows.append(("dish", 1, "z", "", "", "", None, None))
    return table_of(pl.DataFrame(rows, ANSWERS, orient="row"))


def test_the_table_of_gradients_has_half_lengths_and_norms_relative_to_the_first():
    row, dead = gradient_table({"lstm": HALVES, "dead": NOTHING})
    assert row["half-length"] == pytest.approx(10)
    assert row["at 20"] == pytest.approx(0.5**1.9)
    assert "at 100" not in row
    assert (dead["half-length"], dead["at 20"]) == (0.0, 0.0)


def test_the_figure_of_gradients_names_every_network_and_dashes_the_untrained(recwarn):
    figure = gradient_figure({"lstm": HALVES, "lstm, untrained": HALVES, "dead": NOTHING})
    assert legend_of(figure)[0] == "lstm: half every 10 tokens"
    trained, untrained, _ = figure.axes[0].get_lines()
    assert (trained.get_linestyle(), untrained.get_linestyle()) == ("-", "--")
    assert trained.get_color() == untrained.get_color()
    figure.canvas.draw()
    assert not [one for one in recwarn if "matplotlib" in str(one.filename)]


def test_the_table_of_contexts_has_a_column_per_context_and_the_speeds():
    kn, mle = context_table(USE, {"kn": {"speed": 7.0}})
    assert kn == {"model": "kn", "1": 150.0, "5": 100.5, "all": 100.0, "needs": 5, "speed": 7.0}
    assert mle["needs"] == "all"


def test_the_figure_of_contexts_says_what_is_infinite_and_rings_the_effective_one():
    figure = context_figure(USE)
    assert legend_of(figure) == ["kn: 100, needs 5 tokens", "mle: infinite"]
    ring = figure.axes[0].get_lines()[1]
    assert (list(ring.get_xdata()), list(ring.get_ydata())) == ([5.0], [100.5])
    figure.canvas.draw()
    ticks = figure.axes[0].get_xticklabels()
    assert [tick.get_text() for tick in ticks] == ["1", "5", "all"]


@pytest.mark.parametrize(
    ("measure", "lstm", "rnn"),
    [("accuracy", 0.5, 0.5), ("shift", 0.5, 0.0), ("probability", math.exp(-1.5), math.exp(-2)), ("nats", 1.5, 2.0)],
)
def test_probes_that_nobody_knows_the_words_of_are_in_the_table_and_not_in_the_figure(measure, lstm, rnn):
    tables = {"lstm": probes_of(0.5), "rnn": probes_of(0.0)}
    rows = probe_rows(tables, measure)
    assert [row["kind"] for row in rows] == ["dish", "number", "number", "number"]
    assert (rows[0]["probes"], rows[0]["skipped"], rows[0]["lstm"]) == (0, 1, None)
    assert (rows[1]["lstm"], rows[1]["rnn"]) == pytest.approx((lstm, rnn))
    figure = probe_figure(tables, measure)
    figure.canvas.draw()
    assert [axes.get_title() for axes in figure.axes if axes.axison] == ["number"]


def test_learning_curves_name_the_last_point_and_who_stopped_early():
    curves = {"lstm": POINTS, "tanh": (*POINTS[:1], CurvePoint(100, 1.4, 0.25, 0.25), CurvePoint(150, 1.4, 0.2, 0.2))}
    figure = learning_figure(curves, "Recall", 0.25)
    assert legend_of(figure) == ["lstm: 100.0% at 100", "tanh: 20.0% at 150"]
    [row] = learning_table({"lstm": Learned(None, POINTS, POINTS[-1], 100, 2.0)})
    assert row == {"network": "lstm", "exact": 1.0, "answers": 1.0, "nats": 0.1, "updates": 100, "CPU s": 2.0}


def test_speed_counts_the_tokens_that_were_scored(bundle, stream, monkeypatch):
    import evaluation.probing.memory_tables as tables

    clock = iter(range(1_000))
    monkeypatch.setattr(tables, "process_time", lambda: next(clock))
    lengths = np.sort(np.diff(stream.offsets))[::-1]
    one_batch = 16 * lengths[15]
    assert scoring_speed(bundle.model, stream, tokens=1) == one_batch, "a second for the batch"
    whole = [len(batch) * batch[-1] for batch in np.split(lengths, range(16, len(lengths), 16))]
    assert scoring_speed(bundle.model, stream, tokens=10**9) == pytest.approx(np.mean(whole))
