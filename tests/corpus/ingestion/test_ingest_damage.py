"""Files damaged at random, in every format: never an error that is not ours, never a record unaccounted for."""

import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ReviewLMError
from tests.corpus.review_files import FILES, ingested
from tests.examples import examples

damage = st.tuples(st.sampled_from(["put", "cut", "end", "again"]), st.floats(0, 1), st.sampled_from(
    [b'"', b"\n", b"\x00", b"\xff", b"{", b",", b"\\", b"\xef\xbb\xbf", b"\n\n"]), st.integers(1, 60))


@pytest.mark.drill("poison file", "damaged files of each format", "a clear error, or every record accounted for")
@given(st.sampled_from(sorted(FILES)), st.lists(damage, min_size=1, max_size=3))
@examples(80)
def test_a_damaged_file_ends_in_our_error_or_in_a_full_account(name, damages):
    content = FILES[name]
    for kind, share, sign, length in damages:
        place = int(share * len(content))
        rest = {"put": sign + content[place:], "cut": content[place + length:], "end": b"",
                "again": content[max(place - length, 0):]}[kind]
        content = content[:place] + rest
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(ReviewLMError):
        facts, frame, quarantine = ingested(Path(folder), (name, content), part_rows=50)
        assert facts["records"] == frame.height + quarantine.height
        assert frame["review_id"].n_unique() == frame.height
