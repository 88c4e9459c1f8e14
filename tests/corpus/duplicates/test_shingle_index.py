"""Texts that are near-duplicates of any of many others are found by an index, as by comparing every two."""

from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config.run_config import DuplicatesConfig
from corpus.duplicates.anchors import COMMON
from corpus.duplicates.shingle_index import ShingleIndex
from tests.corpus.duplicates.test_near_duplicates import (
    CONFIG,
    TEST,
    TRAIN,
    VALIDATION,
    near,
    random_text,
    shingles,
    words,
)
from tests.examples import examples


def found_by(texts, others, config=CONFIG):
    """Numbers of the texts of test that have a near-duplicate among the others, which are of train."""
    index = ShingleIndex(pl.Series(texts, dtype=pl.String), np.full(len(texts), TEST, np.uint8), config)
    found = index.compare(pl.Series(others, dtype=pl.String), np.full(len(others), TRAIN, np.uint8))
    return np.flatnonzero(found).tolist()


def by_brute_force(texts, others, config=CONFIG):
    long = [text for text in others if len(words(text)) >= config.shingle + 2]
    return [
        number for number, text in enumerate(texts)
        if len(words(text)) >= config.shingle + 2
        and any(near(shingles(text, config.shingle), shingles(other, config.shingle), config) for other in long)
    ]


some_words = st.lists(st.sampled_from("abcde"), min_size=1, max_size=40).map(" ".join)


@st.composite
def edited(draw):
    """Texts, and others of which many are edited, cut or longer copies of them."""
    texts = draw(st.lists(some_words, min_size=1, max_size=8))
    others = draw(st.lists(some_words, max_size=4))
    for _ in range(draw(st.integers(0, 6))):
        found = draw(st.sampled_from(texts)).split()
        start, end = sorted(draw(st.tuples(st.integers(0, len(found)), st.integers(0, len(found)))))
        middle = draw(st.lists(st.sampled_from("abcdexyz"), max_size=3))
        others.append(" ".join(draw(st.sampled_from([
            found[start:end], [*found[:start], *middle, *found[start:]], [*middle, *found, *middle, *found],
            [*found[:start], *middle, *found[end:]],
        ]))))  # fmt: skip
    return texts, others


CONFIGS = st.builds(
    DuplicatesConfig, similarity=st.sampled_from([0.3, 0.5, 0.7, 0.9, 1.0]), shingle=st.integers(1, 4),
    containment=st.sampled_from([0.5, 0.8, 0.9, 1.0, "none"]), containment_words=st.integers(5, 25),
)


@given(edited(), CONFIGS)
@examples(300)
def test_exactly_the_pairs_of_a_brute_force_comparison_are_found(pair, config):
    assert found_by(*pair, config) == by_brute_force(*pair, config)


@given(edited(), CONFIGS, st.integers(0, 4))
@examples(300)
def test_only_pairs_that_share_nothing_but_frequent_shingles_are_overlooked(pair, config, common):
    texts, others = pair
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("corpus.duplicates.shingle_index.COMMON", common)
        found = found_by(texts, others, config)
    sets = [shingles(text, config.shingle) if len(words(text)) >= config.shingle + 2 else set() for text in texts]
    counts = Counter(shingle for one in sets for shingle in one)
    expected = by_brute_force(texts, others, config)
    assert set(found) <= set(expected)
    for missed in set(expected) - set(found):
        for other in others:
            its = shingles(other, config.shingle)
            if len(words(other)) >= config.shingle + 2 and near(sets[missed], its, config):
                assert min(counts[shingle] for shingle in sets[missed] & its) > common


@pytest.fixture(scope="module")
def texts():
    random = np.random.default_rng(5)
    return [random_text(random, 60, 150) for _ in range(400)]


def test_edited_copies_halves_and_longer_ones_are_found_among_others(texts):
    random = np.random.default_rng(6)
    others = [random_text(random, 60, 150) for _ in range(300)]
    for number in range(0, 60, 3):
        own = texts[number].split()
        own[len(own) // 2] = "changed"
        others += [" ".join(own), " ".join(texts[number + 1].split()[:40]), f"before all {texts[number + 2]} and after"]
    assert found_by(texts, others) == by_brute_force(texts, others) == list(range(60))


def test_only_texts_of_later_sides_count(texts):
    sides = np.array([TEST, VALIDATION, TRAIN], np.uint8)
    index = ShingleIndex(pl.Series(texts[:3]), sides, CONFIG)
    for side, expected in ((TEST, [0, 0, 0]), (VALIDATION, [1, 0, 0]), (TRAIN, [1, 1, 0])):
        assert index.compare(pl.Series(texts[:3]), np.full(3, side, np.uint8)).tolist() == expected


def test_a_passage_that_very_many_share_hides_no_copy_and_costs_no_comparison():
    random = np.random.default_rng(7)
    footer = " ".join(f"f{number}" for number in range(30))
    texts = [f"{random_text(random, 20, 40)} {footer}" for _ in range(4 * COMMON)]
    others = [f"{random_text(random, 20, 40)} {footer}" for _ in range(500)]
    index = ShingleIndex(pl.Series(texts), np.zeros(len(texts), np.uint8), DuplicatesConfig(containment="none"))
    found = index.compare(pl.Series([*others, texts[3]]), np.full(len(others) + 1, TRAIN, np.uint8))
    assert np.flatnonzero(found).tolist() == [3]
    assert index.compared < len(others)


def test_without_any_text_nothing_is_found():
    assert found_by([], ["a text of some words"]) == []
    assert found_by(["too short"], ["a text of some words", "too short"]) == []
    assert found_by(["a text of some words"], []) == []
