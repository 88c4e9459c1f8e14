"""JSON arrays: the borders of their elements are found in blocks of any size, and broken elements stand alone."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Unreadable
from corpus.reading.jsonlines import read_array
from corpus.schema import Limits
from tests.examples import examples


def read(content: bytes, **limits: int) -> tuple[list[str], list[tuple]]:
    """Texts that were read, and (number, reason, raw bytes) of what was not."""
    texts, bad = [], []
    for block in read_array(io.BufferedReader(io.BytesIO(content)), "x.json", Limits(**limits)):
        texts += block.good["text"].to_list()
        bad += block.bad.select("line", "reason", "raw").rows()
    return texts, bad


anything = st.text(st.characters(codec="utf-8"), max_size=30)
records = st.lists(
    st.fixed_dictionaries(
        {"text": anything},
        optional={"user_id": anything, "other": st.lists(anything, max_size=3), "deep": st.just([[{}]])},
    ),
    max_size=12,
)


@given(records, st.integers(1, 200), st.sampled_from([None, 0, 3]), st.booleans())
@examples(200)
def test_any_array_gives_its_texts_whatever_the_block_size(values, block_bytes, indent, ascii_only):
    content = json.dumps(values, indent=indent, ensure_ascii=ascii_only).encode()
    texts, bad = read(content, block_bytes=block_bytes)
    assert texts == [value["text"] for value in values]
    assert bad == []


def test_a_broken_element_takes_no_other_with_it_and_keeps_its_bytes():
    content = b'[{"text": "a"}, {"text": "b" "c"},\n {"text": "\xff"}, {"text": "\\ud800"}, 7, {"text": "d"}]'
    texts, bad = read(content)
    assert texts == ["a", "d"]
    assert bad == [
        (2, "malformed", b'{"text": "b" "c"}'), (3, "encoding", b'{"text": "\xff"}'),
        (4, "encoding", b'{"text": "\\ud800"}'), (5, "not_a_record", b"7"),
    ]


def test_a_missing_quote_does_not_fill_the_memory():
    content = b'[{"text": "a"}, {"text": "' + b"x" * 100_000 + b'}, {"text": "b"}]'
    with pytest.raises(Unreadable, match="too long") as caught:
        read(content, block_bytes=1_000, max_record_bytes=10_000)
    assert "record 2" in str(caught.value)
    assert "max_record_bytes" in str(caught.value)
