"""Scattered stretches of a file are read one after another, also by a kernel that is not compiled yet."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from corpus.duplicates.minhash import read_scattered


@given(st.lists(st.tuples(st.integers(0, 999), st.integers(0, 50)), max_size=100))
def test_the_bytes_are_those_of_slices(tmp_path_factory, stretches):
    content = bytes(np.random.default_rng(1).integers(0, 256, 1_050, np.uint8))
    file = tmp_path_factory.mktemp("scattered") / "file"
    file.write_bytes(content)
    begin = np.array([start for start, _ in stretches], np.int64)
    end = begin + np.array([size for _, size in stretches], np.int64)
    expected = b"".join(content[start : start + size] for start, size in stretches)
    assert read_scattered(file, begin, end).tobytes() == expected
