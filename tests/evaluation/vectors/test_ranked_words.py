"""Which of two words the vectors of the words around prefer: the definition, one window after another."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from evaluation.vectors import ranked_words
from evaluation.vectors.ranked_words import WIDTH, RankedReviews, WordWindows, rank, rank_by_counts, windows_of_words
from models.vectors.word_vectors import WordVectors

WORDS = [f"w{number}" for number in range(12)]


def reviews_of(seed: int, count: int = 9) -> tuple[pl.Series, pl.Series]:
    rng = np.random.default_rng(seed)
    texts = [[WORDS[word] for word in rng.integers(0, 12, rng.integers(0, 30))] for _ in range(count)]
    return pl.Series([f"r{number}" for number in range(count)]), pl.Series(texts, dtype=pl.List(pl.String))


def vectors_of(seed: int, words: list[str] = WORDS) -> WordVectors:
    rng = np.random.default_rng(seed)
    inner, outer = (rng.normal(size=(len(words), 4)).astype(np.float32) for _ in range(2))
    return WordVectors(words, inner, range(len(words)), {}, outer)


def by_hand(windows: WordWindows, vectors: WordVectors, by_output: bool) -> dict[str, float]:
    """Return the points of each review, by the definition."""
    points: dict[str, float] = {}
    for review, true, noise, around in zip(
        windows.review_N.tolist(), windows.centre_N, windows.noise_N, windows.context_NC, strict=True
    ):
        inner = {word: vectors.matrix_ND[row] for word, row in vectors.index.items()}
        outer = {word: vectors.output_ND[row] for word, row in vectors.index.items()}  # type: ignore[index]
        if not by_output:
            inner = outer = {word: vector / np.linalg.norm(vector) for word, vector in inner.items()}
        known = [inner[windows.words[word]] for word in around if word >= 0 and windows.words[word] in inner]
        one, other = windows.words[true], windows.words[noise]
        point = 0.5
        if known and one in outer and other in outer:
            middle = np.mean(known, axis=0, dtype=np.float64)
            point = float(middle @ outer[one] > middle @ outer[other])
        points[windows.review_ids[review]] = points.get(windows.review_ids[review], 0.0) + point
    return points


@pytest.mark.parametrize("by_output", [True, False])
@pytest.mark.parametrize("lacking", [0, 3, 12])
def test_the_points_are_those_of_a_loop_over_the_windows(
    by_output: bool, lacking: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranked_words, "BLOCK", 7)
    windows = windows_of_words(*reviews_of(1))
    vectors = vectors_of(2, [*WORDS[lacking:], "elsewhere"])
    found = rank(windows, vectors, by_output)
    assert dict(zip(found.review_ids, found.points_D, strict=True)) == by_hand(windows, vectors, by_output)


def test_windows_are_words_of_one_review_and_the_noise_word_is_another() -> None:
    ids, words = reviews_of(3)
    windows, texts = windows_of_words(ids, words), dict(zip(ids, words.to_list(), strict=True))
    seen: dict[str, int] = {}
    for review, centre, around in zip(windows.review_N.tolist(), windows.centre_N, windows.context_NC, strict=True):
        text = texts[windows.review_ids[review]]
        real = [windows.words[word] for word in around if word >= 0]
        places = [place for place, word in enumerate(text) if word == windows.words[centre]]
        assert any(text[max(0, at - WIDTH) : at] + text[at + 1 : at + 1 + WIDTH] == real for at in places)
        seen[windows.review_ids[review]] = seen.get(windows.review_ids[review], 0) + 1
    assert (windows.noise_N != windows.centre_N).all()
    found = rank(windows, vectors_of(1), by_output=True)
    assert dict(zip(found.review_ids, found.windows_D, strict=True)) == seen


def test_noise_words_follow_the_counts_of_the_test_reviews_as_true_words_do() -> None:
    words = pl.Series([["often"] * 16 + ["seldom"], ["here", "there"] * 20_000])
    windows = windows_of_words(pl.Series(["a", "b"]), words)
    drawn = pl.Series([windows.words[word] for word in windows.noise_N[windows.review_N == 1]])
    of = {name: int((drawn == name).sum()) for name in ("often", "seldom")}
    assert of["often"] / max(1, of["seldom"]) == pytest.approx(16, rel=0.5)


def test_the_order_of_the_reviews_does_not_matter() -> None:
    ids, words = reviews_of(4)
    first, second = windows_of_words(ids, words), windows_of_words(ids.reverse(), words.reverse())
    assert first.words == second.words
    assert (first.centre_N == second.centre_N).all()
    assert (first.noise_N == second.noise_N).all()
    assert rank(first, vectors_of(1), True).digest == rank(second, vectors_of(1), True).digest


def test_vectors_that_know_no_word_rank_half_and_so_does_each_lacking_word() -> None:
    windows = windows_of_words(*reviews_of(5))
    assert rank(windows, vectors_of(1, ["other"]), True).ranked == 0.5
    points = rank(windows, vectors_of(1, WORDS[1:]), True)
    lacking = windows.words.index("w0")
    alone = (windows.centre_N == lacking) | (windows.noise_N == lacking)
    assert alone.any()
    assert points.points_D.sum() % 1 == (0.5 * alone.sum()) % 1


def test_a_word_that_is_lacking_has_the_vector_of_its_lower_case_form() -> None:
    ids, words = reviews_of(6)
    upper = words.list.eval(pl.element().str.to_uppercase())
    same = [rank(windows_of_words(ids, each), vectors_of(1), True).ranked for each in (words, upper)]
    assert same[0] == same[1]


def test_counts_choose_the_more_frequent_word() -> None:
    windows = WordWindows(
        ("a", "b", "c"), pl.Series(["r"]), np.zeros(4, int), np.array([0, 1, 2, 1]), np.array([1, 0, 1, 2]),
        np.zeros((4, 1), int),
    )  # fmt: skip
    found = rank_by_counts(windows, {"a": 5, "b": 1})
    assert (found.points_D.tolist(), found.windows_D.tolist()) == ([1 + 0 + 0 + 1], [4])


@pytest.mark.parametrize("texts", [[], [[]], [["alone"]], [["a"], [], ["b"]]])
def test_reviews_without_two_words_have_no_windows(texts: list[list[str]]) -> None:
    ids = pl.Series([f"r{number}" for number in range(len(texts))], dtype=pl.String)
    windows = windows_of_words(ids, pl.Series(texts, dtype=pl.List(pl.String)))
    found: RankedReviews = rank(windows, vectors_of(1), True)
    assert len(found) == 0
    assert np.isnan(found.ranked)
