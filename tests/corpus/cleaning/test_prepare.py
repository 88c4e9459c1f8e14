"""Cleaning, splitting and dropping duplicates, from an ingested dataset to clean.parquet."""

import random
from types import SimpleNamespace

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


def prepared(
    tmp_path,
    records,
    name="p",
    **settings,
):
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "r.jsonl").write_bytes(b"\n".join(orjson.dumps(row) for row in records))
    ingest([tmp_path / "r.jsonl"], tmp_path / f"{name}-data", SourceConfig(**settings))
    facts = prepare(tmp_path / f"{name}-data", tmp_path / name, CleanConfig(), SPLIT)
    return facts, pl.read_parquet(tmp_path / name / "clean.parquet")


DIFFERENT = [record(number, f"review number {number} &amp; more") for number in range(400)]


@pytest.fixture
def cleaned(tmp_path):
    """Facts and table of many reviews, one of which has to be cleaned."""
    return prepared(tmp_path, [*DIFFERENT, record(999, "  caf&eacute;\r\nmail a@b.com ")])


def test_the_table_has_cleaned_texts_with_their_sizes(cleaned):
    _, frame = cleaned
    assert frame.schema == pl.Schema(CLEAN)
    row = frame.row(by_predicate=pl.col("review_id") == "r999", named=True)
    assert row["text"] == "café\nmail _email_"
    assert (row["bytes"], row["words"]) == (len("café\nmail _email_".encode()) + 1, 3)


def test_the_facts_of_a_split_are_sums_over_its_rows(cleaned):
    facts, frame = cleaned
    assert facts["rows"] == 401
    for name, counts in facts["splits"].items():
        side = frame.filter(pl.col("split") == name)
        assert counts == {
            "reviews": side.height,
            "bytes": side["bytes"].sum(),
            "words": side["words"].sum(),
        }


@pytest.fixture
def with_duplicates(tmp_path):
    """Records with 250 different texts, and facts and table of what is prepared of them."""
    rows = [record(number, f"text {number % 250}") for number in range(600)]
    return rows, *prepared(tmp_path, rows)


def test_duplicates_leave_the_less_sacred_side(with_duplicates):
    rows, _, frame = with_duplicates
    texts = {
        name: frame.filter(pl.col("split") == name)["text"]
        for name in ("train", "validation", "test")
    }
    assert not set(texts["test"]) & set(texts["validation"])
    assert not set(texts["train"]) & (set(texts["test"]) | set(texts["validation"]))
    assert texts["train"].n_unique() == len(texts["train"])
    assert set(frame["text"]) == {row["text"] for row in rows}


def test_duplicates_in_the_test_set_stay(with_duplicates):
    rows, _, frame = with_duplicates
    ids = [row["review_id"] for row in rows]
    sides = assign(pl.Series(ids), SPLIT)
    in_test = {one for one, side in zip(ids, sides, strict=True) if side == "test"}
    assert set(frame.filter(pl.col("split") == "test")["review_id"]) == in_test


def test_duplicates_are_counted(with_duplicates):
    _, facts, _ = with_duplicates
    counts = facts["duplicates"]
    assert sum(sum(reasons.values()) for reasons in counts.values()) == 600 - facts["rows"]
    assert min(counts["train"][reason] for reason in ("of_test", "of_validation", "of_train")) > 0
    assert counts["validation"]["of_test"] > 0


def sides_of(names):
    return dict(zip(names, assign(pl.Series(names), SPLIT).to_list(), strict=True))


WORDS = [f"w{number}" for number in range(5000)]


def long_text(seed, words=40):
    return " ".join(random.Random(seed).sample(WORDS, words))


@pytest.mark.slow
def test_near_duplicates_leave_only_the_less_sacred_side(tmp_path):
    where = sides_of([f"r{number}" for number in range(400)])
    test, validation, train = ([name for name in where if where[name] == side] for side in SPLITS)
    rows = {
        name: {
            "review_id": name,
            "text": long_text(name),
            "stars": 5,
        }
        for name in where
    }
    near = {
        test[0]: "1",
        validation[0]: "2",
        train[0]: "3",
        train[1]: "3 again",
        train[2]: "4",
    }
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
    assert facts["near"]["within"] == {
        "test": 0,
        "validation": 0,
        "train": 2,
    }
    assert verify(tmp_path / "p").digest == facts["certificate"]


def plant_passages(
    rows,
    planted,
    train,
):
    """Put passages of the planted reviews into reviews of the training set.

    Half of a review inside a longer one or alone, parts of two, every tenth word changed.
    """
    for number, (held_out, new) in enumerate(zip(planted, train, strict=False)):
        own, other = (rows[name]["text"].split() for name in (held_out, new))
        ways = [
            [*other, *own[:40]],
            own[40:],
            [*own[20:60], *other[:60]],
            [word if place % 10 else "other" for place, word in enumerate(own)],
            [*other[:9], *own, *other[9:]],
        ]
        rows[new]["text"] = " ".join(ways[number % 5])


@pytest.fixture(scope="module")
def with_passages(tmp_path_factory):
    """What is prepared of reviews with planted passages, with one in part, and with three copies in the test set."""
    folder = tmp_path_factory.mktemp("passages")
    where = sides_of([f"r{number}" for number in range(400)])
    test, validation, train = ([name for name in where if where[name] == side] for side in SPLITS)
    rows = {
        name: {
            "review_id": name,
            "text": long_text(name, 80),
            "stars": 5,
        }
        for name in where
    }
    planted = [*test[:10], *validation[:5]]
    plant_passages(rows, planted, train)
    rows[train[30]]["text"] += " " + " ".join(rows[test[11]]["text"].split()[:30])
    rows[test[20]]["text"] = rows[test[21]]["text"]
    rows[test[22]]["text"] = rows[test[21]]["text"] + " indeed"
    facts, frame = prepared(folder, list(rows.values()))
    left = set(where) - set(frame["review_id"])
    return SimpleNamespace(
        folder=folder / "p",
        facts=facts,
        left=left,
        planted=planted,
        test=test,
    )


def test_held_out_reviews_with_a_passage_in_train_leave(with_passages):
    """Those of train stay."""
    assert with_passages.left == set(with_passages.planted)
    duplicates = with_passages.facts["duplicates"]
    assert (duplicates["test"]["covered"], duplicates["validation"]["covered"]) == (10, 5)


def test_held_out_reviews_that_train_covers_in_part_are_counted(with_passages):
    test, facts = with_passages.test, with_passages.facts
    partly = pl.read_parquet(with_passages.folder / "coverage.parquet").rows()
    assert partly == [(test[11], "test", 30 / 80)]
    held_out = facts["coverage"]["test"]
    assert (held_out["reviews"], held_out["none"]) == (len(test) - 10, len(test) - 11)
    assert (held_out["counts"][7], sum(held_out["counts"])) == (1, 1), "from 0.35 to 0.4"


def test_copies_within_the_test_are_counted(with_passages):
    assert with_passages.facts["copies"]["test"] == {"groups": 1, "reviews": 3}
    copies = pl.read_parquet(with_passages.folder / "copies.parquet")
    assert set(copies["review_id"]) == set(with_passages.test[20:23])


def test_the_certificate_has_the_coverage_of_held_out_reviews(with_passages):
    certificate, facts = verify(with_passages.folder), with_passages.facts
    assert certificate.digest == facts["certificate"]
    covered = {name: certificate.coverage[name] for name in ("test", "validation")}
    assert covered == facts["coverage"]


@pytest.fixture
def languages(tmp_path, monkeypatch):
    """Facts of reviews in three languages of which English ones are chosen, and how many of each kind stay."""

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
    texts = pl.read_parquet(tmp_path / "p" / "clean.parquet")["text"]
    return facts, dict(texts.str.extract(r"^(\w+)").value_counts().rows())


def test_other_languages_are_counted(languages):
    facts, _ = languages
    assert facts["languages"] == {"de": 80, "fr": 80}
    assert facts["rows"] == 240


def test_texts_of_an_unsure_language_stay(languages):
    """So do texts that are too short to tell their language."""
    _, left = languages
    assert left == {
        "en": 80,
        "unsure": 80,
        "de": 80,
    }
