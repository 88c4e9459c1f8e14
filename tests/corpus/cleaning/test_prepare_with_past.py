"""Preparing new reviews with a past: what start weights have learnt from earlier data is in no held-out split."""

import random
from types import SimpleNamespace

import orjson
import polars as pl
import pytest

from reviewlm.core.config.sections.data import CleanConfig, DuplicatesConfig, SourceConfig
from reviewlm.corpus.cleaning.clean import prepare
from reviewlm.corpus.splitting.certificate import verify
from reviewlm.corpus.splitting.split import SPLITS
from tests.corpus.cleaning.test_prepare import DIFFERENT, SPLIT, prepared, record
from tests.corpus.data_sets import assign, ingest
from tests.corpus.duplicates.test_passage_coverage import by_brute_force


@pytest.fixture(scope="module")
def after_earlier_data(tmp_path_factory):
    """What is prepared of 300 new reviews after earlier data with the texts of three of them, one in each split."""
    folder = tmp_path_factory.mktemp("past")
    ids = [f"n{number}" for number in range(300)]
    sides = assign(pl.Series(ids), SPLIT)
    by_split = {
        name: [one for one, side in zip(ids, sides, strict=True) if side == name] for name in SPLITS
    }
    (known_test, *_), (known_validation, *_), (twin, *_) = (by_split[name] for name in SPLITS)
    texts = {one: f"a new review, {one}" for one in ids}
    texts[known_test] = texts[twin] = "review number 5 & more"
    texts[known_validation] = "review number 6 & more"
    prepared(folder, DIFFERENT, name="old")
    old = pl.read_parquet(folder / "old" / "clean.parquet").with_columns(split=pl.lit("train"))
    old.write_parquet(folder / "old" / "clean.parquet")

    rows = [{**record(0, text), "review_id": one} for one, text in texts.items()]
    (folder / "new.jsonl").write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    ingest([folder / "new.jsonl"], folder / "new-data", SourceConfig())
    told = []
    facts = prepare(
        folder / "new-data",
        folder / "new",
        CleanConfig(),
        SPLIT,
        earlier=[folder / "old"],
        report=lambda done, total: told.append((done, total)),
    )
    return SimpleNamespace(
        folder=folder / "new",
        facts=facts,
        left=set(ids) - set(pl.read_parquet(folder / "new" / "clean.parquet")["review_id"]),
        known={known_test, known_validation},
        by_split=by_split,
        told=told,
    )


def test_held_out_reviews_that_earlier_data_taught_leave(after_earlier_data):
    facts = after_earlier_data.facts
    assert after_earlier_data.left == after_earlier_data.known
    assert facts["rows"] == 298
    of_side = {"exact": 1, "covered": 0}
    assert facts["learnt"] == {"test": of_side, "validation": of_side}


def test_training_reviews_that_earlier_data_taught_stay(after_earlier_data):
    facts, by_split = after_earlier_data.facts, after_earlier_data.by_split
    assert facts["splits"]["train"]["reviews"] == len(by_split["train"])
    assert not any(sum(counts.values()) for counts in facts["duplicates"].values())


def test_the_test_set_is_certified_without_the_reviews_that_left(after_earlier_data):
    facts, left = after_earlier_data.facts, len(after_earlier_data.by_split["test"]) - 1
    assert facts["learnt_coverage"]["test"]["none"] == facts["coverage"]["test"]["none"] == left
    assert verify(after_earlier_data.folder).sides["test"].reviews == left


def test_the_passes_over_all_reviews_are_reported(after_earlier_data):
    done = [number for number, _ in after_earlier_data.told]
    assert done == sorted(done)
    last, total = after_earlier_data.told[-1]
    assert total == 3 * 300
    assert last == total - 2, "all but those that were left out were counted in the last pass"


def texts_with_past():
    """Return earlier texts and new ones, of which many begin with a part of an earlier one."""
    draw = random.Random(5)
    words = [f"w{number}" for number in range(900)]
    old = [" ".join(draw.choices(words, k=draw.randint(6, 60))) for _ in range(300)]
    new = []
    for number in range(600):
        parts = old[number].split() if number < len(old) else []
        parts = parts[: draw.randint(0, len(parts))] if draw.random() < 0.7 else parts
        new.append(" ".join([*parts, *draw.choices(words, k=draw.randint(1, 80))]))
    return old, new


@pytest.fixture(scope="module")
def covered(tmp_path_factory):
    """What is prepared of new reviews after earlier data, and the share of each that is covered, by brute force.

    Passages of the earlier data's train count, those of its test and validation do not.
    """
    folder, (old, new) = tmp_path_factory.mktemp("covered"), texts_with_past()
    earlier = [
        {**record(number, text), "review_id": f"o{number}"} for number, text in enumerate(old)
    ]
    prepared(folder, earlier, "old")
    prepared(folder, [record(number, text) for number, text in enumerate(new)], "all")
    table = pl.read_parquet(folder / "old" / "clean.parquet")
    past = table.filter(pl.col("split") == "train")["text"].to_list()
    sides = assign(pl.Series([f"r{number}" for number in range(len(new))]), SPLIT)
    shares = by_brute_force(new, past)
    gone = {
        number
        for number, (share, side) in enumerate(zip(shares, sides, strict=True))
        if side != "train" and share >= DuplicatesConfig().coverage
    }
    facts = prepare(
        folder / "all-data",
        folder / "with",
        CleanConfig(),
        SPLIT,
        earlier=[folder / "old"],
    )
    found = pl.read_parquet(folder / "with" / "clean.parquet")
    return SimpleNamespace(
        folder=folder,
        new=new,
        sides=sides,
        shares=shares,
        gone=gone,
        facts=facts,
        found=found,
    )


def test_held_out_reviews_that_earlier_training_text_covers_leave(covered):
    left = sum(kinds["covered"] for kinds in covered.facts["learnt"].values())
    assert left == len(covered.gone) > 10
    assert {f"r{number}" for number in covered.gone} & set(covered.found["review_id"]) == set()


def test_held_out_reviews_that_earlier_training_text_covers_in_part_are_counted(covered):
    stays = set(covered.found["review_id"])
    partly = [
        share
        for number, (share, side) in enumerate(zip(covered.shares, covered.sides, strict=True))
        if side == "test" and share and f"r{number}" in stays
    ]
    counts = covered.facts["learnt_coverage"]["test"]["counts"]
    assert sum(counts) == len(partly) > 2


def test_the_rest_is_as_if_covered_reviews_had_never_been(covered):
    texts = enumerate(covered.new)
    rest = [record(number, text) for number, text in texts if number not in covered.gone]
    fewer, without = prepared(covered.folder, rest, "rest")
    assert without.equals(covered.found)
    del fewer["account"]  # without those that have left
    assert {**covered.facts, **fewer} == covered.facts
