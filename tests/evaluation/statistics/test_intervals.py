"""Intervals of figures and of differences: what they are, when there is none, and what a gap to the floor is."""

import math
from random import Random

import numpy as np
import polars as pl
import pytest

from reviewlm.core.errors import ReviewLMError
from reviewlm.corpus.synthetic import grammar
from reviewlm.evaluation.scoring.metrics import FIGURES, LN2, SUMS, figures_of
from reviewlm.evaluation.statistics.floor import JUDGED, floor_nats, floor_of
from reviewlm.evaluation.statistics.intervals import (
    ComparedScores,
    flagged_below_floor,
    usefulness_table,
)
from reviewlm.tasks.evaluation.intervals import judged_reviews

HOW = {
    "confidence": 0.95,
    "resamples": 1_000,
    "seed": 1,
}


def scores(
    factor=1.0,
    noise=0.0,
    reviews=120,
    seed=0,
):
    """Reviews of skewed length; *factor* scales what they cost, *noise* is the model's own luck with each."""
    shared, own = np.random.default_rng(7), np.random.default_rng(seed)
    words = shared.lognormal(4, 0.8, reviews).astype(int) + 1
    hard = shared.lognormal(0, 0.2, reviews) * np.exp(noise * own.normal(size=reviews))
    return pl.DataFrame(
        {
            "review_id": [f"r{n:03d}" for n in range(reviews)],
            "stars": [1 + n % 5 for n in range(reviews)],
            "bytes": 5 * words + 1,
            "words": words,
            "tokens": words + 1,
            "oov": words // 40,
            "spelling_nats": 9.0 * (words // 40),
            "nats": factor * hard * words * 5,
        }
    )


def compared(
    tables,
    judged=None,
    labels=None,
    **options,
):
    figures = {
        name: figures_of(table, **(labels or {}).get(name, {})) for name, table in tables.items()
    }
    return ComparedScores(tables, figures, judged, **{**HOW, **options})


def row_of(table, name):
    return table.row(by_predicate=pl.col("model") == name, named=True)


@pytest.mark.parametrize("unit", ["word", "char"])
def test_figures_of_sums_are_those_of_the_figures(unit):
    found = figures_of(scores(), unit=unit)
    sums = {name: getattr(found, name) for name in SUMS}
    for name, of in FIGURES.items():
        if (expected := getattr(found, name)) is not None:
            assert of(sums) == pytest.approx(expected, rel=1e-12), name


@pytest.fixture(scope="module")
def kn5_row():
    """The intervals of one model."""
    return row_of(compared({"kn5": scores()}).interval_table("kn5"), "kn5")


def test_every_figure_lies_in_its_interval(kn5_row):
    found = figures_of(scores())
    for name in FIGURES:
        if name != "bits_per_character":
            assert kn5_row[f"{name}_lo"] < getattr(found, name) < kn5_row[f"{name}_hi"], name
    assert (kn5_row["bits_per_character_lo"], kn5_row["bits_per_character_hi"]) == (None, None)


def test_perplexities_have_the_intervals_of_their_bits(kn5_row):
    expected = 2 ** kn5_row["bits_per_byte_lo"]
    assert kn5_row["byte_perplexity_lo"] == pytest.approx(expected, rel=1e-6)


def test_a_difference_is_surer_than_either_figure_because_both_find_the_same_reviews_hard():
    found = compared({"lstm": scores(0.99, 0.01, seed=1), "kn5": scores()})
    table, differences = found.interval_table("kn5"), found.difference_table("kn5")
    row = differences.filter(figure="bits_per_byte").row(0, named=True)
    own = row_of(table, "lstm")
    assert row["difference_hi"] < 0 < row["gain_lo"]
    assert own["bits_per_byte_hi"] > figures_of(scores()).bits_per_byte, (
        "the figures' own intervals overlap"
    )
    assert row["difference_hi"] - row["difference_lo"] < 0.2 * (
        own["bits_per_byte_hi"] - own["bits_per_byte_lo"]
    )


def test_equal_models_differ_by_nothing_with_certainty():
    rows = compared({"a": scores(), "b": scores()}).difference_table("a")
    for name in ("difference", "difference_lo", "difference_hi", "gain_lo", "gain_hi"):
        assert rows[name].to_list() == pytest.approx([0.0] * len(rows), abs=1e-9)


def test_scores_of_different_reviews_are_refused():
    with pytest.raises(ReviewLMError, match="different test sets"):
        compared({"a": scores(), "b": scores().with_columns(pl.col("bytes") + 1)})
    with pytest.raises(ReviewLMError, match="no scored reviews"):
        compared({"a": scores().clear()})


@pytest.fixture(scope="module")
def with_impossible():
    """Two models, to the first of which one review is impossible."""
    nats = pl.when(pl.col("review_id") == "r004").then(math.inf).otherwise(pl.col("nats"))
    return compared({"mle": scores().with_columns(nats=nats), "kn5": scores()})


def test_an_infinite_figure_has_no_interval(with_impossible):
    row = row_of(with_impossible.interval_table("kn5"), "mle")
    assert row["open_bits_per_byte_lo"] is None
    assert row["baseline_gain_hi"] is None
    assert with_impossible.difference_table("kn5")["difference"].null_count() == 5


def test_an_infinite_figure_leaves_the_others_their_intervals(with_impossible, kn5_row):
    row = row_of(with_impossible.interval_table("kn5"), "kn5")
    assert row == pytest.approx(kn5_row, nan_ok=True)


def judged_of(
    table,
    bits_below,
    noise=0.0,
    seed=3,
):
    """A grammar that needs so many bits per byte less than the open scores of *table*, give or take."""
    below = bits_below + noise * np.random.default_rng(seed).normal(size=len(table))
    nats = (table["nats"] + table["spelling_nats"]).to_numpy() - below * table[
        "bytes"
    ].to_numpy() * LN2
    return table.select("review_id", "bytes", nats=nats).cast(JUDGED)


def test_a_gap_is_what_a_model_needs_more_than_the_grammar_review_by_review():
    table = scores()
    row = row_of(compared({"kn5": table}, judged_of(table, 0.25)).interval_table("kn5"), "kn5")
    assert [row["gap"], row["gap_lo"], row["gap_hi"]] == pytest.approx([0.25] * 3, rel=1e-9)
    assert row["below_floor"] is False


def test_a_model_below_the_floor_is_flagged_only_beyond_noise():
    table = scores()
    tables = {"kn5": table}
    sure = compared(tables, judged_of(table, -0.1, 0.2)).interval_table("kn5")
    lucky = compared(tables, judged_of(table, -0.03, 0.5)).interval_table("kn5")
    assert row_of(lucky, "kn5")["gap"] < 0
    assert (flagged_below_floor(sure), flagged_below_floor(lucky)) == (["kn5"], [])
    exact = compared(tables, judged_of(table, 0.0)).interval_table("kn5")
    assert flagged_below_floor(exact) == []


def observed(suggestions, keys=0):
    """Tokens of reviews r0, r1 …, one list of suggestion ranks each."""
    rows = [(f"r{n}", rank) for n, ranks in enumerate(suggestions) for rank in ranks]
    frame = pl.DataFrame(rows, {"review_id": pl.String, "suggestion": pl.Int64}, orient="row")
    return frame.with_columns(keys_spared=pl.lit(keys))


def test_hits_are_shares_of_tokens_with_the_interval_over_reviews():
    tokens = observed([[1, 1, 4, None], [2, 1], [9, 9, 9, 3], [1]], keys=2)
    sizes = pl.DataFrame(
        {"review_id": ["r0", "r1", "r2", "r3", "r9"], "bytes": [20, 10, 30, 10, 999]}
    )
    row = usefulness_table({"kn5": tokens}, sizes, **HOW).row(0, named=True)
    assert row["hit@1"] == pytest.approx(4 / 11)
    assert row["hit@3"] == pytest.approx(6 / 11)
    assert row["hit@5"] == pytest.approx(7 / 11)
    assert row["mrr"] == pytest.approx((4 + 1 / 2 + 1 / 3 + 1 / 4 + 3 / 9) / 11)
    assert row["keystroke_savings"] == pytest.approx(2 * 11 / 70)
    assert 0 <= row["hit@1_lo"] < row["hit@1"] < row["hit@1_hi"] <= 1


def test_models_observed_on_different_reviews_are_refused():
    sizes = pl.DataFrame({"review_id": ["r0", "r1"], "bytes": [9, 9]})
    with pytest.raises(ReviewLMError, match="different reviews"):
        usefulness_table({"a": observed([[1], [2]]), "b": observed([[1]])}, sizes, **HOW)


def reviews(texts):
    rows = [(f"r{number}", text, 5, len(text.encode()) + 1) for number, text in enumerate(texts)]
    schema = {
        "review_id": pl.String,
        "text": pl.String,
        "stars": pl.Int8,
        "bytes": pl.Int64,
    }
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

    monkeypatch.setattr("reviewlm.corpus.synthetic.grammar.log_probability", log_probability)
    return asked


def test_the_floor_is_the_bits_of_the_grammar_per_byte(fair_letters):
    found = floor(reviews(["ab", "b", ""]))
    assert found["bits_per_byte"] == pytest.approx(math.log2(3))
    assert (found["reviews"], found["explained"], found["bytes"]) == (3, 3, 6)
    assert ("ab", 5) in fair_letters


def test_one_review_in_a_hundred_may_be_beyond_the_grammar(fair_letters):
    found = floor(reviews(["ab"] * 99 + ["xyz"]))
    assert (found["reviews"], found["explained"]) == (100, 99)
    assert found["bits_per_byte"] == pytest.approx(math.log2(3))


def test_real_reviews_have_no_floor(fair_letters):
    assert floor(reviews(["what a lovely place"] * 1_000)) is None


def test_real_reviews_are_turned_away_early(fair_letters):
    floor(reviews(["what a lovely place"] * 1_000))
    assert len(fair_letters) == 11


def test_the_grammars_own_reviews_are_all_explained():
    draw = Random(12)
    texts = [grammar.write_review(5, draw.random)[0] for _ in range(40)]
    found = floor(reviews(texts))
    assert found["explained"] == found["reviews"] == 40
    assert found["bytes"] == sum(len(text.encode()) + 1 for text in texts)
    assert found["bits_per_byte"] == pytest.approx(found["nats"] / found["bytes"] / math.log(2))


def test_each_review_that_the_grammar_can_have_written_has_its_own_cost(fair_letters):
    judged = judged_reviews(reviews(["ab", "xyz"] + ["b"] * 98))
    assert judged.columns == ["review_id", "bytes", "nats"]
    of_ab, of_b = pytest.approx(3 * math.log(3)), pytest.approx(2 * math.log(3))
    assert judged["nats"].to_list() == [of_ab, None] + [of_b] * 98


def test_a_floor_of_other_texts_is_refused(fair_letters):
    frame = reviews(["ab", "b"])
    with pytest.raises(ReviewLMError, match=r"(?s)other texts.*r0"):
        floor_nats(judged_reviews(frame), frame.with_columns(bytes=pl.Series([99, 2])))
