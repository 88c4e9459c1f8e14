"""Passages of training texts cover held-out texts as a comparison by hand says, and decide who leaves for whose sake."""

from collections import Counter
from functools import partial
from itertools import chain

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.corpus.duplicates import coverage as measured
from reviewlm.corpus.duplicates.coverage import coverage
from reviewlm.corpus.duplicates.exact import REASONS, ExactDuplicates, first_equal
from reviewlm.corpus.duplicates.shingles import part_of, simple_bytes, slices, word_bytes
from reviewlm.corpus.splitting.split import SPLITS
from tests.corpus.duplicates.test_near_duplicates import random_text, words
from tests.examples import examples


def forms(texts, size=500):
    data, offsets, _ = word_bytes(*simple_bytes(pl.Series(texts, dtype=pl.String)))
    return (part_of(part, data, offsets) for part in slices(offsets, size))


def covered(
    held_out,
    train,
    threads=1,
):
    return coverage(partial(forms, held_out), partial(forms, train), threads)


def by_brute_force(
    held_out,
    train,
    span=5,
    passage=16,
    stock=8,
):
    """Words are compared as words: no hash, no index, no pass."""
    held_out, train = ([words(text) for text in texts] for texts in (held_out, train))

    def runs(text):
        return [tuple(text[i : i + span]) for i in range(len(text) - span + 1)]

    counts = Counter(run for text in train for run in runs(text))
    shares = []
    for text in held_out:
        own, marked = {run for run in runs(text) if 1 <= counts[run] <= stock}, set()
        for other in train:
            shared = [i for i, run in enumerate(runs(other)) if run in own]
            if len({i + n for i in shared for n in range(span)}) >= passage:
                both = {runs(other)[i] for i in shared}
                marked |= {
                    i + n for i, run in enumerate(runs(text)) if run in both for n in range(span)
                }
        shares.append(len(marked) / max(1, len(text)))
    return shares


some_words = st.lists(st.sampled_from("abc"), max_size=25)


@st.composite
def pieced(draw):
    """Texts, and others that are made of pieces of them and of other words."""
    texts = draw(st.lists(some_words, max_size=6))
    pieces = st.one_of(some_words, st.lists(st.sampled_from("xyz"), max_size=3))
    if any(texts):
        source = st.sampled_from([text for text in texts if text])
        pieces |= st.tuples(source, st.integers(0, 24), st.integers(1, 25)).map(
            lambda p: p[0][p[1] : p[1] + p[2]]
        )
    others = draw(
        st.lists(st.lists(pieces, max_size=5).map(lambda parts: list(chain(*parts))), max_size=8)
    )
    return [" ".join(text) for text in texts], [" ".join(text) for text in others]


@given(
    pieced(),
    st.integers(2, 4),
    st.integers(1, 9),
    st.integers(1, 3),
    st.sampled_from([9, 1 << 20]),
)
@examples(300)
def test_coverage_is_that_of_a_brute_force_comparison(
    pair,
    span,
    passage,
    stock,
    at_once,
):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "SPAN": span,
            "PASSAGE": passage,
            "STOCK": stock,
            "MOST_RUNS": at_once,
            "MOST_KEPT": at_once,
        }.items():
            patch.setattr(measured, name, value)
        assert covered(*pair).tolist() == pytest.approx(by_brute_force(*pair, span, passage, stock))


@pytest.fixture(scope="module")
def texts():
    random = np.random.default_rng(5)
    return [random_text(random, 40, 150) for _ in range(400)]


def halves(text, other):
    return [*text[: len(text) // 2], *other[len(other) // 2 :]]


def changed(text, every):
    return ["other" if place % every == every - 1 else word for place, word in enumerate(text)]


POSTED_AGAIN = {
    "half of it in a longer one": (
        lambda own, other: [[*other[:9], *own[: len(own) // 2], *other[9:]]],
        0.45,
        0.55,
    ),
    "whole in a longer one": (lambda own, other: [[*other, *own]], 1, 1),
    "every tenth word changed": (lambda own, other: [changed(own, 10)], 0.8, 1),
    "half of it and half of another one": (lambda own, other: [halves(own, other)], 0.45, 0.55),
    "its halves in two others": (
        lambda own, other: [halves(own, other), halves(other, own)],
        0.9,
        1,
    ),
    "its parts in another order": (lambda own, other: [[*own[20:], *own[:20]]], 1, 1),
    "a fifth of it": (lambda own, other: [[*other, *own[: len(own) // 5]]], 0, 0.25),
    "every sixth word changed": (
        lambda own, other: [changed(own, 6)],
        0.7,
        1,
    ),
    "every fifth word changed": (lambda own, other: [changed(own, 5)], 0, 0),
}


@pytest.mark.parametrize("how", POSTED_AGAIN)
def test_what_was_posted_again_inside_a_new_text_covers_its_share_of_the_words(how, texts):
    """25 held-out texts; neither threads nor how many runs are compared at once matter."""
    again, least, most = POSTED_AGAIN[how]
    held_out, others = texts[:25], texts[25:]
    new = [
        " ".join(text)
        for own, other in zip(held_out, others, strict=False)
        for text in again(own.split(), other.split())
    ]
    shares = covered(held_out, [*others, *new], threads=3)
    assert shares.min() >= least
    assert shares.max() <= most
    assert shares.tolist() == pytest.approx(by_brute_force(held_out, [*others, *new]))


RANK = {name: rank for rank, name in enumerate(SPLITS)}


def repeats(rows):
    """Of (split, text) in the order of the splits; text is any small number."""
    sides = [side for side, _ in rows]
    assert sides == sorted(sides, key=RANK.__getitem__)
    text = np.array([text for _, text in rows], dtype=np.uint64)
    bounds = (sides.count("test"), sides.count("test") + sides.count("validation"))
    return ExactDuplicates(first_equal(text // np.uint64(3), text % np.uint64(3)), bounds)


def reasons(found):
    return [None if code == 0 else REASONS[code - 1] for code in found.code]


def pairs(*numbers):
    return pl.DataFrame(list(numbers), schema={"a": pl.UInt64, "b": pl.UInt64}, orient="row")


def by_hand(rows, near):
    """The rule, row by row: exact first, then every near pair of texts on two sides."""
    left = []
    for number, (side, text) in enumerate(rows):
        others = {other for other, same in rows if same == text}
        if side != "test" and "test" in others:
            left.append("of_test")
        elif side == "train" and "validation" in others:
            left.append("of_validation")
        elif side == "train" and (side, text) in rows[:number]:
            left.append("of_train")
        else:
            left.append(None)
    best = {text: min((RANK[side] for side, same in rows if same == text)) for _, text in rows}
    gone = set()
    for sacred, reason in enumerate(("near_test", "near_validation")):
        leaving = {
            text
            for text in best
            for other in best
            if best[other] == sacred < best[text]
            and (text, other) in near
            and not {text, other} & gone
        }
        gone |= leaving
        left = [
            left[n] or (reason if text in leaving else None) for n, (_, text) in enumerate(rows)
        ]
    return left


@st.composite
def tables(draw):
    rows = draw(st.lists(st.tuples(st.sampled_from(SPLITS), st.integers(0, 6)), max_size=25))
    rows.sort(key=lambda row: RANK[row[0]])
    texts = sorted({text for _, text in rows})
    possible = [(one, two) for one in texts for two in texts if one < two]
    return rows, draw(st.lists(st.sampled_from(possible), unique=True)) if possible else []


@given(tables())
@examples(300)
def test_reviews_leave_as_the_rule_says(table):
    rows, near = table
    found = repeats(rows)
    first = {text: number for number, (_, text) in reversed(list(enumerate(rows)))}
    assert found.first.tolist() == [first[text] for _, text in rows]
    assert np.flatnonzero(found.distinct(0, len(rows))).tolist() == sorted(first.values())
    found.drop_near(pairs(*[tuple(sorted((first[one], first[two]))) for one, two in near]))
    assert reasons(found) == by_hand(rows, {*near, *[pair[::-1] for pair in near]})
    kept = {
        text: side
        for (side, text), reason in zip(rows, reasons(found), strict=True)
        if reason is None
    }
    assert not [pair for pair in near if len({kept[text] for text in pair if text in kept}) > 1]
    assert sum(sum(counts.values()) for counts in found.left().values()) == len(rows) - sum(
        found.kept().values()
    )
