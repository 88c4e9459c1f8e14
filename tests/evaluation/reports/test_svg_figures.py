"""Figures as SVG: texts stay texts, colours follow the page."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import polars as pl
import pytest

from evaluation.reports.canvas import canvas, styles_of, svg_of
from evaluation.reports.run_figures import bits_figure, novelty_figure
from tests.evaluation.made_results import LEVELS, made_table

STYLES = styles_of(list(LEVELS))


@pytest.fixture(scope="module")
def text():
    return svg_of(bits_figure(made_table(), STYLES, None, "kn5"), "bits", 'How to "read" <it>')


def test_it_is_well_formed_and_described_and_equal_figures_give_equal_texts(text):
    root = ElementTree.fromstring(text)
    assert (root.get("role"), root.get("aria-label")) == ("img", 'How to "read" <it>')
    assert text == svg_of(bits_figure(made_table(), STYLES, None, "kn5"), "bits", 'How to "read" <it>')
    assert ">lstm+cache</text>" in text


def test_every_colour_follows_the_page(text):
    assert not re.search(r"#[0-9a-fA-F]{6}\b", text)
    assert {f"var(--m{number})" for number in range(len(LEVELS))} <= set(re.findall(r"var\(--\w+\)", text))


def test_ids_of_two_figures_of_a_page_differ_and_each_reference_is_met(text):
    curve = pl.DataFrame({"n": [1, 2], "samples": [0.9, 0.5], "real": [0.8, 0.4]})
    both = [text, svg_of(novelty_figure({"kn5": curve}, STYLES), "novelty", "")]
    ids = [re.findall(r' id="([^"]+)"', one) for one in both]
    assert not set(ids[0]) & set(ids[1])
    for known, one in zip(ids, both, strict=True):
        assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', one)) <= set(known)


def test_a_label_that_looks_like_markup_stays_text():
    figure, axes = canvas(4, 3)
    name = "</title><script>alert(1)</script>"
    axes.plot([1, 2], [1, 2], **styles_of([name])[name], label=name)
    axes.legend()
    text = svg_of(figure, 'a"><b', "'\">")
    assert "<script" not in text
    assert "<b" not in text
    assert ElementTree.fromstring(text).get("aria-label") == "'\">"
