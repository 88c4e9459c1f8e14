"""The figures of the report, read back as data: what is drawn is what was given, and nothing else."""

from __future__ import annotations

import math
import re
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from matplotlib.colors import to_rgb

from reviewlm.evaluation.reports import run_figures as figures
from reviewlm.evaluation.reports.canvas import canvas, styles_of, svg_of
from reviewlm.evaluation.reports.document import ON_DARK, PALETTE
from reviewlm.evaluation.reports.run_figures import bits_figure, novelty_figure
from tests.evaluation.made_results import LEVELS, made_table

STYLES = styles_of(list(LEVELS))
MACHADO = {
    "full": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
"""From light to light as it is seen, after Machado, Oliveira and Fernandes (2009), severity 1."""


def legend_of(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def curve_of(axes, label):
    """x and y of the line or error bar of this label."""
    handles, labels = axes.get_legend_handles_labels()
    handle = handles[labels.index(label)]
    line = handle[0] if hasattr(handle, "has_xerr") else handle
    return list(line.get_xdata()), list(line.get_ydata())


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
    lab = np.stack(
        [116 * root[:, 1] - 16, 500 * (root[:, 0] - root[:, 1]), 200 * (root[:, 1] - root[:, 2])], 1
    )
    assert min(math.dist(one, other) for one, other in combinations(lab, 2)) > 25


def curves(histories, final={}):  # noqa: B006
    return figures.loss_curves(histories, STYLES, final)


def test_infinite_points_are_left_out_of_a_curve():
    perplexities = (math.inf, 500.0, 400.0)
    history = [
        {"step": step, "validation/perplexity": value} for step, value in enumerate(perplexities)
    ]
    drawn = curves({"lstm": history, "unigram": [{"step": 4, "validation/perplexity": math.inf}]})
    assert sorted(legend_of(drawn)) == ["lstm: best 400", "unigram: infinite"]
    assert curve_of(drawn.axes[0], "lstm: best 400") == ([1, 2], [500.0, 400.0])


@pytest.mark.parametrize(
    "histories", [{}, {"lstm": []}, {"lstm": [{"step": 1, "train/perplexity": math.nan}]}]
)
def test_curves_without_points_are_drawn_empty(histories):
    assert legend_of(curves(histories)) == []


def test_reliability_has_a_panel_per_model_without_empty_bins():
    table = pl.DataFrame(
        {
            "count": [10, 0, 5],
            "mean_probability": [0.1, None, 0.9],
            "mean_accuracy": [0.2, None, 0.8],
        }
    )
    facts = {"lstm": {"ece": 0.1234}}
    first, second = figures.reliability_figure({"lstm": table, "kn5": table}, facts, STYLES).axes
    assert first.get_title() == "lstm\nECE 0.123"
    assert second.get_title() == "kn5"
    points = first.collections[0]
    assert [list(place) for place in points.get_offsets()] == [[0.1, 0.2], [0.9, 0.8]]
    assert points.get_sizes()[0] > points.get_sizes()[1]


@pytest.fixture(scope="module")
def text():
    return svg_of(bits_figure(made_table(), STYLES, None, "kn5"), "bits", 'How to "read" <it>')


def test_it_is_well_formed(text):
    ElementTree.fromstring(text)
    assert ">lstm+cache</text>" in text


def test_it_is_described(text):
    root = ElementTree.fromstring(text)
    assert (root.get("role"), root.get("aria-label")) == ("img", 'How to "read" <it>')


def test_equal_figures_give_equal_texts(text):
    figure = bits_figure(made_table(), STYLES, None, "kn5")
    assert text == svg_of(figure, "bits", 'How to "read" <it>')


@pytest.fixture
def two_figures(text):
    """The texts of two figures of a page."""
    curve = pl.DataFrame(
        {
            "n": [1, 2],
            "samples": [0.9, 0.5],
            "real": [0.8, 0.4],
        }
    )
    return text, svg_of(novelty_figure({"kn5": curve}, STYLES), "novelty", "")


def ids_in(figure):
    return set(re.findall(r' id="([^"]+)"', figure))


def test_ids_of_two_figures_of_a_page_differ(two_figures):
    one, other = two_figures
    assert not ids_in(one) & ids_in(other)


def test_each_reference_in_a_figure_is_met(two_figures):
    for figure in two_figures:
        assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', figure)) <= ids_in(figure)


def test_a_label_that_looks_like_markup_stays_text():
    figure, axes = canvas(4, 3)
    name = "</title><script>alert(1)</script>"
    axes.plot([1, 2], [1, 2], **styles_of([name])[name], label=name)
    axes.legend()
    text = svg_of(figure, 'a"><b', "'\">")
    assert "<script" not in text
    assert "<b" not in text
    assert ElementTree.fromstring(text).get("aria-label") == "'\">"
