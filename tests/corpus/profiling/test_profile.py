"""Profiles of reviews against brute force, closed forms, and a word vocabulary; parts against the whole."""

import json
from collections import Counter

import numpy as np
import polars as pl
import pytest

from corpus.profiling.profile import NEW, take_survey
from corpus.profiling.word_statistics import (
    WordCounts,
)
from models.specs import VocabularySpec
from models.text.normal_form import NormalForm
from models.tokens.chunks import Chunks
from models.tokens.vocabulary import Vocabulary
from models.tokens.words import FIRST, cut, folded
from tests.corpus.profiling.profiled_reviews import FRAME, SIDES, reviews

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


def test_the_profile_depends_on_no_order_and_stays_small_as_json():
    small = reviews(24, seed=3)
    profile = take_survey([small]).profile
    assert take_survey([small.sample(fraction=1.0, shuffle=True, seed=9)]).profile == profile
    assert json.loads(profile.to_json())["sides"].keys() == profile.sides.keys()
    assert len(take_survey([reviews(3_000, seed=5, words=60_000)]).profile.to_json()) < 2_000_000


def test_reviews_without_a_split_are_new_and_what_is_missing_is_counted():
    survey = take_survey([pl.DataFrame({"text": ["Good food.\nYes", "Ü"]})])
    summary = survey.profile.sides[NEW]
    assert list(survey.profile.sides) == [NEW]
    assert (summary.reviews, summary.words, summary.bytes, summary.stars) == (2, 4, 18, [2, 0, 0, 0, 0, 0])
    assert summary.top_words.counts == {"good": 1, "food": 1, ".": 1, "\n": 1, "yes": 1, "ü": 1}
    assert survey.words.oov == {}
