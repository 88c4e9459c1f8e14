"""Reviews that workers clean, sort, compare and encode give the files and facts of one machine, to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
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
from reviewlm.core.errors import EmptyInput
from reviewlm.corpus.cleaning.clean import prepare
from reviewlm.corpus.duplicates import coverage
from tests.corpus.data_sets import ingest
from tests.in_process_dataflow import InProcess

WORDS = [f"{first}{last}" for first in "bcdfglmnprst" for last in ("an", "el", "ito", "ura", "os")]

FEW_ALIKE = {"duplicates": DuplicatesConfig(max_alike=0.01)}


def written_reviews(count: int, seed: int) -> list[dict[str, Any]]:
    """Return reviews: some alike, some nearly, some with a passage of another, some empty, some with personal data."""
    draw = Random(seed)
    letter = [
        "the",
        "same",
        "form",
        "letter",
        "for",
        "all",
        "of",
        "you",
        "who",
        "wrote",
        "to",
        "us",
        "last",
        "year",
    ]
    texts: list[str] = []
    repeated = [" ".join(draw.choices(WORDS, k=40))]
    for number in range(count):
        words = draw.choices(WORDS, k=draw.randrange(20, 60))
        source = draw.choice(repeated).split()
        kind = draw.randrange(12)
        if kind == 0:
            words = source
        elif kind == 1:
            words = [*source[:-1], draw.choice(WORDS)]
        elif kind == 2:
            words = [*words[:5], *source[:40], *words[5:12]]
        elif kind == 3:
            words = letter
        elif kind == 4:
            words = words[:2] if number % 5 else ["&nbsp;"]
        elif kind == 5:
            words += ["write", "to", "anna@gmail.com", "Über", "naïve"]

        texts.append(" ".join(words))
        if kind != 3:
            repeated.append(texts[-1])

    return [
        {
            "review_id": f"r{number}",
            "text": text,
            "stars": draw.choice([1, 2, 3, 4, 5, 3.7]),
            "date": f"20{10 + number % 9}-0{1 + number % 8}-03",
            "user_id": f"u{number % 61}" if number % 7 else "",
            "business_id": f"b{number % 11}",
        }
        for number, text in enumerate(texts)
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of two files in several parts, a table of businesses, and earlier data with some of its texts."""
    folder = tmp_path_factory.mktemp("data")
    records = written_reviews(900, 1)
    files = [folder / "a.jsonl", folder / "b.jsonl"]
    for file, some in zip(files, (records[:600], records[600:]), strict=True):
        file.write_bytes(b"\n".join(map(orjson.dumps, some)))
    ingest(files, folder / "data", SourceConfig(part_rows=170))

    names = [{"business_id": f"b{number}", "name": f"n{number}"} for number in range(9)]
    (folder / "b.json").write_bytes(b"\n".join(map(orjson.dumps, names)))

    past = [{**row, "review_id": f"past{row['review_id']}"} for row in records[::6]]
    (folder / "past.jsonl").write_bytes(b"\n".join(map(orjson.dumps, past)))
    ingest([folder / "past.jsonl"], folder / "past-data", SourceConfig())
    prepare(folder / "past-data", folder / "past", CleanConfig(), SplitConfig())
    return folder


def made(
    data: Path,
    folder: Path,
    engine: InProcess | None,
    split: SplitConfig,
    **more: Any,
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return facts and files of prepared data."""
    clean = CleanConfig(mask_personal_data=True)
    facts = prepare(
        data / "data",
        folder,
        clean,
        split,
        engine=engine,
        threads=2,
        **more,
    )
    files = {file.name: file.read_bytes() for file in sorted(folder.iterdir())}
    return facts, files


@pytest.mark.parametrize(
    ("split", "more"),
    [
        (SplitConfig(), {}),
        (SplitConfig(by="user", test=0.2), {"duplicates": DuplicatesConfig(near=False)}),
        (SplitConfig(by="month"), {"selection": SelectionConfig(languages=("en", "de"))}),
        (
            SplitConfig(test=0.3, validation=0.3),
            {
                "business": "b.json",
                "earlier": ["past"],
                **FEW_ALIKE,
            },
        ),
    ],
    ids=["review", "user, exact only", "month, languages", "businesses, earlier data"],
)
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_give_the_bytes_of_one_machine(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    split: SplitConfig,
    more: dict[str, Any],
    workers: int,
) -> None:
    monkeypatch.setattr("reviewlm.corpus.cleaning.clean_table.ROW_GROUP", 100)
    monkeypatch.setattr("reviewlm.corpus.cleaning.node_table.ROW_GROUP", 100)
    if "business" in more:
        more = {**more, "business": data / more["business"]}
    if "earlier" in more:
        more = {**more, "earlier": [data / name for name in more["earlier"]]}

    here = made(
        data,
        tmp_path / "here",
        None,
        split,
        **more,
    )
    there = made(
        data,
        tmp_path / "there",
        InProcess(workers),
        split,
        **more,
    )
    assert there[0] == here[0]
    assert there[1] == here[1]


def test_the_reviews_of_these_tests_have_all_reasons_to_be_left_out(
    data: Path, tmp_path: Path
) -> None:
    split = SplitConfig(test=0.3, validation=0.3)
    facts, _ = made(
        data,
        tmp_path / "there",
        InProcess(2),
        split,
        **FEW_ALIKE,
    )
    reasons = {reason for kinds in facts["duplicates"].values() for reason, n in kinds.items() if n}
    assert reasons == {
        "of_test",
        "of_validation",
        "of_train",
        "near_test",
        "near_validation",
        "covered",
        "crowd",
    }
    assert facts["empty"] > 0
    assert facts["masks"]
    assert json.dumps(facts["unrated"])


def test_runs_counted_in_several_portions_give_the_same_coverage(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    split = SplitConfig(test=0.3, validation=0.3)
    whole = made(data, tmp_path / "whole", InProcess(2), split)
    monkeypatch.setattr(coverage, "MOST_RUNS", 3_000)
    monkeypatch.setattr("reviewlm.corpus.duplicates.node_coverage.MOST_KEPT", 50)
    portions = made(data, tmp_path / "portions", InProcess(2), split)
    assert portions == whole


def test_the_error_of_an_empty_split_is_that_of_one_machine(tmp_path: Path) -> None:
    records = [
        {
            "review_id": f"r{number}",
            "text": "one text",
            "stars": 1,
        }
        for number in range(3)
    ]
    (tmp_path / "r.jsonl").write_bytes(b"\n".join(map(orjson.dumps, records)))
    ingest([tmp_path / "r.jsonl"], tmp_path / "data", SourceConfig())
    errors = []
    for name, engine in (("here", None), ("there", InProcess())):
        with pytest.raises(EmptyInput) as raised:
            prepare(
                tmp_path / "data",
                tmp_path / name,
                CleanConfig(),
                SplitConfig(),
                engine=engine,
            )
        errors.append(raised.value.value)
    assert errors[0] == errors[1]


def test_progress_counts_every_pass_up_to_the_whole(data: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    prepare(
        data / "data",
        tmp_path / "there",
        CleanConfig(),
        SplitConfig(test=0.3, validation=0.3),
        engine=InProcess(),
        report=lambda done, total: told.append((done, total)),
    )
    done = np.array([one for one, _ in told])
    assert (np.diff(done) >= 0).all()
    assert told[-1][0] == told[-1][1]
    assert pl.read_parquet(tmp_path / "there" / "clean.parquet").height > 0
