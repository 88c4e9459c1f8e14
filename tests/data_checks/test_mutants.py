"""Every expectation on rows has a mutant that breaks it and no other: none is idle, none says what another says."""

import polars as pl
import pytest

from core.config.sections.data import ChecksConfig
from core.errors import ReviewLMError
from data_checks.metrics.tables import Table
from data_checks.metrics.texts import MEASURES
from data_checks.suites.case import COLUMNS, PRIVATE, Case
from data_checks.suites.expectations import ROWS
from data_checks.suites.suggest import suggest
from tests.data_checks.review_tables import varied_reviews
from tests.data_checks.suite_mutants import failures, mutants, passing_rows
from tests.marked_cases import long_but

COUNT = 300


def sound(stage):
    reviews = varied_reviews(COUNT)
    return {
        "raw": reviews.with_columns(
            business_id=pl.lit("b"), funny=pl.lit(0), cool=pl.lit(0), source=pl.lit("reviews.json")),
        "clean": reviews.select(
            "review_id", "text", pl.col("stars").cast(pl.Int8), bytes=pl.col("text").str.len_bytes() + 1,
            split=pl.Series(["train", "validation", "test"] * (COUNT // 3))),
        "tokens": reviews.select("review_id", bytes=pl.lit(40), tokens=pl.lit(8), oov=pl.lit(0)),
        "predictions": reviews.select("review_id", nats=pl.lit(40.0), tokens=pl.lit(8), bytes=pl.lit(40)),
        "samples": reviews.select("text", stars=pl.lit(3)),
    }[stage]


def expected(stage):
    table, facts = Table.of(sound(stage), MEASURES), {"tokens": 8 * COUNT}
    case = Case(stage, table, frozenset(COLUMNS[stage]), ChecksConfig(), facts)
    return ROWS[stage](case)


@pytest.mark.parametrize("stage", long_but(ROWS, {"tokens"}))
def test_each_expectation_on_rows_has_a_mutant_that_breaks_it_alone(stage):
    table, expectations = sound(stage), expected(stage)
    assert failures(table, expectations, MEASURES, PRIVATE) == []
    made = list(mutants(table, expectations, MEASURES, PRIVATE))
    assert [mutant.expectation for mutant in made] == expectations
    for mutant in made:
        # The mutant's verdict does not depend on how it is read.
        assert failures(mutant.table.reverse(), expectations, MEASURES, PRIVATE) == [mutant.expectation]


def test_rows_are_made_that_meet_a_suite():
    expectations = expected("raw")
    made = passing_rows(sound("raw"), expectations, 1000, MEASURES)
    assert made.height == 1000
    assert made["review_id"].n_unique() == made["text"].n_unique() == 1000
    assert failures(made, expectations, MEASURES, PRIVATE) == []


def test_rows_cannot_be_made_from_a_table_that_fails():
    bad = sound("clean").with_columns(stars=pl.lit(9, pl.Int8))
    with pytest.raises(ReviewLMError, match="do not meet the suite"):
        passing_rows(bad, expected("clean"), COUNT)


def test_an_expectation_that_nothing_breaks_alone_is_named():
    twice = [expected("clean")[0], expected("clean")[0].copy(update={"id": None, "description": "the same again"})]
    with pytest.raises(ReviewLMError, match="No mutant breaks this expectation alone"):
        list(mutants(sound("clean"), twice))


def test_suggested_suites_have_mutants_too():
    table = varied_reviews(COUNT).select("review_id", "stars", "date")
    rows = [each for each in suggest(table, "t").expectations if getattr(each, "column", "") in ("review_id", "date")]
    assert len(list(mutants(table, rows))) == len(rows) > 3
