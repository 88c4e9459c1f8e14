"""The data card: what its figures hold, that nothing in a review can break the page, and that it stands alone."""

import re

import polars as pl
import pytest

from reviewlm.corpus.cleaning.clean_table import CLEAN
from reviewlm.corpus.profile import profile_of
from reviewlm.corpus.splitting.split import TABLE
from reviewlm.evaluation.reports.card import HTML, LIMITS, MARKDOWN, Origin, draw
from tests.evaluation.reports.report_pages import Reader

EVIL = '</blockquote><script>alert("x")</script> & "quoted" <img src=http://evil.example/x.png> | `code` $x^2$'
SIDES = ("train", "train", "train", "validation", "test")


def frame():
    texts = [
        f"{EVIL} was {word} number{number} " * 2 for number in range(60) for word in ("good", "bad")
    ]
    return pl.DataFrame(
        {
            "text": texts,
            "stars": [5 if " good " in text else 1 for text in texts],
            "date": [f"20{10 + number % 3}-0{1 + number % 9}-03" for number in range(len(texts))],
            "split": [SIDES[number % 5] for number in range(len(texts))],
            "business_id": [f"b{number % 11}" for number in range(len(texts))],
            "user_id": [f"u{number}" for number in range(len(texts))],
            "categories": ["<b>Bars</b>, $Food$"] * len(texts),
            "city": ["Z$rich"] * len(texts),
        }
    ).with_columns(pl.col("date").str.to_datetime("%Y-%m-%d", time_unit="us"))


SOURCES = [
    {
        "name": f"{EVIL}-{number}.jsonl",
        "bytes": 10**10,
        "sha256": f"{number:064x}",
        "records": 70,
        "rows": 60,
        "quarantined": 6,
        "duplicates": 4,
        "parts": ["part-00000.parquet"],
    }
    for number in range(2)
]
ORIGIN = Origin(
    dataset={
        "records": 140,
        "rows": 120,
        "quarantined": 12,
        "duplicates": 8,
        "reasons": {"malformed": 12},
        "sources": SOURCES,
    },
    clean={
        "rows": 118,
        "empty": 0,
        "languages": {"de": 2},
        "near": {
            "examined": 9,
            "pairs": 3,
            "within": {"test": 1},
        },
        "duplicates": {"train": {"of_test": 1, "near_validation": 2}},
        "learnt": {"test": {"exact": 3, "covered": 4}},
        "coverage": {
            "test": {
                "reviews": 60,
                "mean": 0.0123,
                "none": 50,
                "counts": [1, 1, 1, 1, 1, 5, *[0] * 14],
            }
        },
        "normal_form": {
            "mask_personal_data": True,
            "repair_encoding": False,
            "edition": 2,
        },
    },
    digests={"dataset": "0123456789abcdef", "clean": "fedcba9876543210"},
)


def profiled(folder, reviews):
    """The profile of a prepared table with these reviews."""
    lacking = CLEAN.keys() - {*reviews.columns, "bytes", "words"}
    reviews.with_columns(
        *(pl.lit(None, CLEAN[name]).alias(name) for name in sorted(lacking)),
        bytes=pl.col("text").str.len_bytes().cast(pl.Int32) + 1,
        words=pl.col("text").str.count_matches(r"\S+").cast(pl.Int32),
    ).sort(
        pl.col("split").replace_strict(
            {
                "test": 0,
                "validation": 1,
                "train": 2,
            }
        )
    ).write_parquet(folder / TABLE)
    return profile_of(folder)


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    return profiled(tmp_path_factory.mktemp("clean"), frame())


@pytest.fixture(scope="module")
def card(profile, tmp_path_factory):
    folder = tmp_path_factory.mktemp("card")
    draw(profile, ORIGIN, folder)
    return folder


@pytest.fixture(scope="module")
def page(card):
    """Read the page of the data card."""
    return (card / HTML).read_text()


@pytest.mark.slow
def test_every_tag_of_the_page_is_closed(page):
    assert Reader(page).open == []


@pytest.mark.slow
def test_the_page_has_two_drawings(page):
    assert [tag for tag, _ in Reader(page).tags].count("svg") == 2


@pytest.mark.slow
def test_the_page_needs_nothing_else(page):
    tags = Reader(page).tags
    names = ("src", "href", "srcset")
    addresses = [attrs[name] for _, attrs in tags for name in names if name in attrs]

    assert all(address.startswith("#") for address in addresses)
    assert not {"script", "link", "iframe", "img"} & {tag for tag, _ in tags}
    assert "@import" not in page
    assert page.count("url(") == page.count("url(#")


@pytest.mark.slow
def test_the_page_fits_a_small_screen(page):
    assert 'name="viewport"' in page


def test_what_a_review_says_is_never_run(card):
    html = (card / HTML).read_text()
    assert "<script" not in html
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;" in html
    assert html.count("<blockquote>") == 6  # three for each rating that occurs
    markdown = (card / MARKDOWN).read_text()
    assert "<script" not in markdown
    assert "<img" not in markdown


def test_the_accounts_are_complete(card):
    text = (card / MARKDOWN).read_text()
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE))
    assert "120 clean reviews" in text
    assert (rows["records"], rows["rows"], rows["quarantined"], rows["duplicates"]) == (
        "140",
        "120",
        "12",
        "8",
    )
    assert rows["quarantined: malformed"] == "12"
    assert rows["left out of train: same text in test"] == "1"
    assert rows["left out of train: nearly the same text in validation"] == "2"
    assert rows["left out of test: covered by passages of what the champion has learnt from"] == "4"
    assert rows["left out of test: same text in what the champion has learnt from"] == "3"
    assert rows["kept beside a near-duplicate in test"] == "1"
    assert "| test | train | 50 | 2 | 3 | 5 | 1.23% |" in text
    assert rows["set aside, language de"] == "2"
    assert (rows["mask personal data"], rows["repair encoding"]) == ("yes", "no")
    assert f"{1:064x}" in text
    assert all(limit.split(":")[0] in text for limit in LIMITS)


@pytest.mark.slow
def test_a_card_without_facts_dates_or_ratings_is_drawn_too(tmp_path):
    bare = profiled(
        tmp_path, pl.DataFrame({"text": ["Nice", "Nice place", "?"], "split": ["train"] * 3})
    )
    page = draw(bare, Origin(synthetic=True), tmp_path)
    titles = [section.title for section in page.sections]
    assert {"Splits", "Length", "Known limits"} <= set(titles)
    assert not {"Provenance", "Businesses", "Samples", "Masked personal data"} & set(titles)
    assert "embedded grammar" in page.lead
    assert Reader((tmp_path / HTML).read_text()).open == []
