"""The surprisal of single tokens on the page: levels, tints, words put together, and which reviews are shown."""

from __future__ import annotations

import math

import polars as pl
import pytest

from evaluation.palette import TINTS, TINTS_ON_DARK
from evaluation.scoring import surprisal
from tests.evaluation.reports.report_pages import Reader, page_of


@pytest.mark.parametrize(
    ("bits", "level"), [(0, 0), (0.99, 0), (1, 1), (3, 2), (6, 3), (9.9, 3), (10, 4), (math.inf, 4)]
)
def test_levels_of_surprisal(bits, level):
    assert surprisal.level_of(bits) == level


def test_each_token_says_its_probability_rank_and_bits():
    ln2 = math.log(2)
    tokens = pl.DataFrame({
        "review_id": ["a"] * 4, "position": [1, 0, 2, 3], "token": ["<b>", "good", "\n", "<eos>"],
        "nats": [12 * ln2, 0.5 * ln2, math.inf, 2 * ln2], "rank": [700, 1, None, 3],
    })  # fmt: skip
    read = Reader(page_of(surprisal.heat_map([surprisal.TokenSurprisals("lstm", "word", tokens)], ["a", "b"])))
    spans = [attrs for attrs in read.all("span") if "title" in attrs]
    assert [attrs["class"] for attrs in spans] == ["s0", "s4", "s4", "s1"]
    assert spans[0]["title"] == "p = 70.7%, rank 1, 0.5 bits"
    assert spans[1]["title"] == "p = 2.4e-04, rank 700, 12.0 bits"
    assert spans[2]["title"].startswith("p = 0.0e+00, never suggested")
    assert [text for text in read.text if text in ("good", "<b>", "↵", "∎")] == ["good", "<b>", "↵", "∎"]
    assert len(read.all("h3")) == 2
    assert "called impossible" in " ".join(read.text)


def test_pieces_of_words_keep_the_spaces_that_they_bring():
    assert [surprisal.shown(" the", unit) for unit in ("word", "bpe")] == ["the", " the"]
    assert surprisal.shown(" ", "char") == " "
    assert surprisal.shown("\n", "word") == "↵"


@pytest.mark.parametrize(("tints", "ink"), [(TINTS, "#1b1b1b"), (TINTS_ON_DARK, "#f1f3f4")])
def test_the_tints_can_be_read_and_told_apart_without_colour(tints, ink):
    """Contrast of the text after WCAG 2.2; the line below grows with the level."""

    def luminance(colour):
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    levels, text = [luminance(tint) for tint in tints], luminance(ink)
    assert all((max(level, text) + 0.05) / (min(level, text) + 0.05) >= 4.5 for level in levels)
    assert levels == sorted(levels, reverse=levels[0] > text)
    assert all(f"border-bottom-width: {level}px" in page_of() for level in range(5))


def test_chosen_reviews_are_spread_from_easy_to_hard_and_neither_short_nor_long():
    rows = [
        {"review_id": f"r{number:02d}", "nats": float(number)}
        for number in range(20) for _ in range(20 if number % 2 else 5)
    ]  # fmt: skip
    assert surprisal.choose_reviews(pl.DataFrame(rows), 2) == ["r05", "r15"]
    assert surprisal.choose_reviews(pl.DataFrame(rows[:5]), 3) == ["r00"]


def test_where_few_reviews_are_of_a_good_length_those_that_are_nearly_so_are_chosen():
    """With real reviews a choice among all could fall on one of 900 tokens, which fills pages."""
    lengths = {"brief": 2, "short": 11, "good": 30, "long": 70, "longer": 400, "endless": 900}
    rows = [{"review_id": name, "nats": 1.0} for name, length in lengths.items() for _ in range(length)]
    assert sorted(surprisal.choose_reviews(pl.DataFrame(rows), 4)) == ["brief", "good", "long", "short"]


def test_of_a_long_review_the_beginning_is_shown_with_the_cost_of_the_whole():
    tokens = pl.DataFrame({"review_id": ["a"] * 200, "position": range(200), "token": ["so"] * 200,
                           "nats": [math.log(2)] * 200, "rank": [1] * 200})  # fmt: skip
    ((passage,),) = surprisal.heat_map([surprisal.TokenSurprisals("kn5", "word", tokens)], ["a"]).reviews
    assert len(passage.tokens) == 120
    assert passage.cost == "200 bits, 1.00 a token; the first 120 of 200 tokens"
