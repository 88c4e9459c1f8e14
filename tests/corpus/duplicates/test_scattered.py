"""Scattered stretches of a file are read one after another, also by a kernel that is not compiled yet."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.duplicates.minhash import read_numbers, read_scattered

COLD = """
import sys, numpy as np
from pathlib import Path
from corpus.duplicates.minhash import read_scattered
sys.stdout.buffer.write(read_scattered(Path(sys.argv[1]), np.array([1, 4]), np.array([3, 6])).tobytes())
"""


@given(st.lists(st.tuples(st.integers(0, 999), st.integers(0, 50)), max_size=100))
def test_the_bytes_are_those_of_slices(tmp_path_factory, stretches):
    content = bytes(np.random.default_rng(1).integers(0, 256, 1_050, np.uint8))
    file = tmp_path_factory.mktemp("scattered") / "file"
    file.write_bytes(content)
    begin = np.array([start for start, _ in stretches], np.int64)
    end = begin + np.array([size for _, size in stretches], np.int64)
    expected = b"".join(content[start : start + size] for start, size in stretches)
    assert read_scattered(file, begin, end).tobytes() == expected


@pytest.mark.parametrize(("begin", "end"), [([0, 5], [3, 9]), ([20], [21]), ([2, 8, 0], [4, 8, 11])])
def test_a_stretch_beyond_the_end_of_the_file_is_an_error_that_names_it(begin, end, tmp_path):
    file = tmp_path / "cut-off"
    file.write_bytes(b"01234567")
    with pytest.raises(OSError, match="cut-off"):
        read_scattered(file, np.array(begin), np.array(end))


@given(st.lists(st.integers(0, 98), max_size=50), st.sampled_from([np.uint32, np.uint64]))
def test_numbers_are_those_at_their_places_alone_or_with_the_next(tmp_path_factory, places, kind):
    values, file = np.arange(1_000, 1_100, dtype=kind) * 7, tmp_path_factory.mktemp("numbers") / "file"
    values.tofile(file)
    assert read_numbers(file, kind, np.array(places, np.uint32)).tolist() == [7_000 + 7 * place for place in places]
    two = read_numbers(file, kind, np.array(places, np.int64), 2)
    assert (two.tolist(), two.dtype) == ([[7_000 + 7 * place, 7_007 + 7 * place] for place in places], kind)
