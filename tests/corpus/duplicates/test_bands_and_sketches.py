"""Similar texts meet in bands as often as the S-curve says, and sketches hold back few of them."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config.sections.data import DuplicatesConfig
from core.errors import ConfigError
from corpus.duplicates import kernels
from corpus.duplicates.minhash import Bands, Sketch, buckets
from corpus.duplicates.shingles import hash_table
from tests.corpus.duplicates.test_near_duplicates import CONFIG


def test_the_bands_of_the_defaults_lose_one_pair_in_a_hundred_at_the_limit():
    """1 - (1 - s^r)^b with b = 25 bands of r = 5 values."""
    bands = Bands.of(CONFIG)
    assert (bands.count, bands.rows) == (25, 5)
    assert bands.recall(0.7) == pytest.approx(1 - (1 - 0.16807) ** 25)
    assert [round(bands.recall(s), 3) for s in (0.3, 0.5, 0.7, 0.8, 0.9)] == [0.059, 0.548, 0.99, 1.0, 1.0]


@pytest.mark.parametrize("permutations", [16, 64, 128, 256])
@pytest.mark.parametrize("similarity", [0.5, 0.7, 0.9, 1.0])
def test_bands_use_no_more_values_than_there_are_and_find_nineteen_pairs_of_twenty(permutations, similarity):
    bands = Bands.of(DuplicatesConfig(permutations=permutations, similarity=similarity))
    assert bands.count * bands.rows <= permutations
    assert bands.recall(similarity) >= 0.95


def test_too_few_permutations_for_the_similarity_are_refused_with_both_numbers():
    with pytest.raises(ConfigError, match=r"16 permutations find only 56% of the pairs that are 0\.05 similar"):
        Bands.of(DuplicatesConfig(permutations=16, similarity=0.05))


def mixed(value):
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
    return value ^ value >> 31


def test_signatures_are_the_least_values_of_the_hash_functions_on_every_machine():
    """The definition in whole numbers: (a x + b) >> 32 of the upper halves x, the least of a text, mixed."""
    fingerprints = np.arange(1, 41, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    drawn = [mixed(n + (1 << 32)) for n in range(1, 13)]
    expected = [
        [mixed(min((a * (x >> 32) + b) % 2**64 >> 32 for x in text)) for a, b in zip(drawn[:6], drawn[6:], strict=True)]
        for text in (fingerprints[:10].tolist(), fingerprints[10:].tolist())
    ]
    bands = Bands(2, 3)
    signatures = bands.signatures(fingerprints, np.array([0, 10, 40]))
    assert signatures.tolist() == expected
    assert bands.keys(signatures).tolist() == [[773267565, 4059110569], [2201124903, 4272926421]]


@given(st.lists(st.integers(0, 2**64 - 1), min_size=60, max_size=60), st.sampled_from([(4, 3), (6, 2), (1, 12)]))
def test_the_key_of_a_band_is_the_upper_half_of_the_mixed_sum_of_its_values_with_factors(values, cut):
    """In whole numbers, for five signatures of twelve values."""
    bands, signatures = Bands(*cut), np.array(values, np.uint64).reshape(5, 12)
    factors = [mixed(n) | 1 for n in range(1, bands.rows + 1)]
    expected = [
        [
            mixed(sum(int(row[band * bands.rows + r]) * factors[r] for r in range(bands.rows)) % 2**64) >> 32
            for row in signatures
        ]
        for band in range(bands.count)
    ]
    keys = bands.keys(signatures)
    assert (keys.tolist(), keys.dtype) == (expected, np.uint32)


def test_a_sketch_holds_the_lowest_bytes_of_values_spread_over_the_signature():
    signatures = np.arange(40, dtype=np.uint64).reshape(2, 20) * np.uint64(0x1_0000_0101)
    places = [0, 2, 5, 7, 10, 12, 15, 17]  # n * 20 // 8
    expected = [[(20 * row + place) % 256 for place in places] for row in range(2)]
    found = Sketch(8).cut(signatures)
    assert (found.tolist(), found.dtype, found.flags.c_contiguous) == (expected, np.uint8, True)


def test_texts_meet_in_a_band_as_often_as_their_similarity_says():
    """1,000 pairs of similarity 0.5 meet with probability 0.548: three standard deviations are 0.047."""
    random = np.random.default_rng(3)
    values = random.integers(0, 2**64, (1_000, 120), np.uint64)  # 80 of each, 40 of them shared: 40 / 120
    values = np.concatenate([values[:, :90], values[:, 30:]])  # 90 of each, 60 shared: 60 / 120 = 0.5
    bands = Bands(25, 5)
    keys = bands.keys(bands.signatures(values.ravel(), np.arange(2_001) * 90))
    met = (keys[:, :1_000] == keys[:, 1_000:]).any(axis=0).mean()
    assert met == pytest.approx(0.548, abs=0.047)


def test_the_sketches_of_the_defaults_want_13_bytes_of_32_and_67_of_120():
    """The limit is the highest number of equal bytes that one pair in 2,000, 0.7 similar, does not reach."""
    sketches = Sketch.coarse_and_fine(125)
    assert [(sketch.size, sketch.least(0.7)) for sketch in sketches] == [(32, 13), (120, 67)]
    for sketch in sketches:
        def below(least, size=sketch.size):
            return sum(math.comb(size, n) * 0.7**n * 0.3 ** (size - n) for n in range(least))

        assert sketch.overlooked(0.7) == pytest.approx(below(sketch.least(0.7)))
        assert sketch.overlooked(0.7) <= 0.0005 < below(sketch.least(0.7) + 1)


@pytest.mark.parametrize("similarity", [0.05, 0.3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("values", [9, 16, 128, 300, 16_384])
def test_no_sketch_overlooks_more_than_one_pair_in_two_thousand(similarity, values):
    for sketch in Sketch.coarse_and_fine(values):
        assert sketch.size <= values
        assert sketch.overlooked(similarity) <= 0.0005


@pytest.mark.parametrize(("shared", "least", "most"), [(70, 0.998, 1.0), (20, 0.0, 0.05), (5, 0.0, 0.001)])
def test_sketches_let_the_alike_through_and_hold_the_unlike_back(shared, least, most):
    """Pairs of sets of 85, 60 and 52 with 70, 20 and 5 in common, so 0.7, 0.2 and 0.05 similar: 1,000 of each."""
    signatures = signatures_of_pairs(shared)
    for sketch in Sketch.coarse_and_fine(125):
        sketches = sketch.cut(signatures)
        alike = sketch.alike(sketches[:1_000], sketches[1_000:], sketch.least(0.7))
        assert least <= alike.mean() <= most


def signatures_of_pairs(shared):
    """Signatures of 1,000 sets of fingerprints, then of 1,000 others: each pair has so many in common."""
    random = np.random.default_rng(5)
    values = random.integers(0, 2**64, (1_000, 100), np.uint64)
    half = (100 - shared) // 2
    pairs = np.concatenate([values[:, : shared + half], np.roll(values, -half, axis=1)[:, : shared + half]])
    return Bands(25, 5).signatures(pairs.ravel(), np.arange(2_001) * (shared + half))


@given(st.lists(st.integers(0, 5) | st.integers(0, 2**64 - 1), max_size=30))
def test_buckets_hold_all_who_share_a_key_and_no_one_else(keys):
    members, starts = buckets(np.array(keys, np.uint64))
    got = [members[a:b].tolist() for a, b in pairwise(starts)]
    expected = [[i for i, key in enumerate(keys) if key == value] for value in sorted(set(keys))]
    assert got == [group for group in expected if len(group) > 1]


@given(st.lists(st.sets(st.integers(0, 30)), min_size=1, max_size=6), st.data())
def test_common_shingles_are_those_of_the_intersection(texts, data):
    values = np.array([mixed(one) for text in texts for one in text], np.uint64)
    offsets = np.cumsum([0, *map(len, texts)])
    numbers = st.lists(st.integers(0, len(texts) - 1), min_size=4, max_size=4)
    a, b = np.array(data.draw(numbers)), np.array(data.draw(numbers))
    common = np.empty(4, np.int64)
    kernels.common(values, offsets, a, b, *hash_table(offsets), common)
    assert common.tolist() == [len(texts[x] & texts[y]) for x, y in zip(a, b, strict=True)]
