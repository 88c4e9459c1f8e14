"""Who leaves for whose sake: known cases, and the rule written out in plain Python."""

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from corpus.duplicates.exact import REASONS, ExactDuplicates
from corpus.splitting.split import SPLITS
from tests.examples import examples

RANK = {name: rank for rank, name in enumerate(SPLITS)}


def repeats(rows):
    """Of (split, text) in the order of the splits; text is any small number."""
    sides = [side for side, _ in rows]
    assert sides == sorted(sides, key=RANK.__getitem__)
    text = np.array([text for _, text in rows], dtype=np.uint64)
    bounds = (sides.count("test"), sides.count("test") + sides.count("validation"))
    return ExactDuplicates(text // np.uint64(3), text % np.uint64(3), bounds)


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
            text for text in best for other in best if best[other] == sacred < best[text]
            and (text, other) in near and not {text, other} & gone
        }
        gone |= leaving
        left = [left[n] or (reason if text in leaving else None) for n, (_, text) in enumerate(rows)]
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
    kept = {text: side for (side, text), reason in zip(rows, reasons(found), strict=True) if reason is None}
    assert not [pair for pair in near if len({kept[text] for text in pair if text in kept}) > 1]
    assert sum(sum(counts.values()) for counts in found.left().values()) == len(rows) - sum(found.kept().values())
