"""Shingles and bands against their formulas, and scattered reads."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.core.config.sections.data import DuplicatesConfig
from reviewlm.core.errors import ConfigError
from reviewlm.corpus.duplicates.minhash import Bands, buckets, read_scattered
from reviewlm.corpus.duplicates.shingles import (
    Fingerprints,
    bytes_of,
)
from tests.corpus.duplicates.test_near_duplicates import some_words


def test_a_similarity_too_low_to_be_found_is_refused():
    with pytest.raises(ConfigError, match="72% of the pairs") as refused:  # 1 − 0.99^128
        Bands.of(DuplicatesConfig(similarity=0.01))
    assert refused.value.where == "duplicates.similarity"


def mixed(value):
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
    return value ^ value >> 31


def test_signatures_are_the_least_values_of_the_hash_functions_on_every_machine():
    """The definition in whole numbers: (a x + b) >> 32 of the upper halves x, the least of a text, mixed."""
    fingerprints = np.arange(1, 41, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    drawn = [mixed(n + (1 << 32)) for n in range(1, 13)]
    expected = [
        [
            mixed(min((a * (x >> 32) + b) % 2**64 >> 32 for x in text))
            for a, b in zip(drawn[:6], drawn[6:], strict=True)
        ]
        for text in (fingerprints[:10].tolist(), fingerprints[10:].tolist())
    ]
    bands = Bands(2, 3)
    signatures = bands.signatures(fingerprints, np.array([0, 10, 40]))
    assert signatures.tolist() == expected
    keys = bands.keys(signatures) >> np.uint64(32)
    assert keys.tolist() == [[773267565, 4059110569], [2201124903, 4272926421]]


@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=60, max_size=60),
    st.sampled_from([(4, 3), (6, 2), (1, 12)]),
)
def test_the_key_of_a_band_is_the_mixed_sum_of_its_values_with_factors(values, cut):
    """In whole numbers, for five signatures of twelve values."""
    bands, signatures = Bands(*cut), np.array(values, np.uint64).reshape(5, 12)
    factors = [mixed(n) | 1 for n in range(1, bands.rows + 1)]
    expected = [
        [
            mixed(
                sum(int(row[band * bands.rows + r]) * factors[r] for r in range(bands.rows)) % 2**64
            )
            for row in signatures
        ]
        for band in range(bands.count)
    ]
    keys = bands.keys(signatures)
    assert (keys.tolist(), keys.dtype) == (expected, np.uint64)


def test_texts_whose_keys_share_only_their_upper_halves_share_no_bucket():
    upper = 7 << 32
    keys = np.array(
        [upper | 2, 5, upper | 1, upper | 2, 2**64 - 1, upper | 3, 5, upper | 1], np.uint64
    )
    members, starts = buckets(keys)
    assert members.tolist() == [1, 6, 2, 7, 0, 3]
    assert starts.tolist() == [0, 2, 4, 6]
    assert buckets(keys[:0])[1].tolist() == [0]


@given(st.lists(st.tuples(st.integers(0, 999), st.integers(0, 50)), max_size=100))
def test_the_bytes_are_those_of_slices(tmp_path_factory, stretches):
    content = bytes(np.random.default_rng(1).integers(0, 256, 1_050, np.uint8))
    file = tmp_path_factory.mktemp("scattered") / "file"
    file.write_bytes(content)
    begin = np.array([start for start, _ in stretches], np.int64)
    end = begin + np.array([size for _, size in stretches], np.int64)
    expected = b"".join(content[start : start + size] for start, size in stretches)
    assert read_scattered(file, begin, end).tobytes() == expected


@given(texts=st.lists(some_words, min_size=1, max_size=12), size=st.integers(1, 4))
def test_two_shingles_have_one_fingerprint_exactly_if_they_are_equal(texts, size):
    hashes, offsets = Fingerprints(size).of(*bytes_of(pl.Series(texts)))
    of_shingle, of_hash = {}, {}
    for number, text in enumerate(texts):
        found = text.split()
        expected = (
            [tuple(found[i : i + size]) for i in range(max(1, len(found) - size + 1))]
            if found
            else []
        )
        got = hashes[offsets[number] : offsets[number + 1]].tolist()
        assert len(got) == len(expected)
        for shingle, value in zip(expected, got, strict=True):
            assert of_shingle.setdefault(shingle, value) == value
            assert of_hash.setdefault(value, shingle) == shingle
