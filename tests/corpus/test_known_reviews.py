"""Which reviews are news to a model: those whose text its data did not have, whatever became of them in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.corpus.account import Outcome
from reviewlm.corpus.ingestion.parts import PARTS
from reviewlm.corpus.known_reviews import UNLEARNT, KnownReviews, Standing
from reviewlm.models.text.normal_form import NormalForm
from tests.examples import examples

FORM = NormalForm()
SOUP = "The soup was cold, the bread was hard, and we waited for an hour to be seated by the door."
CAKE = "My aunt loves the lemon cake here; it is baked at dawn and gone by nine in the morning."


def table(*rows: tuple[str, str, float]) -> pl.DataFrame:
    """Reviews, each given as id, text and rating."""
    columns = {
        "review_id": pl.String,
        "text": pl.String,
        "stars": pl.Float32,
    }
    return pl.DataFrame(rows, schema=columns, orient="row")


def data_set(folder: Path, *rows: tuple[str, str, float]) -> Path:
    """An ingested data set of two parts."""
    (folder / PARTS).mkdir(parents=True)
    half = len(rows) // 2
    for number, some in enumerate((rows[:half], rows[half:])):
        table(*some).write_parquet(folder / PARTS / f"part-{number:05d}.parquet")
    return folder


def prepared(folder: Path, *rows: tuple[str, str, float]) -> Path:
    """The clean table of some reviews."""
    folder.mkdir()
    clean = table(*((name, FORM.apply(text), stars) for name, text, stars in rows))
    clean.with_columns(pl.col("stars").cast(pl.Int8)).write_parquet(folder / "clean.parquet")
    return folder


SHORT = "Great food, friendly staff!"
READ = (
    ("a", SOUP, 1.0),
    ("b", f"{CAKE} It&#39;s great.", 5.0),
    ("d", SHORT, 5.0),
    ("dropped", SOUP, 1.0),
)


@pytest.fixture(params=[True, False], ids=["all reviews", "kept reviews only"])
def known(request: pytest.FixtureRequest, tmp_path: Path) -> KnownReviews:
    """What is known of `READ`, with and without the data set that they were prepared from."""
    clean = prepared(tmp_path / "clean", *READ[:3])
    return KnownReviews(clean, data_set(tmp_path / "read", *READ) if request.param else None, FORM)


@pytest.mark.parametrize(
    ("review", "standing"),
    [
        (READ[0], Standing.KNOWN),
        (("c", "A third place with a view.", 3.0), Standing.NEW),
        (("a", CAKE, 1.0), Standing.EDITED),
        (("a", SOUP, 4.0), Standing.RERATED),
        (("c", SOUP, 1.0), Standing.RENAMED),
        (("b", SOUP, 5.0), Standing.RENAMED),
        (("c", SHORT, 5.0), Standing.NEW),
        (("b", f"{CAKE} It's great.", 5.0), Standing.KNOWN),
    ],
)
def test_a_review_is_known_by_its_id_with_its_text(
    known: KnownReviews,
    review: tuple[str, str, float],
    standing: Standing,
) -> None:
    assert known.standings(table(review)).tolist() == [standing]


def test_a_review_that_was_left_out_of_the_clean_table_is_known(tmp_path: Path) -> None:
    clean = prepared(tmp_path / "clean", *READ[:1])
    known = KnownReviews(clean, data_set(tmp_path / "read", *READ), FORM)
    assert known.standings(table(*READ)).tolist() == [Standing.KNOWN] * 4


def test_a_comparison_counts_all_parts_with_an_example_of_each_standing(tmp_path: Path) -> None:
    clean = prepared(tmp_path / "clean", *READ[:3])
    known = KnownReviews(clean, data_set(tmp_path / "read", *READ), FORM)
    edited = [(f"new {number}", f"{CAKE} {number}", 2.0) for number in range(3)]
    comparison = known.compare(data_set(tmp_path / "now", ("a", CAKE, 1.0), *READ[1:], *edited))
    assert comparison.counts == {
        Standing.KNOWN: 3,
        Standing.NEW: 3,
        Standing.EDITED: 1,
        Standing.RERATED: 0,
        Standing.RENAMED: 0,
    }
    assert comparison.unlearnt == 4
    assert comparison.examples == {Standing.EDITED: "a"}
    [entry] = comparison.entries("drift")
    assert (entry.outcome, entry.count, entry.odd) == (Outcome.NOTED, 1, True)
    assert np.concatenate(comparison.masks(UNLEARNT)).tolist() == [
        True,
        False,
        False,
        False,
        True,
        True,
        True,
    ]


def test_a_corrected_word_is_no_other_text(known: KnownReviews) -> None:
    batch = table(
        ("a", SOUP.replace("hour", "hours"), 1.0), ("b", SOUP[:40], 5.0), ("c", CAKE, 5.0)
    )
    kept = known.without_reworded(batch, similarity=0.7, shingle=3)
    assert kept["review_id"].to_list() == ["b", "c"]


REVIEWS = st.tuples(
    st.sampled_from("abcd"), st.sampled_from(["", SOUP, f"{CAKE} &amp; tea", f"{CAKE} & tea"])
)


@given(
    earlier=st.dictionaries(
        st.sampled_from("abc"), REVIEWS.map(lambda review: review[1]), min_size=1
    ),
    review=REVIEWS,
)
@examples(50)
def test_standings_are_those_of_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory,
    earlier: dict[str, str],
    review: tuple[str, str],
) -> None:
    folder = tmp_path_factory.mktemp("known")
    rows = [(name, text, 3.0) for name, text in earlier.items()]
    known = KnownReviews(prepared(folder / "clean", *rows), data_set(folder / "read", *rows), FORM)
    name, text = review
    forms = {other: FORM.apply(old) for other, old in earlier.items()}
    if forms.get(name) == FORM.apply(text):
        expected = Standing.KNOWN
    elif text and FORM.apply(text) in forms.values():
        expected = Standing.RENAMED
    else:
        expected = Standing.EDITED if name in earlier else Standing.NEW
    assert known.standings(table((name, text, 3.0))).tolist() == [expected]
