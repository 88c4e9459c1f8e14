"""Typing errors corrected by a noisy channel: edits, quality, and a context that decides."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reviewlm
from reviewlm.course.uses.correction import (
    RATE,
    Corrector,
    EditModel,
    apply_changes,
    edits,
    mistype,
    quality,
    with_margin,
)

WORDS = st.text("abc", max_size=6)


@given(WORDS, WORDS)
def test_edits_are_the_fewest(written: str, meant: str) -> None:
    def least(a: str, b: str) -> int:
        if not a or not b:
            return len(a) + len(b)
        ways = [least(a[1:], b) + 1, least(a, b[1:]) + 1, least(a[1:], b[1:]) + (a[0] != b[0])]
        if len(a) > 1 and a[:2] == b[1::-1]:
            ways.append(least(a[2:], b[2:]) + 1)
        return min(ways)

    assert len(edits(written, meant)) == least(meant, written)


@pytest.mark.parametrize(
    ("written", "meant", "edit"),
    [
        ("fodo", "food", ("od", "do")),
        ("gret", "great", ("ea", "e")),
        ("greaat", "great", ("e", "ea")),
        ("grest", "great", ("a", "s")),
        ("oup", "soup", ("s", "")),
    ],
)
def test_an_edit_is_named_by_its_letters(
    written: str,
    meant: str,
    edit: tuple[str, str],
) -> None:
    assert edits(written, meant) == [edit]


def test_an_edit_that_was_seen_is_likelier() -> None:
    model = EditModel([("teh", "the"), ("fodo", "food"), ("recieve", "receive")])
    assert model.log_p("teh", "the") > model.log_p("tke", "the")


def test_quality_counts_words() -> None:
    found = quality(["a x c d"], ["a b c e"], [["a", "b", "y", "d"]])
    assert found == (0.5, 0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def corrector() -> Corrector:
    texts = [
        "the food was great",
        "we ate there food",
        "their staff was kind",
        "it was their best dish",
    ] * 40
    bundle = reviewlm.ngram.fit(texts, order=3).bundle
    near = {
        "teh": ["the"],
        "there": ["their"],
        "their": ["there"],
        "fodo": ["food"],
        "kine": ["kind", "fine"],
    }
    pairs = [("teh", "the"), ("there", "their"), ("their", "there"), ("fodo", "food")]
    return Corrector(bundle, lambda word: near.get(word, []), EditModel(pairs))


def test_the_context_decides_also_between_words_that_exist(corrector: Corrector) -> None:
    texts = [
        "teh fodo was great",
        "there staff was kine",
        "it was there best dish",
        "their staff was kind",
    ]
    assert [" ".join(words) for words in corrector(texts)] == [
        "the food was great",
        "their staff was kind",
        "it was their best dish",
        "their staff was kind",
    ]


def test_the_margin_keeps_right_words(corrector: Corrector) -> None:
    written, meant = (
        ["their staff was kine"] * 4 + ["we ate there food"] * 4,
        ["their staff was kind"] * 4,
    )
    meant += ["we ate there food"] * 4
    chosen = with_margin(corrector, written, meant)
    assert quality(written, meant, chosen(written)).spoilt <= 0.001
    gains = corrector.gains(written)
    assert apply_changes(written, gains, float("inf")) == [text.split() for text in written]


def test_a_stated_share_of_the_words_is_mistyped() -> None:
    texts = ["staff kindly served wonderful dishes"] * 400
    written = mistype(texts, {}, 1)
    wrong = sum(
        a != b
        for one, other in zip(texts, written, strict=True)
        for a, b in zip(one.split(), other.split(), strict=True)
    )
    assert wrong / 2_000 == pytest.approx(RATE, abs=0.02)
