"""Profiles of reviews against brute force, closed forms, and a word vocabulary; parts against the whole."""

import json
import math
from collections import Counter
from datetime import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ArtifactError, EmptyInput
from corpus.profiling.profile import LENGTH_EDGES, NEW, Profile, ReviewSummary, take_survey
from corpus.profiling.sketches import SAMPLE, Tally, TypeSample, name_hashes
from corpus.profiling.word_counts import WordCounts
from corpus.profiling.word_statistics import (
    OOV_SIZES,
    PRIOR_TOKENS,
    WordStatistics,
    contrast,
    fit_power_law,
    heaps_points,
    log_spaced,
    zipf_points,
)
from models.specs import VocabularySpec
from models.text.normal_form import NormalForm
from models.tokens.chunks import Chunks
from models.tokens.vocabulary import Vocabulary
from models.tokens.words import FIRST, cut, folded
from tests.examples import examples
from tests.marked_cases import long_but

SIDES = ("train", "validation", "test")


def reviews(number, seed=0, words=300):
    """Random reviews whose words follow Zipf's law, in the three splits."""
    random = np.random.default_rng(seed)
    rows = []
    for index in range(number):
        ranks = np.minimum(random.zipf(1.3, random.integers(1, 40)), words)
        # Line breaks are frequent, so that those the vocabulary counts between texts put no other word in their place.
        rows.append({
            "text": "a\n\nb\n" + " ".join(f"Wort{rank:x}" for rank in ranks) + random.choice([".", "!", " _phone_ 😀"]),
            "stars": int(random.integers(0, 6)),
            "date": None if index % 7 == 0 else datetime(2010 + index % 3, 1 + index % 12, 5),
            "split": SIDES[int(random.integers(0, 3)) if number > 2 else 0],
            "business_id": f"b{random.integers(0, 9)}",
            "user_id": f"u{index}",
            "categories": None if index % 5 == 0 else "Food, Bars & Grills",
            "city": "Champaign",
        })
    frame = pl.DataFrame(rows, schema_overrides={"date": pl.Datetime("us"), "categories": pl.String})
    return frame.with_columns(
        bytes=pl.col("text").str.len_bytes().cast(pl.Int32) + 1,
        words=pl.col("text").str.count_matches(r"\S+").cast(pl.Int32),
    )


FRAME = reviews(400)
SURVEY = take_survey([FRAME])


def pieces(frame):
    return Counter(piece for text in frame["text"] for piece in cut(folded([text], True))[0])


def side(name, frame=FRAME):
    return frame.filter(pl.col("split") == name)


def counted(frame, work=None, batch=50):
    with WordCounts(SIDES, work) as counts:
        for (name,), some in frame.group_by("split", maintain_order=True):
            for part in some.iter_slices(batch):
                counts.add(counts.count(Chunks.of(part["text"]), name, part["stars"]))
        files = len(list(work.rglob("*.parquet"))) if work else 0
        return *counts.finish(), files


def test_words_are_counted_as_by_hand():
    for name in SIDES:
        found = pieces(side(name))
        assert SURVEY.words.tokens[name] == found.total()
        assert SURVEY.words.types[name] == len(found)
        assert SURVEY.words.hapaxes[name] == sum(1 for count in found.values() if count == 1)
        assert SURVEY.profile.sides[name].top_words.counts == found
    whole = pieces(FRAME)
    assert SURVEY.words.types["all"] == len(whole)
    assert SURVEY.words.zipf[0] == (1, whole.most_common(1)[0][1])
    assert SURVEY.words.heaps[-1] == (whole.total(), len(whole))


def test_reviews_are_counted_as_by_hand():
    for name in SIDES:
        rows, summary = side(name), SURVEY.profile.sides[name]
        assert (summary.reviews, summary.words, summary.bytes) == (
            rows.height, rows["words"].sum(), rows["bytes"].sum()
        )
        assert summary.stars == [int((rows["stars"] == star).sum()) for star in range(6)]
        assert summary.months.counts == Counter(f"{day:%Y-%m}" for day in rows["date"].drop_nulls())
        assert summary.categories.counts == dict.fromkeys(("Food", "Bars & Grills"), rows["categories"].count())
        assert summary.businesses.types == rows["business_id"].n_unique()
        assert summary.users.types == summary.reviews
        text = "".join(rows["text"])
        assert summary.masks.counts["_phone_"] == text.count("_phone_")
        assert summary.classes["wide (emoji)"] == text.count("😀")
        assert summary.classes["spaces"] == text.count(" ")
        assert sum(summary.classes.values()) == len(text)


@pytest.mark.slow
@pytest.mark.parametrize("held", long_but([1, 40, 300], [40]))
def test_what_was_spilled_to_the_disk_is_counted_the_same(tmp_path, monkeypatch, held):
    kept = counted(FRAME)
    monkeypatch.setattr("models.tokens.type_counts.ROWS", held)
    spilled = counted(FRAME, tmp_path)
    assert spilled[3] > 10
    assert spilled[:3] == kept[:3]
    assert not list(tmp_path.iterdir())


def test_out_of_vocabulary_shares_are_those_of_a_word_vocabulary(monkeypatch):
    monkeypatch.setattr("corpus.profiling.word_statistics.OOV_SIZES", (10, 20, 50, 99_999))
    survey = take_survey([FRAME])
    for name in ("validation", "test"):
        assert [size for size, _ in survey.words.oov[name]] == [10, 20, 50, survey.words.types["train"]]
        for size, share in survey.words.oov[name]:
            spec = VocabularySpec(unit="word", size=FIRST + size, min_count=1, lowercase=True)
            vocabulary = Vocabulary.train(side("train")["text"].to_list(), spec, NormalForm())
            texts = side(name)["text"].to_list()
            encoded = vocabulary.encode_documents(texts, np.zeros(len(texts), int))
            known = len(encoded.ids) - 3 * len(texts)  # begin, stars, end
            assert share == pytest.approx(encoded.oov.sum() / known, abs=1e-12)


parts_of = st.lists(st.integers(0, 3), min_size=24, max_size=24)
SMALL = reviews(24, seed=3)


@pytest.mark.slow
@examples(15)
@given(parts_of, st.randoms())
def test_the_merge_of_any_parts_in_any_order_is_the_whole(which, random):
    parts = [SMALL.filter(pl.Series(which) == part) for part in range(4)]
    profiles = [Profile.of([part]) for part in parts if part.height]
    random.shuffle(profiles)
    while len(profiles) > 1:
        left, right = profiles.pop(random.randrange(len(profiles))), profiles.pop(random.randrange(len(profiles)))
        profiles.append(left + right)
    whole = Profile.of([SMALL.sample(fraction=1.0, shuffle=True, seed=random.randrange(99))])
    assert profiles[0] == whole
    assert profiles[0].total == whole.total


def test_a_profile_survives_json_and_stays_small():
    many = take_survey([reviews(3_000, seed=5, words=60_000)]).profile
    text = many.to_json()
    assert Profile.from_json(text) == many
    assert len(text) < 2_000_000
    words = SURVEY.words
    assert WordStatistics.from_json(words.to_json()) == words


@pytest.mark.parametrize("change", [{"version": 99}, {"length_edges": [1, 2]}, {"sides": {"train": {"reviews": "x"}}}])
def test_a_profile_of_another_version_or_a_damaged_one_is_refused(change):
    content = json.loads(SURVEY.profile.to_json()) | change
    if "sides" in change:
        content["sides"]["train"] = {"unknown field": 1}
    with pytest.raises(ArtifactError, match="profile"):
        Profile.from_json(json.dumps(content))
    with pytest.raises(ArtifactError):
        Profile.from_json("{")


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 9)), min_size=1, max_size=4))
def test_shortened_tallies_merge_within_the_bound_they_state(parts):
    truth = Counter()
    merged = Tally(3)
    for part in parts:
        truth.update(part)
        tally = Tally(3)
        tally.add(part.items())
        merged += Tally.from_dict(json.loads(json.dumps(tally.to_dict())))
    assert merged.total == truth.total()
    for name in truth:
        assert 0 <= truth[name] - merged.counts.get(name, 0) <= merged.unlisted
    assert len(merged.to_dict()["counts"]) <= 3


def test_a_tally_keeps_the_most_frequent_and_of_equal_ones_the_first():
    tally = Tally(2)
    tally.add({"c": 5, "b": 2, "a": 2, "d": 1}.items())
    assert tally.to_dict() == {"capacity": 2, "total": 10, "unlisted": 2, "counts": {"c": 5, "a": 2}}


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
    assert TypeSample.from_dict(json.loads(json.dumps(parts[0].to_dict()))) == parts[0]


def test_the_hash_of_a_name_never_changes():
    # printf 'a' | b2sum -l 64
    assert name_hashes(["a"]).tolist() == [0x40F89E395B66422F]


def with_lengths(lengths):
    frame = pl.DataFrame({"text": ["x"] * len(lengths), "words": pl.Series(lengths, dtype=pl.Int32)})
    return Profile.of([frame]).sides[NEW]


def test_length_bins_begin_at_their_edges():
    assert LENGTH_EDGES[:13] == (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13)
    assert LENGTH_EDGES[-1] == 1 << 16
    summary = with_lengths([0, 1, 13, 14, 15, 10**6])
    found = {index: count for index, count in enumerate(summary.lengths) if count}
    place = LENGTH_EDGES.index
    assert found == {0: 1, place(1) + 1: 1, place(13) + 1: 2, place(15) + 1: 1, len(LENGTH_EDGES): 1}


def test_quantiles_of_lengths_are_within_a_bin():
    summary = with_lengths(list(range(1, 1_001)))
    for share in (0.05, 0.25, 0.5, 0.75, 0.95, 0.99):
        assert summary.length_quantile(share) == pytest.approx(1_000 * share, rel=0.02)
    assert with_lengths([7] * 9).length_quantile(0.5) == 7
    assert with_lengths([7] * 9).length_quantile(1.0) == 7


def test_reviews_without_a_split_are_new_and_what_is_missing_is_counted():
    survey = take_survey([pl.DataFrame({"text": ["Good food.\nYes", "Ü"]})])
    summary = survey.profile.sides[NEW]
    assert list(survey.profile.sides) == [NEW]
    assert (summary.reviews, summary.words, summary.bytes, summary.stars) == (2, 4, 18, [2, 0, 0, 0, 0, 0])
    assert summary.top_words.counts == {"good": 1, "food": 1, ".": 1, "\n": 1, "yes": 1, "ü": 1}
    assert survey.words.oov == {}
    assert (SURVEY.profile + survey.profile).sides.keys() == {*SIDES, NEW}


@pytest.mark.parametrize("batches", [[], [FRAME.clear()]])
def test_nothing_to_describe_is_an_error(batches):
    with pytest.raises(EmptyInput):
        take_survey(batches)


@pytest.mark.long
def test_the_cut_into_batches_changes_nothing_but_the_points_of_the_growth_curve(monkeypatch):
    monkeypatch.setattr("corpus.profiling.profile.FIRST_BYTES", 64)
    monkeypatch.setattr("corpus.profiling.profile.BATCH_BYTES", 512)
    long = pl.DataFrame({"text": ["word " * 5_000], "split": ["train"], "stars": [1]}).cast({"stars": pl.Int64})
    one = take_survey([long, *FRAME.iter_slices(7)])
    two = take_survey([long, *FRAME.iter_slices(90)])
    assert one.profile == two.profile
    assert one.words.heaps == two.words.heaps
    tokens, types = zip(*one.words.heaps, strict=True)
    assert len(tokens) > 5
    assert list(tokens) == sorted(set(tokens))
    assert list(types) == sorted(types)


def test_samples_are_of_train_of_fitting_length_and_at_most_three_a_rating():
    texts = {row["text"]: row for row in FRAME.iter_rows(named=True)}
    for star, found in SURVEY.samples.items():
        assert len(found) <= 3
        for text in found:
            assert texts[text]["split"] == "train"
            assert texts[text]["stars"] == star
            assert 15 <= texts[text]["words"] <= 120
    assert SURVEY.samples.keys() == {1, 2, 3, 4, 5}


def test_zipf_points_of_a_known_spectrum():
    ranks = np.arange(1, 20_001)
    spectrum = Counter((1e7 / ranks).astype(int).tolist())
    points = dict(zipf_points(spectrum))
    assert points[1] == 10_000_000
    assert points[20_000] == 500
    assert all(count == int(1e7 / rank) for rank, count in points.items())
    law = fit_power_law(list(points.items()), 10, 10_000)
    assert (law.exponent, law.low, law.high) == (pytest.approx(-1, abs=1e-3), 10, 10_000)
    assert law.factor == pytest.approx(1e7, rel=0.01)
    assert zipf_points({}) == []


def test_heaps_points_and_their_power_law():
    ends = list(range(100, 100_001, 100))
    seen = [round(3 * math.sqrt(tokens)) for tokens in ends]
    firsts = dict(enumerate(np.diff([0, *seen]).tolist()))
    points = heaps_points(ends, firsts)
    assert points[0] == (100, 30)
    assert points[-1] == (100_000, seen[-1])
    assert 30 < len(points) < 45
    law = fit_power_law(points, 1_000)
    assert (law.exponent, law.factor) == (pytest.approx(0.5, abs=0.002), pytest.approx(3, rel=0.02))
    assert law.error < 0.01
    assert fit_power_law(points[:2], 1) is None


@given(st.integers(0, 10**7))
def test_log_spaced_numbers_grow_from_one_to_the_last(last):
    numbers = log_spaced(last)
    assert numbers == sorted(set(numbers))
    assert (numbers[0], numbers[-1]) == (1, last) if last else numbers == []
    assert len(numbers) <= 12 * math.log10(max(last, 1)) + 2


def test_contrast_is_monroes_log_odds_ratio_with_a_dirichlet_prior():
    rows = {"good": (10, 90, 130), "bad": (80, 5, 100), "the": (500, 510, 1_700), "!": (9, 80, 100), "rare": (0, 3, 3)}
    frame = pl.DataFrame(
        [(word, *counts) for word, counts in rows.items()],
        schema=["word", "one_star", "five_stars", "prior"], orient="row",
    )
    low, high, total = 5_000, 6_000, 20_000
    by_hand = {}
    for word in ("good", "bad", "the"):
        one, five, all_counts = rows[word]
        a = PRIOR_TOKENS * all_counts / total
        odds = [math.log((y + a) / (n + PRIOR_TOKENS - y - a)) for y, n in ((one, low), (five, high))]
        by_hand[word] = (odds[1] - odds[0]) / math.sqrt(1 / (five + a) + 1 / (one + a))
    found = contrast(frame, low, high, total)
    assert dict(found.select("word", "z").iter_rows()) == pytest.approx(by_hand)
    assert found["word"].to_list() == ["bad", "the", "good"]
    assert contrast(frame, low, 0, total).is_empty()


def test_a_planted_word_tells_the_ratings_apart():
    planted = FRAME.with_columns(
        pl.when(pl.col("stars") == 5).then(pl.col("text") + " splendid").otherwise("text").alias("text")
    )
    assert take_survey([planted]).words.contrast[-1][0] == "splendid"
    assert all(size in range(1_000, 100_001) for size in OOV_SIZES)


def test_an_empty_summary_adds_nothing():
    total = SURVEY.profile.total
    assert total + ReviewSummary() == ReviewSummary() + total == total


@pytest.mark.real_data
def test_the_profile_of_a_real_file_agrees_with_its_description(tmp_path, real_data):
    from core.config.run_config import SourceConfig
    from corpus.ingestion.ingest import ingest, iter_parts

    ingest([real_data / "kaggle_yelp_10k.csv.gz"], tmp_path, SourceConfig())
    survey = take_survey(iter_parts(tmp_path), tmp_path)
    summary = survey.profile.sides[NEW]
    assert summary.stars == [0, 749, 927, 1461, 3526, 3337]
    assert (min(summary.months.counts), max(summary.months.counts)) == ("2005-04", "2013-01")
    assert summary.length_quantile(0.5) == pytest.approx(101, rel=0.05)
    assert summary.users.types == pytest.approx(6_403, rel=0.1)
    assert summary.businesses.types == pytest.approx(4_174, rel=0.1)
    assert 0.9 < -survey.words.zipf_law.exponent < 1.2
    assert 0.4 < survey.words.heaps_law.exponent < 0.7
