"""Preparing new reviews with a past: what start weights have learnt from earlier data is in no held-out split."""

import random

import orjson
import polars as pl

from reviewlm.core.config.sections.data import CleanConfig, DuplicatesConfig, SourceConfig
from reviewlm.corpus.cleaning.clean import prepare
from reviewlm.corpus.splitting.certificate import verify
from reviewlm.corpus.splitting.split import SPLITS
from tests.corpus.cleaning.test_prepare import DIFFERENT, SPLIT, prepared, record
from tests.corpus.data_sets import assign, ingest
from tests.corpus.duplicates.test_passage_coverage import by_brute_force


def test_only_held_out_reviews_that_earlier_data_taught_leave(tmp_path):
    ids = [f"n{number}" for number in range(300)]
    by_split = {
        side: [
            one for one, its in zip(ids, assign(pl.Series(ids), SPLIT), strict=True) if its == side
        ]
        for side in SPLITS
    }
    (known_test, *_), (known_validation, *_), (twin, *_) = (by_split[side] for side in SPLITS)
    known = {known_test: "review number 5 & more", known_validation: "review number 6 & more"}
    texts = {one: known.get(one, f"a new review, {one}") for one in ids} | {
        twin: "review number 5 & more"
    }
    prepared(tmp_path, DIFFERENT, name="old")
    old = pl.read_parquet(tmp_path / "old" / "clean.parquet").with_columns(split=pl.lit("train"))
    old.write_parquet(tmp_path / "old" / "clean.parquet")

    rows = [{**record(0, text), "review_id": one} for one, text in texts.items()]
    (tmp_path / "new.jsonl").write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    ingest([tmp_path / "new.jsonl"], tmp_path / "new-data", SourceConfig())
    told = []
    facts = prepare(
        tmp_path / "new-data",
        tmp_path / "new",
        CleanConfig(),
        SPLIT,
        earlier=[tmp_path / "old"],
        report=lambda done, total: told.append((done, total)),
    )
    found = pl.read_parquet(tmp_path / "new" / "clean.parquet")
    assert set(ids) - set(found["review_id"]) == {known_test, known_validation}
    assert facts["learnt"] == {
        "test": {"exact": 1, "covered": 0},
        "validation": {"exact": 1, "covered": 0},
    }
    assert facts["rows"] == found.height == 298
    assert facts["splits"]["train"]["reviews"] == len(by_split["train"])
    assert not any(sum(counts.values()) for counts in facts["duplicates"].values())
    assert (
        facts["learnt_coverage"]["test"]["none"]
        == facts["coverage"]["test"]["none"]
        == len(by_split["test"]) - 1
    )
    assert verify(tmp_path / "new").sides["test"].reviews == len(by_split["test"]) - 1
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][1] == 3 * 300
    assert told[-1][0] == told[-1][1] - 2, (
        "all but those that were left out were counted in the last pass"
    )


def test_reviews_that_earlier_training_text_covers_leave_as_if_they_had_never_been(
    tmp_path,
):
    """Passages of the earlier data's train count, those of its test and validation do not."""
    draw = random.Random(5)
    words = [f"w{number}" for number in range(900)]
    old = [" ".join(draw.choices(words, k=draw.randint(6, 60))) for _ in range(300)]
    new = []
    for number in range(600):
        parts = old[number].split() if number < len(old) else []
        parts = parts[: draw.randint(0, len(parts))] if draw.random() < 0.7 else parts
        new.append(" ".join([*parts, *draw.choices(words, k=draw.randint(1, 80))]))
    prepared(
        tmp_path,
        [{**record(number, text), "review_id": f"o{number}"} for number, text in enumerate(old)],
        "old",
    )
    prepared(tmp_path, [record(number, text) for number, text in enumerate(new)], "all")
    past = (
        pl.read_parquet(tmp_path / "old" / "clean.parquet")
        .filter(pl.col("split") == "train")["text"]
        .to_list()
    )
    sides = assign(pl.Series([f"r{number}" for number in range(len(new))]), SPLIT)
    shares = by_brute_force(new, past)
    gone = {
        number
        for number, (share, side) in enumerate(zip(shares, sides, strict=True))
        if side != "train" and share >= DuplicatesConfig().coverage
    }
    facts = prepare(
        tmp_path / "all-data", tmp_path / "with", CleanConfig(), SPLIT, earlier=[tmp_path / "old"]
    )
    stays = set(pl.read_parquet(tmp_path / "with" / "clean.parquet")["review_id"])
    assert {f"r{number}" for number in gone} & stays == set()
    assert sum(kinds["covered"] for kinds in facts["learnt"].values()) == len(gone) > 10
    partly = [
        share
        for number, (share, side) in enumerate(zip(shares, sides, strict=True))
        if side == "test" and share and f"r{number}" in stays
    ]
    assert sum(facts["learnt_coverage"]["test"]["counts"]) == len(partly) > 2
    rest = [record(number, text) for number, text in enumerate(new) if number not in gone]
    fewer, without = prepared(tmp_path, rest, "rest")
    assert without.equals(pl.read_parquet(tmp_path / "with" / "clean.parquet"))
    del fewer["account"]  # without those that have left
    assert {**facts, **fewer} == facts
