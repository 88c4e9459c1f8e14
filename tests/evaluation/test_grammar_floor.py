import math
from random import Random

import polars as pl
import pytest

from corpus import grammar
from evaluation.floor import floor_of


def reviews(texts):
    return pl.DataFrame({"text": texts, "stars": [5] * len(texts), "bytes": [len(text) + 1 for text in texts]})


@pytest.fixture
def fair_letters(monkeypatch):
    """A grammar that draws letters a and b, or the end, with a third each; it counts how often it is asked."""
    asked = []

    def log_probability(text, stars):
        asked.append((text, stars))
        return (len(text) + 1) * math.log(1 / 3) if set(text) <= set("ab") else None

    monkeypatch.setattr("corpus.grammar.log_probability", log_probability)
    return asked


def test_the_floor_is_the_bits_of_the_grammar_per_byte(fair_letters):
    found = floor_of(reviews(["ab", "b", ""]))
    assert found.bits_per_byte == pytest.approx(math.log2(3))
    assert (found.reviews, found.explained, found.bytes) == (3, 3, 6)
    assert fair_letters[0] == ("ab", 5)


def test_one_review_in_a_hundred_may_be_beyond_the_grammar_and_is_left_out(fair_letters):
    found = floor_of(reviews(["ab"] * 99 + ["xyz"]))
    assert (found.reviews, found.explained) == (100, 99)
    assert found.bits_per_byte == pytest.approx(math.log2(3))
    assert found.to_dict()["explained"] == 99


def test_real_reviews_have_no_floor_and_are_turned_away_early(fair_letters):
    assert floor_of(reviews(["what a lovely place"] * 1_000)) is None
    assert len(fair_letters) == 11


def test_no_reviews_have_no_floor(fair_letters):
    assert floor_of(reviews([]).cast({"text": pl.String, "stars": pl.Int8, "bytes": pl.Int64})) is None


def test_a_sample_is_drawn_by_seed_and_says_its_size(fair_letters):
    texts = ["a" * (i % 7) for i in range(200)]
    one, same, other = (floor_of(reviews(texts), sample=50, seed=seed) for seed in (1, 1, 2))
    assert one == same != other
    assert (one.reviews, one.explained) == (50, 50)
    assert floor_of(reviews(texts), sample=500).reviews == 200


def test_the_grammars_own_reviews_cost_no_more_than_the_choices_that_made_them():
    # Both have the same text; the derivation's own choices can only cost more.
    draw = Random(12)
    made = [grammar.write_review(5, draw.random) for _ in range(40)]
    sizes = [len(text.encode()) + 1 for text, _, _ in made]
    floor = floor_of(pl.DataFrame({"text": [text for text, _, _ in made], "stars": [5] * 40, "bytes": sizes}))
    assert floor.nats <= -math.fsum(logp for _, _, logp in made)
    assert (floor.explained, floor.reviews, floor.bytes) == (40, 40, sum(sizes))
    assert floor.bits_per_byte == pytest.approx(floor.nats / floor.bytes / math.log(2))


def test_text_of_others_has_no_floor():
    texts = ["It was a dark and stormy night.", grammar.sample_review(3, 1)]
    sizes = [len(text.encode()) + 1 for text in texts]
    assert floor_of(pl.DataFrame({"text": texts, "stars": [3, 3], "bytes": sizes})) is None
    assert floor_of(pl.DataFrame({"text": texts[1:], "stars": [3], "bytes": sizes[1:]})).explained == 1
