"""Figures as SVG: what belongs to a model is marked, points tell their values, colours follow the page."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import polars as pl
import pytest

from evaluation.plots.canvas import canvas, styles_of
from evaluation.plots.curves import perplexity_bars
from evaluation.plots.figures import rank_figure
from evaluation.plots.slices import slice_figure
from evaluation.plots.svg import MOST_POINTS, svg_of
from tests.evaluation.made_results import LEVELS, made_results, made_table

STYLES = styles_of(list(LEVELS))
NAMES = list(LEVELS)
RUN = made_results()


def by_stars():
    return slice_figure(RUN.slices, "stars", {"kn5": "word", "lstm": "word"}, STYLES)


def read(text):
    return ElementTree.fromstring(text)


def classes(root):
    return {node.get("class") for node in root.iter() if node.get("class")}


def tooltips(root):
    return [node[0].text for node in root.iter("circle")]


@pytest.fixture(scope="module")
def text():
    return svg_of(by_stars(), "by_stars", STYLES, 'How to "read" <it>')


def test_it_is_well_formed_and_described_and_equal_figures_give_equal_texts(text):
    root = read(text)
    assert (root.get("role"), root.get("aria-label")) == ("img", 'How to "read" <it>')
    assert text == svg_of(by_stars(), "by_stars", STYLES, 'How to "read" <it>')


def test_what_belongs_to_a_model_and_its_name_in_the_legend_carry_its_number(text):
    kn5, lstm = NAMES.index("kn5"), NAMES.index("lstm")
    assert classes(read(text)) == {f"m{kn5}", f"m{lstm}", f"key m{kn5}", f"key m{lstm}", "hit"}
    assert f"var(--m{kn5})" in text
    assert STYLES["kn5"]["color"].lower() not in text


def test_axes_belong_to_no_model():
    styles = styles_of([f"m{number}" for number in range(16)])
    figure, axes = canvas(4, 3)
    axes.plot([1, 2], [1, 2], **styles["m0"])
    axes.axhline(1.5, color="#000000")
    marked = [name for name in classes(read(svg_of(figure, "axes", styles, ""))) if name != "hit"]
    assert marked == ["m0"]


def test_each_point_tells_its_model_and_both_values(text):
    own = RUN.slices.filter((pl.col("dimension") == "stars") & (pl.col("model") == "kn5")).row(1, named=True)
    said = tooltips(read(text))
    assert len(said) == 2 * 5
    assert f"kn5\nstars of the review: 2 (77 reviews)\nbits per byte of text: {own['open_bits_per_byte']:.3f}" in said


def test_a_circle_is_where_its_point_is_drawn(text):
    root = read(text)
    drawn = {(round(float(node.get("x")), 1), round(float(node.get("y")), 1)) for node in root.iter("use")
             if node.get("x")}  # fmt: skip
    places = [(float(node.get("cx")), float(node.get("cy"))) for node in root.iter("circle")]
    assert all(min(abs(x - u) + abs(y - v) for u, v in drawn) < 0.25 for x, y in places)


def test_a_bar_tells_the_value_at_its_end():
    said = tooltips(read(svg_of(perplexity_bars(made_table(), None, "kn5", STYLES), "bars", STYLES, "")))
    assert len(said) == 2 * len(LEVELS)
    assert any(one.startswith("lstm (word)\nbits per byte of text: 0.82") for one in said)


def test_hatched_bars_of_adaptive_models_follow_the_page_like_all_others():
    text = svg_of(perplexity_bars(made_table(), None, "", STYLES), "bars", STYLES, "bars")
    assert "<pattern" in text
    assert not re.search(r"#[0-9a-f]{6}", text)
    assert text.count(f"fill: var(--m{NAMES.index('lstm+cache')})") == 1


def test_a_long_curve_is_drawn_without_a_circle_for_each_point():
    figure, axes = canvas(4, 3)
    axes.plot(range(MOST_POINTS + 1), range(MOST_POINTS + 1), **STYLES["kn5"], label="kn5")
    assert tooltips(read(svg_of(figure, "long", STYLES, ""))) == []


def test_ids_of_two_figures_of_a_page_differ_and_each_reference_is_met(text):
    ranks = rank_figure({"kn5": pl.DataFrame({"rank": [1, 2, 7]})}, STYLES)
    both = [text, svg_of(ranks, "ranks", STYLES, "")]
    ids = [re.findall(r' id="([^"]+)"', one) for one in both]
    assert not set(ids[0]) & set(ids[1])
    for known, one in zip(ids, both, strict=True):
        assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', one)) <= set(known)


def test_a_label_that_looks_like_markup_stays_text():
    figure, axes = canvas(4, 3)
    name = "</title><script>alert(1)</script>"
    styles = styles_of([name])
    axes.plot([1, 2], [1, 2], **styles[name], label=name)
    axes.legend()
    text = svg_of(figure, 'a"><b', styles, "'\">")
    assert "<script" not in text
    assert "<b" not in text
    assert tooltips(read(text))[0].startswith(name)
