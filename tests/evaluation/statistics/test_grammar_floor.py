import math
from random import Random

import polars as pl
import pytest

from core.errors import ReviewLMError
from corpus.synthetic import grammar
from evaluation.statistics.floor import floor_nats, floor_of
from tasks.evaluation.intervals import judged_reviews


def reviews(texts):
    rows = [(f"r{number}", text, 5, len(text.encode()) + 1) for number, text in enumerate(texts)]
    schema = {"review_id": pl.String, "text": pl.String, "stars": pl.Int8, "bytes": pl.Int64}
    return pl.DataFrame(rows, schema, orient="row")


def floor(frame):
    judged = judged_reviews(frame)
    return None if judged is None else floor_of(judged)


@pytest.fixture
def fair_letters(monkeypatch):
    """A grammar that draws letters a and b, or the end, with a third each; it counts how often it is asked."""
    asked = []

    def log_probability(text, stars):
        asked.append((text, stars))
        return (len(text) + 1) * math.log(1 / 3) if set(text) <= set("ab") else None

    monkeypatch.setattr("corpus.synthetic.grammar.log_probability", log_probability)
    return asked


def test_the_floor_is_the_bits_of_the_grammar_per_byte(fair_letters):
    found = floor(reviews(["ab", "b", ""]))
    assert found.bits_per_byte == pytest.approx(math.log2(3))
    assert (found.reviews, found.explained, found.bytes) == (3, 3, 6)
    assert ("ab", 5) in fair_letters


def test_one_review_in_a_hundred_may_be_beyond_the_grammar_and_is_left_out(fair_letters):
    found = floor(reviews(["ab"] * 99 + ["xyz"]))
    assert (found.reviews, found.explained) == (100, 99)
    assert found.bits_per_byte == pytest.approx(math.log2(3))
    assert found.to_dict()["explained"] == 99


def test_real_reviews_have_no_floor_and_are_turned_away_early(fair_letters):
    assert floor(reviews(["what a lovely place"] * 1_000)) is None
    assert len(fair_letters) == 11


def test_no_reviews_have_no_floor(fair_letters):
    assert floor(reviews([])) is None


@pytest.mark.slow
def test_the_grammars_own_reviews_cost_no_more_than_the_choices_that_made_them():
    # Both have the same text; the derivation's own choices can only cost more.
    draw = Random(12)
    made = [grammar.write_review(5, draw.random) for _ in range(40)]
    found = floor(reviews([text for text, _, _ in made]))
    assert found.nats <= -math.fsum(logp for _, _, logp in made)
    assert (found.explained, found.reviews, found.bytes) == (40, 40, sum(len(text.encode()) + 1 for text, _, _ in made))
    assert found.bits_per_byte == pytest.approx(found.nats / found.bytes / math.log(2))


def test_text_of_others_has_no_floor():
    frame = reviews(["It was a dark and stormy night.", grammar.sample_review(5, 1)])
    assert floor(frame) is None
    assert floor(frame[1:]).explained == 1


def test_each_review_has_its_own_cost_and_none_where_the_grammar_cannot_have_written_it(fair_letters):
    judged = judged_reviews(reviews(["ab", "xyz"] + ["b"] * 98))
    assert judged.columns == ["review_id", "bytes", "nats"]
    assert judged["nats"].to_list() == [pytest.approx(3 * math.log(3)), None] + [pytest.approx(2 * math.log(3))] * 98


def test_the_cost_is_joined_to_scores_in_any_order_and_missing_where_a_review_was_not_judged(fair_letters):
    frame = reviews(["ab", "b", "aab"])
    judged = judged_reviews(frame.head(2))
    nats = floor_nats(judged, frame.reverse())
    assert math.isnan(nats[0])
    assert nats[1:].tolist() == pytest.approx([2 * math.log(3), 3 * math.log(3)])


def test_a_floor_of_other_texts_is_refused(fair_letters):
    frame = reviews(["ab", "b"])
    with pytest.raises(ReviewLMError, match=r"(?s)other texts.*r0"):
        floor_nats(judged_reviews(frame), frame.with_columns(bytes=pl.Series([99, 2])))
