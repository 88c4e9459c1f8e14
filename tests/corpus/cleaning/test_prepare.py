"""Cleaning, splitting and dropping duplicates, from an ingested dataset to clean.parquet."""

import random

import orjson
import polars as pl
import pytest

from reviewlm.core.config.sections.data import (
    CleanConfig,
    DuplicatesConfig,
    SelectionConfig,
    SourceConfig,
    SplitConfig,
)
from reviewlm.corpus.cleaning.clean import prepare
from reviewlm.corpus.cleaning.clean_table import CLEAN
from reviewlm.corpus.splitting.certificate import verify
from reviewlm.corpus.splitting.split import SPLITS
from tests.corpus.data_sets import assign, ingest

SPLIT = SplitConfig()


def record(number, text, **more):
    return {
        "review_id": f"r{number}",
        "text": text,
        "stars": len(text) % 5 + 1,
        "date": "2018-01-01",
        **more,
    }


def prepared(tmp_path, records, name="p", **settings):
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "r.jsonl").write_bytes(b"\n".join(orjson.dumps(row) for row in records))
    ingest([tmp_path / "r.jsonl"], tmp_path / f"{name}-data", SourceConfig(**settings))
    facts = prepare(tmp_path / f"{name}-data", tmp_path / name, CleanConfig(), SPLIT)
    return facts, pl.read_parquet(tmp_path / name / "clean.parquet")


DIFFERENT = [record(number, f"review number {number} &amp; more") for number in range(400)]


def test_the_table_has_cleaned_texts_with_their_bytes_and_words(tmp_path):
    facts, frame = prepared(tmp_path, [*DIFFERENT, record(999, "  caf&eacute;\r\nmail a@b.com ")])
    assert frame.schema == pl.Schema(CLEAN)
    row = frame.row(by_predicate=pl.col("review_id") == "r999", named=True)
    assert row["text"] == "café\nmail _email_"
    assert (row["bytes"], row["words"]) == (len("café\nmail _email_".encode()) + 1, 3)
    assert facts["rows"] == 401
    for name, counts in facts["splits"].items():
        side = frame.filter(pl.col("split") == name)
        assert counts == {
            "reviews": side.height,
            "bytes": side["bytes"].sum(),
            "words": side["words"].sum(),
        }


def test_duplicates_leave_the_less_sacred_side_and_are_counted(tmp_path):
    rows = [record(number, f"text {number % 250}") for number in range(600)]
    facts, frame = prepared(tmp_path, rows)
    texts = {
        name: frame.filter(pl.col("split") == name)["text"]
        for name in ("train", "validation", "test")
    }
    assert not set(texts["test"]) & set(texts["validation"])
    assert not set(texts["train"]) & (set(texts["test"]) | set(texts["validation"]))
    assert texts["train"].n_unique() == len(texts["train"])
    assert set(frame["text"]) == {row["text"] for row in rows}
    in_test = [
        row["review_id"]
        for row in rows
        if assign(pl.Series([row["review_id"]]), SPLIT)[0] == "test"
    ]
    assert set(frame.filter(pl.col("split") == "test")["review_id"]) == set(in_test)
    dropped = sum(sum(counts.values()) for counts in facts["duplicates"].values())
    assert dropped == 600 - facts["rows"]
    assert (
        min(
            facts["duplicates"]["train"][reason]
            for reason in ("of_test", "of_validation", "of_train")
        )
        > 0
    )
    assert facts["duplicates"]["validation"]["of_test"] > 0


def sides_of(names):
    return dict(zip(names, assign(pl.Series(names), SPLIT).to_list(), strict=True))


WORDS = [f"w{number}" for number in range(5000)]


def long_text(seed, words=40):
    return " ".join(random.Random(seed).sample(WORDS, words))


@pytest.mark.slow
def test_near_duplicates_leave_the_less_sacred_side_and_stay_within_one(tmp_path):
    where = sides_of([f"r{number}" for number in range(400)])
    test, validation, train = ([name for name in where if where[name] == side] for side in SPLITS)
    rows = {name: {"review_id": name, "text": long_text(name), "stars": 5} for name in where}
    near = {test[0]: "1", validation[0]: "2", train[0]: "3", train[1]: "3 again", train[2]: "4"}
    for name, ending in near.items():
        rows[name]["text"] = f"{long_text('planted')} {ending}"
    within = {train[3]: "5", train[4]: "6"}
    for name, ending in within.items():
        rows[name]["text"] = f"{long_text('other')} {ending}"
    for name, ending in {validation[1]: "7", train[5]: "8"}.items():
        rows[name]["text"] = f"{long_text('third')} {ending}"
    facts, frame = prepared(tmp_path, list(rows.values()))
    assert set(where) - set(frame["review_id"]) == {validation[0], *train[:3], train[5]}
    assert facts["duplicates"]["validation"] == {
        "of_test": 0,
        "near_test": 1,
        "covered": 0,
        "crowd": 0,
    }
    assert facts["duplicates"]["train"]["near_test"] == 3
    assert facts["duplicates"]["train"]["near_validation"] == 1
    assert facts["near"]["within"] == {"test": 0, "validation": 0, "train": 2}
    assert verify(tmp_path / "p").digest == facts["certificate"]


def test_held_out_reviews_with_a_passage_in_train_leave_and_copies_within_the_test_are_counted(
    tmp_path,
):
    """Half of a review inside a longer one or alone, parts of two, every tenth word changed: those of train stay."""
    where = sides_of([f"r{number}" for number in range(400)])
    test, validation, train = ([name for name in where if where[name] == side] for side in SPLITS)
    rows = {name: {"review_id": name, "text": long_text(name, 80), "stars": 5} for name in where}
    planted = [*test[:10], *validation[:5]]
    for number, (held_out, new) in enumerate(zip(planted, train, strict=False)):
        own, other = (rows[name]["text"].split() for name in (held_out, new))
        rows[new]["text"] = " ".join(
            [
                [*other, *own[:40]],
                own[40:],
                [*own[20:60], *other[:60]],
                [word if place % 10 else "other" for place, word in enumerate(own)],
                [*other[:9], *own, *other[9:]],
            ][number % 5]
        )
    rows[train[30]]["text"] += " " + " ".join(rows[test[11]]["text"].split()[:30])
    rows[test[20]]["text"] = rows[test[21]]["text"]
    rows[test[22]]["text"] = rows[test[21]]["text"] + " indeed"
    facts, frame = prepared(tmp_path, list(rows.values()))
    assert set(where) - set(frame["review_id"]) == set(planted)
    left = {
        side: reasons["covered"] for side, reasons in facts["duplicates"].items() if side != "train"
    }
    assert left == {"test": 10, "validation": 5}
    assert pl.read_parquet(tmp_path / "p" / "coverage.parquet").rows() == [
        (test[11], "test", 30 / 80)
    ]
    held_out = facts["coverage"]["test"]
    assert (held_out["reviews"], held_out["none"]) == (len(test) - 10, len(test) - 11)
    assert (held_out["counts"][7], sum(held_out["counts"])) == (1, 1), "from 0.35 to 0.4"
    assert facts["copies"]["test"] == {"groups": 1, "reviews": 3}
    assert set(pl.read_parquet(tmp_path / "p" / "copies.parquet")["review_id"]) == set(test[20:23])
    certificate = verify(tmp_path / "p")
    assert certificate.digest == facts["certificate"]
    assert {name: certificate.coverage[name] for name in ("test", "validation")} == facts[
        "coverage"
    ]


def test_other_languages_are_set_aside_and_counted_and_unsure_texts_stay(tmp_path, monkeypatch):
    def detect(texts):
        return pl.Series(
            [text.split()[0] if text.split()[0] in ("en", "fr", "de") else "" for text in texts]
        )

    monkeypatch.setattr("reviewlm.corpus.cleaning.normalise.detect", detect)
    kinds = ["en 1 2 3 4", "fr 1 2 3 4", "de 1 2 3 4", "unsure 1 2 3 4", "de short"]
    rows = [record(number, f"{kinds[number % 5]} {number}") for number in range(400)]
    (tmp_path / "r.jsonl").write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    ingest([tmp_path / "r.jsonl"], tmp_path / "data", SourceConfig())
    facts = prepare(
        tmp_path / "data",
        tmp_path / "p",
        CleanConfig(),
        SPLIT,
        selection=SelectionConfig(languages=("en",)),
        duplicates=DuplicatesConfig(near=False),
    )
    assert facts["languages"] == {"de": 80, "fr": 80}
    assert facts["rows"] == 240
    left = (
        pl.read_parquet(tmp_path / "p" / "clean.parquet")["text"]
        .str.extract(r"^(\w+)")
        .value_counts()
        .rows()
    )
    assert dict(left) == {"en": 80, "unsure": 80, "de": 80}
