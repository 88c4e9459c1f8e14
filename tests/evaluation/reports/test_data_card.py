"""The data card: what its figures hold, that nothing in a review can break the page, and that it stands alone."""

import math
import re
from html.parser import HTMLParser
from itertools import pairwise

import polars as pl
import pytest

from corpus.profiling.profile import Profile, take_survey
from evaluation.reports import card_figures as drawn
from evaluation.reports.card import FIGURES, HTML, LIMITS, MARKDOWN, Origin, data_card, draw
from evaluation.reports.document import Page, PageSection, PageTable

EVIL = '</blockquote><script>alert("x")</script> & "quoted" <img src=http://evil.example/x.png> | `code` $x^2$'
SIDES = ("train", "train", "train", "validation", "test")


def frame():
    texts = [f"{EVIL} was {word} number{number} " * 2 for number in range(60) for word in ("good", "bad")]
    return pl.DataFrame({
        "text": texts,
        "stars": [5 if " good " in text else 1 for text in texts],
        "date": [f"20{10 + number % 3}-0{1 + number % 9}-03" for number in range(len(texts))],
        "split": [SIDES[number % 5] for number in range(len(texts))],
        "business_id": [f"b{number % 11}" for number in range(len(texts))],
        "user_id": [f"u{number}" for number in range(len(texts))],
        "categories": ["<b>Bars</b>, $Food$"] * len(texts),
        "city": ["Z$rich"] * len(texts),
    }).with_columns(pl.col("date").str.to_datetime("%Y-%m-%d", time_unit="us"))


SOURCES = [
    {"name": f"{EVIL}-{number}.jsonl", "bytes": 10**10, "sha256": f"{number:064x}", "records": 70, "rows": 60,
     "quarantined": 6, "duplicates": 4, "parts": ["part-00000.parquet"]}
    for number in range(2)
]
ORIGIN = Origin(
    dataset={"records": 140, "rows": 120, "quarantined": 12, "duplicates": 8, "reasons": {"malformed": 12},
             "sources": SOURCES},
    clean={"rows": 118, "empty": 0, "languages": {"de": 2}, "near": {"examined": 9, "pairs": 3, "within": {"test": 1}},
           "duplicates": {"train": {"of_test": 1, "near_validation": 2}},
           "learnt": {"test": {"exact": 3, "covered": 4}},
           "coverage": {"test": {"reviews": 60, "mean": 0.0123, "none": 50, "counts": [1, 1, 1, 1, 1, 5, *[0] * 14]}},
           "normal_form": {"mask_personal_data": True, "repair_encoding": False, "edition": 2}},
    digests={"dataset": "0123456789abcdef", "clean": "fedcba9876543210"},
)


@pytest.fixture(scope="module")
def survey():
    return take_survey([frame()])


@pytest.fixture(scope="module")
def card(survey, tmp_path_factory):
    folder = tmp_path_factory.mktemp("card")
    draw(survey, ORIGIN, folder)
    return folder


class Elements(HTMLParser):
    """Counts elements and checks that they are closed in order."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.addresses = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "srcset", "data", "action")]
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.slow
def test_the_page_is_whole_and_needs_nothing_else(card):
    html = (card / HTML).read_text()
    found = Elements(html)
    assert found.open == []
    assert found.tags.count("img") == len(list((card / FIGURES).glob("*.png"))) == 8
    assert all(address.startswith("data:image/png;base64,") for address in found.addresses)
    assert not {"script", "link", "iframe"} & set(found.tags)
    assert "@import" not in html
    assert "url(" not in html
    assert 'name="viewport"' in html


def test_what_a_review_a_file_or_a_category_says_is_shown_and_never_run(card):
    html = (card / HTML).read_text()
    assert "<script" not in html
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;" in html
    assert html.count("<blockquote>") == 6  # three for each rating that occurs
    markdown = (card / MARKDOWN).read_text()
    assert "<script" not in markdown
    assert "<img" not in markdown


def test_every_row_of_a_markdown_table_has_as_many_cells_as_its_head(card):
    lines = (card / MARKDOWN).read_text().splitlines()
    tables = "\n".join(line if line.startswith("|") else "" for line in lines).split("\n\n")
    widths = [{len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines() if row} for table in tables]
    assert all(len(found) <= 1 for found in widths)
    assert sum(map(len, widths)) >= 9


def test_the_accounts_are_complete(card):
    text = (card / MARKDOWN).read_text()
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE))
    assert rows["reviews"] == "120"
    assert (rows["records"], rows["rows"], rows["quarantined"], rows["duplicates"]) == ("140", "120", "12", "8")
    assert rows["quarantined: malformed"] == "12"
    assert rows["left out of train: same text in test"] == "1"
    assert rows["left out of train: nearly the same text in validation"] == "2"
    assert rows["left out of test: covered by passages of what the champion has learnt from"] == "4"
    assert rows["left out of test: same text in what the champion has learnt from"] == "3"
    assert rows["kept in test beside a near-duplicate"] == "1"
    assert "| test | train | 50 | 2 | 3 | 5 | 1.23% |" in text
    assert rows["set aside, language de"] == "2"
    assert (rows["mask personal data"], rows["repair encoding"]) == ("yes", "no")
    assert f"{1:064x}" in text
    assert all(limit.split(":")[0] in text for limit in LIMITS)


@pytest.mark.slow
def test_a_card_without_facts_dates_or_ratings_is_drawn_too(tmp_path):
    bare = take_survey([pl.DataFrame({"text": ["Nice", "Nice place", "?"]})])
    page = draw(bare, Origin(synthetic=True), tmp_path)
    titles = [section.title for section in page.sections]
    assert {"Splits", "Vocabulary", "Known limits"} <= set(titles)
    assert not {"Provenance", "Words by rating", "Businesses", "Samples"} & set(titles)
    assert "embedded grammar" in page.lead
    assert Elements((tmp_path / HTML).read_text()).open == []


@pytest.mark.long
def test_equal_surveys_give_equal_bytes(card, tmp_path):
    draw(take_survey([frame()]), ORIGIN, tmp_path)
    for path in (tmp_path / FIGURES).glob("*.png"):
        assert path.read_bytes() == (card / FIGURES / path.name).read_bytes()
    assert (tmp_path / HTML).read_bytes() == (card / HTML).read_bytes()


def lines_of(axes):
    return {line.get_label(): [tuple(map(float, point)) for point in line.get_xydata()] for line in axes.lines}


def names(labels):
    return [label.get_text() for label in labels]


def test_stars_are_drawn_as_shares_of_each_split(survey):
    (axes,) = drawn.stars_figure(survey.profile).axes
    heights = {container.get_label(): [bar.get_height() for bar in container] for container in axes.containers}
    for name, summary in survey.profile.sides.items():
        assert heights[name] == [summary.stars[star] / summary.reviews for star in range(1, 6)]
    assert names(axes.get_xticklabels())[0] == "1 star\n60"


def test_months_without_reviews_are_drawn_as_gaps(survey):
    assert drawn.month_range({"2011-11": 1, "2012-02": 5}) == ["2011-11", "2011-12", "2012-01", "2012-02"]
    assert drawn.month_range({}) == []
    assert len(drawn.month_range({"0001-01": 1, "2022-01": 1})) == 1_200
    (axes,) = drawn.months_figure(survey.profile).axes
    total = sum(bar.get_height() for container in axes.containers for bar in container)
    assert total == 120
    assert "2010-01 to 2012-09" in axes.get_title()


def test_the_length_density_is_a_distribution(survey):
    (axes,) = drawn.lengths_figure(survey.profile).axes
    points = lines_of(axes)["train"]
    area = sum(y * math.log2(after / x) for (x, y), (after, _) in pairwise(points))
    assert area == pytest.approx(1)
    median = survey.profile.total.length_quantile(0.5)
    assert any(f"50%: {median:.0f}" in text.get_text() for text in axes.texts)


def test_oov_zipf_and_heaps_show_the_statistics(survey):
    words = survey.words
    (axes,) = drawn.oov_figure(words).axes
    assert lines_of(axes)["test"] == [(size, share) for size, share in words.oov["test"]]
    (axes,) = drawn.zipf_figure(words).axes
    assert lines_of(axes)["types"] == words.zipf
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert f"{words.types['all']} types" in axes.get_title()
    (axes,) = drawn.heaps_figure(words).axes
    assert lines_of(axes)["types seen"] == words.heaps
    assert any("β =" in label for label in lines_of(axes))


def test_contrasting_words_stand_on_their_side(survey):
    left, right = drawn.contrast_figure(survey.words).axes
    assert (names(left.get_yticklabels())[0], names(right.get_yticklabels())[0]) == ("bad", "good")
    assert all(bar.get_width() > 0 for axes in (left, right) for bar in axes.patches)


def test_names_are_not_read_as_formulas(survey):
    left, right = drawn.names_figure(survey.profile.total).axes
    assert set(names(left.get_yticklabels())) == {r"<b>Bars</b>", r"\$Food\$"}
    assert [bar.get_width() for bar in right.patches] == [1.0]


def test_a_large_number_is_short_and_an_estimate_is_marked(survey):
    many = pl.DataFrame({"text": ["a b"] * 3_000, "user_id": [f"u{n}" for n in range(3_000)]})
    page = data_card(take_survey([many]), Origin(), {})
    tiles = {what: value for value, what in page.tiles}
    assert tiles["reviews"] == "3,000"
    assert tiles["authors"].startswith("≈ ")
    assert tiles["of text, UTF-8"] == "12 kB"
    assert tiles["businesses"] == "unknown"
    assert isinstance(survey.profile, Profile)


def test_a_page_as_markdown_has_its_tables_and_points():
    section = PageSection("S", ["text", PageTable(("a", "b"), [("x|y", "1")])])
    page = Page("T|t", "lead *x*", [("1", "thing")], [section])
    assert page.to_markdown() == (
        "# T\\|t\n\nlead \\*x\\*\n\n| figure | value |\n| --- | ---: |\n| thing | 1 |\n\n"
        "## S\n\ntext\n\n| a | b |\n| --- | ---: |\n| x\\|y | 1 |\n"
    )
