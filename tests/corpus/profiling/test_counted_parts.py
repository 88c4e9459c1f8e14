"""Parts of a profile: tallies, samples of types, lengths, and how they are merged."""

import math
from collections import Counter

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.profiling.profile import NEW, take_survey
from corpus.profiling.sketches import SAMPLE, Tally, TypeSample, name_hashes


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 9)), min_size=1, max_size=4))
def test_shortened_tallies_merge_within_the_bound_they_state(parts):
    truth = Counter()
    merged = Tally(3)
    for part in parts:
        truth.update(part)
        tally = Tally(3)
        tally.add(part.items())
        merged += tally.shortened()
    assert merged.total == truth.total()
    for name in truth:
        assert 0 <= truth[name] - merged.counts.get(name, 0) <= merged.unlisted
    assert len(merged.to_dict()["counts"]) <= 3


def sample_of(names):
    sample = TypeSample()
    sample.add((key, 1) for key in map(int, name_hashes(names)))
    return sample


def test_types_are_exact_as_long_as_the_sample_holds_all_then_estimated():
    few = sample_of([f"n{number}" for number in range(900)] + ["n0", "n1"])
    assert (few.exact, few.types, few.hapaxes) == (True, 900, 898)
    names = [f"name {number}" for number in range(50_000)]
    many = sample_of([*names, *names[:25_000]])
    error = 4 / math.sqrt(SAMPLE - 2)
    assert not many.exact
    assert many.types == pytest.approx(50_000, rel=error)
    assert many.hapaxes == pytest.approx(25_000, rel=error + 4 / math.sqrt(SAMPLE))


def test_samples_of_types_merge_to_that_of_all_names_with_exact_counts():
    names = [f"name {number % 7_000}" for number in range(12_000)]
    parts = [sample_of(names[start::3]) for start in range(3)]
    assert parts[0] + parts[1] + parts[2] == parts[2] + (parts[1] + parts[0]) == sample_of(names)


def with_lengths(lengths):
    frame = pl.DataFrame({"text": ["x"] * len(lengths), "words": pl.Series(lengths, dtype=pl.Int32)})
    return take_survey([frame]).profile.sides[NEW]


def test_quantiles_of_lengths_are_within_a_bin():
    summary = with_lengths(list(range(1, 1_001)))
    for share in (0.05, 0.25, 0.5, 0.75, 0.95, 0.99):
        assert summary.length_quantile(share) == pytest.approx(1_000 * share, rel=0.02)
    assert with_lengths([7] * 9).length_quantile(0.5) == 7
    assert with_lengths([7] * 9).length_quantile(1.0) == 7
