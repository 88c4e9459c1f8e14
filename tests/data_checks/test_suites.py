"""Suites pass sound tables and fail planted defects, by severity, in Great Expectations' own form."""

import logging
from datetime import datetime

import numpy as np
import polars as pl
import pytest

from reviewlm.core.config.sections.data import ChecksConfig
from reviewlm.core.errors import CheckFailed
from reviewlm.data_checks import gx
from reviewlm.data_checks.checks import Check, MeasuredCheck
from reviewlm.data_checks.suite_runs import Suite, check_stage, check_with, save_suite, token_table
from reviewlm.models.specs import VocabularySpec
from reviewlm.models.streams import TokenStream, write_stream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.data_checks.review_tables import stored

COUNT = 200
IDS = [f"r{i:04d}" for i in range(COUNT)]


def raw_table():
    texts = [f"The food was great, number {i}." for i in range(COUNT)]
    return pl.DataFrame(
        {
            "review_id": IDS,
            "user_id": [None] * COUNT,
            "business_id": ["b"] * COUNT,
            "stars": [float(i % 5 + 1) for i in range(COUNT)],
            "text": texts,
            "date": [datetime(2015, 3, 1)] * COUNT,
            "source": ["f.json"] * COUNT,
            "line": range(COUNT),
        },
        schema_overrides={"user_id": pl.String, "stars": pl.Float32},
    )


def clean_table():
    texts = [f"The food was great, number {i}." for i in range(COUNT)]
    return pl.DataFrame(
        {
            "review_id": IDS,
            "text": texts,
            "stars": [i % 6 for i in range(COUNT)],
            "bytes": [len(text) + 1 for text in texts],
            "split": [
                "test" if i % 10 == 0 else "validation" if i % 10 == 1 else "train"
                for i in range(COUNT)
            ],
        },
        schema_overrides={"stars": pl.Int8},
    )


def tokens_frame():
    return pl.DataFrame(
        {
            "review_id": IDS,
            "bytes": [30] * COUNT,
            "tokens": [7] * COUNT,
            "oov": [0] * COUNT,
        }
    )


def predictions_table():
    return pl.DataFrame(
        {
            "review_id": IDS,
            "nats": [35.0] * COUNT,
            "tokens": [7] * COUNT,
            "bytes": [30] * COUNT,
            "oov": [0] * COUNT,
        }
    )


def samples_table():
    texts = [f"The food was great, number {i}." for i in range(COUNT)]
    return pl.DataFrame(
        {
            "stars": [i % 6 for i in range(COUNT)],
            "number": range(COUNT),
            "text": texts,
        }
    )


TABLES = {
    "raw": raw_table,
    "clean": clean_table,
    "tokens": tokens_frame,
    "predictions": predictions_table,
    "samples": samples_table,
}


def two_files(**counts):
    whole = {
        "source": "a",
        "records": 4_000,
        "quarantined": 200,
        "rated": 4_000,
        "off_scale": 40,
    }
    return {
        "files": pl.DataFrame(
            [
                whole,
                {
                    **whole,
                    "source": "b",
                    **counts,
                },
            ]
        )
    }


FACTS = {
    "raw": {
        "rows": COUNT,
        "quarantined": 2,
        **two_files(),
    },
    "clean": {"rows": 190, "languages": {"de": 10}},
    "tokens": {
        "tokens": 7 * COUNT,
        "disagreeing": 0,
        "unknown": 10,
        "largest_id": 99,
        "vocabulary_size": 100,
    },
    "predictions": {},
    "samples": {},
}


def planted(
    column,
    value,
    rows=1,
):
    """Put *value* into the first rows of a column."""
    place = pl.int_range(pl.len()) < rows
    return pl.when(place).then(pl.lit(value)).otherwise(pl.col(column)).alias(column)


DEFECTS = {
    "raw": {
        "Every review has an id": planted("review_id", None),
        "No two reviews have one id": planted("review_id", IDS[7]),
        "Every review has a text": planted("text", None),
        "99% of the texts have": planted("text", "", rows=9),
        "of the ratings are 1, 2, 3, 4 or 5": planted("stars", 7.0, rows=9).cast(pl.Float32),
        "of the reviews have a rating": planted("stars", None, rows=9),
        "of the dates are from": planted("date", datetime(1999, 1, 1), rows=9),
        "free of control": pl.col("text") + "\x07",
        "show no trace of a wrong encoding": pl.col("text") + " TrÃ¨s bon",
        "repeat no word": pl.col("text") + " so" * 11,
        "repeat no character": pl.col("text") + "!" * 51,
        "of the texts are different": planted("text", "The food was great", rows=30),
        "each of its type": pl.col("stars").cast(pl.String),
        "reviews read are in the table": {"rows": COUNT + 1},
        "records are in quarantine": {"quarantined": 50},
        "20 or more, of its records": two_files(quarantined=201),
        "3 to 19, of its records": two_files(records=19, quarantined=19),
        "20 or more, of its ratings": two_files(rated=45, off_scale=20),
        "3 to 19, of its ratings": two_files(rated=3, off_scale=3),
    },
    "clean": {
        "Every review has an id": planted("review_id", None),
        "No two reviews have one id": planted("review_id", IDS[7]),
        "Every review has a text": planted("text", None),
        "No text is empty": planted("text", ""),
        "No text holds control": planted("text", "The\u200b food"),
        "show no trace of a wrong encoding": planted("text", "It is Â£5, â€œgood"),
        "repeat no word": planted("text", "very " * 11),
        "repeat no character": planted("text", "w" * 51),
        "of the texts are different": (
            pl.when(pl.col("split") == "train")
            .then(pl.lit("The food was great"))
            .otherwise(pl.col("text"))
            .alias("text")
        ),
        "in the languages that are kept": {"rows": 100, "languages": {"de": 10, "es": 90}},
        "Stars are 1 to 5": planted("stars", 6).cast(pl.Int8),
        "a byte of text": planted("bytes", 1),
        "Every review is in a split": planted("split", None),
        "The splits are": planted("split", "holdout"),
        "reviews in the test split": pl.col("split").str.replace("test", "train"),
        "reviews in the validation split": pl.col("split").str.replace("validation", "train"),
        "At least half of the reviews": planted("split", "test", rows=120),
        "each of its type": pl.col("bytes").cast(pl.Float64),
    },
    "tokens": {
        "Every review has an id": planted("review_id", None),
        "No two reviews have one id": planted("review_id", IDS[7]),
        "at least one scored token": pl.Series("tokens", [0, 14] + [7] * (COUNT - 2)),
        "lengths of the reviews add up": planted("tokens", 8),
        "at least one byte": planted("bytes", 0),
        "not negative": planted("oov", -1),
        "Every id is below": {"largest_id": 100},
        "are unknown words": {"unknown": 2 * COUNT},
        "as long as its row says": {"disagreeing": 1},
        "each of its type": pl.col("tokens").cast(pl.String),
    },
    "predictions": {
        "Every review has an id": planted("review_id", None),
        "No two reviews have one id": planted("review_id", IDS[7]),
        "Every score is a number": planted("nats", float("nan")),
        "not negative (nats)": planted("nats", -1.0),
        "No review has probability 0": planted("nats", float("inf")),
        "at least one token": planted("tokens", 0),
        "at least one byte": planted("bytes", 0),
        "at most 20 nats": planted("nats", 1e6),
        "each of its type": pl.col("nats").cast(pl.String),
    },
    "samples": {
        "Every sample has a text": planted("text", None),
        "Samples have 1 to 5 stars": planted("stars", 6),
        "80% of the samples have": planted("text", "so " * 2_000, rows=COUNT // 5 + 1),
        "control or invisible": planted("text", "The\u200b food\x07"),
        "special token": planted("text", "The food <eos>"),
        "each of its type": pl.col("stars").cast(pl.String),
    },
}
SEVERITY = {
    "99% of the texts have": "warning",
    "of the reviews have a rating": "warning",
    "of the dates are from": "warning",
    "3 to 19": "warning",
    "free of control": "info",
    "show no trace": "warning",
    "repeat no": "warning",
    "in the languages that are kept": "info",
    "At least half of the reviews": "warning",
    "at most 20 nats": "info",
    "No review has probability 0": "warning",
    "80% of the samples have": "warning",
    "control or invisible": "warning",
    "special token": "warning",
}


def hold(
    stage,
    folder,
    frame=None,
    **facts,
):
    table = TABLES[stage]() if frame is None else frame
    return check_stage(
        stage,
        stored(table),
        ChecksConfig(),
        folder / "docs",
        "example",
        {**FACTS[stage], **facts},
    )


@pytest.mark.parametrize("stage", TABLES)
def test_a_sound_table_meets_every_expectation(stage, tmp_path):
    report = hold(stage, tmp_path)
    assert report.passed
    assert [result.sentence for result in report.results if not result.passed] == []
    assert report.require() is report
    assert len(report.results) >= len(DEFECTS[stage]), "each expectation has its planted defect"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "words"), [(stage, words) for stage in DEFECTS for words in DEFECTS[stage]]
)
def test_a_planted_defect_fails_only_its_expectation(
    stage,
    words,
    tmp_path,
):
    defect = DEFECTS[stage][words]
    if isinstance(defect, dict):
        report = hold(stage, tmp_path, **defect)
    else:
        report = hold(stage, tmp_path, TABLES[stage]().with_columns(defect))
    failed = [result for result in report.results if not result.passed]
    assert report.broken == ()
    assert len(failed) == 1, [result.sentence for result in failed]
    assert words in failed[0].sentence
    different = (
        {"raw": "warning", "clean": "info"}.get(stage)
        if words == "of the texts are different"
        else None
    )
    severity = next(
        (level for start, level in SEVERITY.items() if words.startswith(start)), "critical"
    )
    assert failed[0].severity == (different or severity)
    assert report.passed == (failed[0].severity != "critical")


def test_a_missing_column_is_named(tmp_path):
    (failed,) = hold("raw", tmp_path, raw_table().drop("date")).failed
    assert "date missing" in failed.sentence


def test_what_needs_a_missing_column_is_left_out(tmp_path):
    report = hold("raw", tmp_path, raw_table().drop("date"))
    assert not any("dates are from" in result.sentence for result in report.results)


@pytest.fixture
def stream_folder(tmp_path):
    folder = tmp_path / "stream"
    vocabulary = learn_vocabulary(clean_table()["text"], VocabularySpec(min_count=2), NormalForm())
    write_stream(folder, vocabulary, [clean_table()])
    return folder


def test_a_token_stream_is_counted_anew_from_its_ids(stream_folder):
    stream = TokenStream.open(stream_folder)
    table, facts = token_table(stream)
    assert pl.read_parquet(table)["tokens"].sum() == facts["tokens"] == stream.tokens
    assert (
        facts["unknown"]
        == stream.documents["oov"].sum()
        == np.count_nonzero(np.asarray(stream.ids) == 0)
    )
    assert facts["largest_id"] == stream.ids.max()


def report(folder, **limits):
    """One check per severity, each with the greatest value that it lets through."""
    checks = [
        Check(
            "between",
            "n",
            max=limit,
            severity=severity,
            description=f"At most {limit}",
        )
        for severity, limit in limits.items()
    ]
    save_suite(Suite("numbers", checks), folder / "suite.json")
    return check_with(
        folder / "suite.json", stored(pl.DataFrame({"n": [1, 2, 3]})), folder / "docs"
    )


def test_a_bound_that_is_no_number_is_not_written_as_no_bound(tmp_path):
    with pytest.raises(ValueError, match="inf"):
        save_suite(
            Suite("numbers", [Check("between", "n", max=float("inf"))]), tmp_path / "suite.json"
        )


@pytest.mark.parametrize(
    ("limits", "blocks", "logged"),
    [
        (
            {
                "critical": 3,
                "warning": 3,
                "info": 3,
            },
            False,
            [],
        ),
        (
            {
                "critical": 2,
                "warning": 3,
                "info": 3,
            },
            True,
            [],
        ),
        (
            {
                "critical": 3,
                "warning": 2,
                "info": 3,
            },
            False,
            ["WARNING"],
        ),
        (
            {
                "critical": 3,
                "warning": 3,
                "info": 2,
            },
            False,
            ["INFO"],
        ),
        (
            {
                "critical": 2,
                "warning": 2,
                "info": 2,
            },
            True,
            ["WARNING", "INFO"],
        ),
    ],
)
def test_what_a_failure_does_follows_its_severity(
    limits,
    blocks,
    logged,
    tmp_path,
    caplog,
):
    found = report(tmp_path, **limits)
    with caplog.at_level(logging.INFO, logger="reviewlm.data_checks.report"):
        if blocks:
            with pytest.raises(CheckFailed, match="At most 2"):
                found.require()
        else:
            assert found.require() is found
    assert [
        entry.levelname for entry in caplog.records if entry.name == "reviewlm.data_checks.report"
    ] == logged
    assert len(found.warnings) == (limits["warning"] == 2)


def test_an_expectation_judges_a_figure_that_it_is_given() -> None:
    for least, most, value, verdict in (
        (0, 2, 1, True),
        (0, 2, 3, False),
        (None, 2, 2, True),
        (1, None, 0.5, False),
    ):
        result = gx.judge(
            MeasuredCheck(
                Check(
                    "mean",
                    "n",
                    min=least,
                    max=most,
                    severity="warning",
                ),
                value,
            )
        )
        assert (result.success, result.result["observed_value"]) == (verdict, value)
        assert result.expectation_config.kwargs["column"] == "mean n"
    rows = MeasuredCheck(Check("between", "n", max=2, mostly=0.5), 0.4, 10, 6)
    assert gx.judge(rows).success is False
    assert gx.judge(MeasuredCheck(Check("mean", "n", min=0), None)).success is False, (
        "there is no figure"
    )


def test_the_result_of_a_suite_is_one_that_its_stores_accept() -> None:
    results = [
        gx.judge(MeasuredCheck(Check("mean", "n", min=0, description="Sound"), value))
        for value in (1, -1)
    ]
    whole = gx.suite_result(
        "mine",
        "a run",
        10,
        ["n"],
        results,
    ).to_json_dict()
    assert (whole["success"], whole["statistics"]["successful_expectations"]) == (False, 1)
