"""The real files, in the shapes that they are passed around in."""

import polars as pl
import pytest

from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.corpus.ingestion.ingest import iter_parts
from tests.corpus.data_sets import ingest

pytestmark = pytest.mark.real_data


def table(tmp_path, path):
    facts = ingest([path], tmp_path / "out" / path.name, SourceConfig())
    return facts, pl.concat(iter_parts(tmp_path / "out" / path.name))


DESCRIBED = {
    "yelp_crawl_chicagoland.jsonl.gz": (
        116_253,
        ("2005-03-14", "2016-11-29"),
        {
            1: 11745,
            2: 10667,
            2.5: 4,
            3: 14935,
            3.5: 178,
            4: 33014,
            4.5: 205,
            5: 45505,
        },
    ),
    "yelp_open_2022_first5000.jsonl.gz": (
        5_000,
        ("2005-03-12", "2018-10-04"),
        {
            1: 555,
            2: 385,
            3: 593,
            4: 1246,
            5: 2221,
        },
    ),
    "odd_shapes/yelp_open_2022_index_column.csv.gz": (
        6_000,
        ("2005-03-09", "2018-10-04"),
        {
            1: 651,
            2: 449,
            3: 700,
            4: 1520,
            5: 2680,
        },
    ),
    "shen2017_sentences/sentiment.dev.1.txt.gz": (38_205, (None, None), {None: 38_205}),
    "ptb_lm_benchmark/train.txt.gz": (42_068, (None, None), {None: 42_068}),
    "ptb_lm_benchmark/valid.txt.gz": (3_370, (None, None), {None: 3_370}),
    "ptb_lm_benchmark/test.txt.gz": (3_761, (None, None), {None: 3_761}),
}
"""Rows, first and last day, and reviews by stars, as the description of these files gives them."""


@pytest.mark.parametrize("name", DESCRIBED)
def test_a_file_holds_what_its_description_says(
    tmp_path,
    real_data,
    name,
):
    rows, days, stars = DESCRIBED[name]
    facts, frame = table(tmp_path, real_data / name)
    assert (facts["records"], facts["rows"], facts["quarantined"], facts["duplicates"]) == (
        rows,
        rows,
        0,
        0,
    )
    assert tuple(day and day[:10] for day in (facts["date_min"], facts["date_max"])) == days
    assert dict(frame["stars"].value_counts().iter_rows()) == stars
