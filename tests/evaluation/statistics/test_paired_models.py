"""Two models beside each other: what may be compared, how sure the difference is, and what has to be said about it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from reviewlm.core.errors import EmptyInput
from reviewlm.evaluation.scoring.metrics import figures_of
from reviewlm.evaluation.statistics.paired import (
    BETTER,
    CUT,
    UNDECIDED,
    UNKNOWN,
    ComparedModel,
    compare_pair,
    of_the_better,
    verdict,
)
from tests.evaluation.challengers import judge, rule

OPTIONS = {
    "resamples": 2_000,
    "min_reviews": 5,
    "confidence": 0.95,
    "seed": 1,
    "gate_confidence": 0.95,
    "max_review_loss": 1.0,
}
REVIEWS = 200
ENDS = ("", ", lower end", ", upper end")


def scores(nats: np.ndarray) -> pl.DataFrame:
    """Rows as `score_stream` gives them: 10 to 29 tokens and 50 to 149 bytes a review."""
    number = np.arange(len(nats))
    return pl.DataFrame(
        {
            "review_id": [f"r{n:04}" for n in number],
            "stars": number % 5 + 1,
            "bytes": 50 + number % 100,
            "words": 9 + number % 20,
            "tokens": 10 + number % 20,
            "oov": np.zeros(len(nats), np.int64),
            "spelling_nats": np.zeros(len(nats)),
            "nats": nats,
        }
    )


def side(
    name: str,
    rows: pl.DataFrame,
    vocabulary: str = "v1",
    bundle: str = "",
    entries: int = 8_000,
    **changed: str,
) -> ComparedModel:
    labels = {
        "unit": "word",
        "boundary": "bos stars eos",
        "adaptation": "static",
    } | changed
    texts = [f"{name} |\nbad", f"{name} good"]
    samples = pl.DataFrame(
        {
            "stars": [1, 5],
            "number": 0,
            "text": texts,
            "ended": [True, False],
            "seed": 1,
        }
    )
    figures = figures_of(rows, vocabulary=vocabulary, **labels)
    cost = {"megabytes": 1.5, name: 1.0}
    return ComparedModel(
        name,
        bundle or name,
        rows,
        figures,
        samples,
        cost,
        entries,
    )


@pytest.fixture
def nats() -> np.ndarray:
    return np.random.default_rng(7).gamma(20.0, 3.0, REVIEWS)


def figure(pair: object, name: str) -> dict[str, float | str]:
    return pair.figures.row(by_predicate=pl.col("figure") == name, named=True)  # type: ignore[attr-defined]


def test_the_interval_of_the_difference_is_as_wide_as_its_standard_error_says(nats: np.ndarray):
    """Of a ratio of sums the delta method gives SE = sd(d − r·b) · √n / Σb."""
    other = nats + np.random.default_rng(8).normal(0.2, 1.0, REVIEWS)
    pair = compare_pair(side("a", scores(nats)), side("b", scores(other)), None, **OPTIONS)
    row = figure(pair, "open bits per byte")
    size = scores(nats)["bytes"].to_numpy()
    bits = (other - nats) / math.log(2)
    error = np.std(bits - bits.sum() / size.sum() * size, ddof=1) * math.sqrt(REVIEWS) / size.sum()
    assert row["hi"] - row["lo"] == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert row["lo"] < row["difference"] < row["hi"]


def test_of_different_vocabularies_only_open_figures_are_compared(
    nats: np.ndarray,
):
    pair = compare_pair(
        side("words", scores(nats)),
        side(
            "bytes",
            scores(nats),
            "v2",
            unit="char",
            entries=96,
        ),
        None,
        **OPTIONS,
    )
    assert set(pair.figures["figure"]) == {"open bits per byte", "perplexity per word"}
    [note] = pair.notes
    assert (
        "different vocabularies (A: 8,000 entries of unit word, B: 96 entries of unit char)" in note
    )
    assert "byte perplexity, perplexity" in note


def test_models_with_different_ends_of_a_review_have_no_figure_in_common(nats: np.ndarray):
    pair = compare_pair(
        side("a", scores(nats)), side("b", scores(nats), boundary="eos"), None, **OPTIONS
    )
    assert len(pair.figures) == 0
    assert "ends of a review" in pair.notes[0]
    assert "(none)" in pair.to_markdown()


def test_only_a_text_that_was_cut_says_so(nats: np.ndarray):
    rows = compare_pair(
        side("a", scores(nats)), side("b", scores(nats)), None, **OPTIONS
    ).samples.to_dicts()
    assert rows[0] == {
        "stars": 1,
        "number": 0,
        "A": "a |\nbad",
        "B": "b |\nbad",
    }
    assert (rows[1]["A"], rows[1]["B"]) == ("a good" + CUT, "b good" + CUT)


def test_an_impossible_review_leaves_the_difference_unknown(nats: np.ndarray):
    impossible = nats.copy()
    impossible[3] = math.inf
    pair = compare_pair(side("a", scores(nats)), side("b", scores(impossible)), None, **OPTIONS)
    assert figure(pair, "open bits per byte")["verdict"] == UNKNOWN
    assert any("1 of 200 reviews impossible" in note for note in pair.notes)


@pytest.fixture
def learnt_side(nats: np.ndarray) -> Any:
    """An adapting model that has learnt from ten reviews, on which it is far better."""
    known = nats - 30.0 * (np.arange(REVIEWS) < 10)
    own = side("b", scores(known), adaptation="dynamic")
    return replace(own, learnt=[f"r{n:04}" for n in range(10)])


def test_an_adapting_model_is_named(nats: np.ndarray, learnt_side: Any):
    pair = compare_pair(side("a", scores(nats)), learnt_side, None, **OPTIONS)
    assert any(note.startswith("B adapts") and "dynamic" in note for note in pair.notes)


def test_reviews_that_a_model_has_learnt_are_left_out(nats: np.ndarray, learnt_side: Any):
    """Without them it is as good as the other one."""
    pair = compare_pair(side("a", scores(nats)), learnt_side, None, **OPTIONS)
    assert (pair.reviews, figure(pair, "open bits per byte")["difference"]) == (REVIEWS - 10, 0)
    named = f"B was fitted or chosen on 10 of the {REVIEWS}"
    assert any(note.startswith(named) for note in pair.notes)


def test_a_model_that_has_learnt_all_reviews_is_not_compared(nats: np.ndarray, learnt_side: Any):
    b = replace(learnt_side, learnt=list(learnt_side.scores["review_id"]))
    with pytest.raises(EmptyInput):
        compare_pair(side("a", scores(nats)), b, None, **OPTIONS)


def test_the_gain_is_the_better_model_s_whichever_is_named_first(nats: np.ndarray):
    """A needs 8 % fewer bits: it saves 8 %, also where B is said to need 8.7 % more."""
    better = side("good", scores(0.92 * nats))
    worse = side("bad", scores(nats))
    rows = [
        figure(compare_pair(first, second, None, **OPTIONS), "open bits per byte")
        for first, second in ((better, worse), (worse, better))
    ]
    assert [row["better"] for row in rows] == ["A", "B"]
    for row in rows:
        assert row["gain"] == pytest.approx(0.08)
        assert 0 < row["gain_lo"] <= row["gain"] <= row["gain_hi"]
        assert row["verdict"] == BETTER[row["better"]]


@pytest.mark.parametrize("level", [0.95, 1.001], ids=["surely better", "may be chance"])
def test_the_interval_that_decides_is_the_one_of_the_gate(nats: np.ndarray, level: float):
    noise = np.random.default_rng(9).normal(0.0, 1.5, REVIEWS)
    challenger = scores(level * nats + noise)
    champion = scores(nats)
    pair = compare_pair(
        side("champion", champion),
        side("challenger", challenger),
        None,
        **{**OPTIONS, "resamples": 500},
    )
    row = figure(pair, "open bits per byte")
    decided = judge(challenger=challenger, champion=champion)
    if row["better"] == "B":
        ends = [decided.figures[f"gain over the champion{end}"] for end in ENDS]
        assert [row["gain"], row["gain_lo"], row["gain_hi"]] == pytest.approx(ends)
    surely = row["better"] == "B" and row["verdict"] == BETTER["B"]
    assert surely == bool(rule(decided, "better than the champion").passed)


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((0.01, 0.02), BETTER["B"]),
        ((-0.02, -0.01), BETTER["A"]),
        ((-0.01, 0.01), UNDECIDED),
        ((None, None), UNKNOWN),
    ],
)
def test_the_verdict_is_what_the_interval_of_the_gain_says(
    ends: tuple[float | None, float | None], said: str
):
    gain = None if ends[0] is None else sum(ends) / 2
    names = ("gain", "gain_lo", "gain_hi")
    rows = pl.DataFrame([(gain, *ends)], dict.fromkeys(names, pl.Float64), orient="row")
    assert of_the_better(rows).select(verdict()).item() == said
