"""Raw text stays text: in every page, table and line that is written, whatever a reviewer typed."""

from __future__ import annotations

import io
import json
import logging
import re
from dataclasses import replace
from html.parser import HTMLParser

import polars as pl
import pytest
from markdown_it import MarkdownIt

from reviewlm import terminal
from reviewlm.core.errors import InputError
from reviewlm.core.output import literal, quote_text
from reviewlm.data_checks.report import CheckReport, ExpectationResult
from reviewlm.evaluation.drift.figures import drift_page
from reviewlm.evaluation.drift.report import DriftReport, Figure
from reviewlm.evaluation.reports.document import (
    Code,
    Page,
    PageSection,
    PageTable,
    PageText,
    Picture,
    Quote,
    escape,
    png,
)
from reviewlm.evaluation.reports.report import run_page
from reviewlm.evaluation.reports.report_pictures import drawings_of
from reviewlm.evaluation.statistics.paired import Pair
from reviewlm.models.completion.suggestions import Suggestions
from tests.evaluation.made_results import made_decision, made_results

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</script></style></title></textarea><svg/onload=alert(1)>",
    "[click](javascript:alert(1)) ![x](http://evil.example/x.png) <javascript:alert(1)> [a]: data:text/html,x",
    "a | b || c `code` **bold** _it_ ~~gone~~ $x_{$ \\",
    "# heading",
    "- item",
    "1. first",
    "> quote",
    "=====",
    "```",
    "&lt;b&gt; &amp; &#60;i&#62;",
    "http://evil.example/?q=<b> www.evil.example data:text/html;base64,PHNjcmlwdD4=",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b2J",
    "user\u202etxt.exe\u2066 \u200bhidden\ufeff",
    "{{ 7 * 7 }} {% raw %} ${7*7} <%= 7 %>",
    "line one\n# line two\n<b>three</b>",
)
ALL = "\n".join(HOSTILE)
ALLOWED = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "h1",
    "h2",
    "h3",
    "p",
    "div",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "caption",
    "figure",
    "img",
    "figcaption",
    "blockquote",
    "pre",
    "code",
    "nav",
    "ul",
    "li",
    "a",
    "details",
    "summary",
    "b",
    "span",
    "small",
    "br",
    "section",
    "svg",
    "defs",
    "g",
    "path",
    "use",
    "text",
    "tspan",
    "clippath",
    "rect",
    "circle",
    "pattern",
}


class Elements(HTMLParser):
    """Elements, attributes and text of a page as a browser would see them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def assert_harmless(page: str) -> Elements:
    found = Elements(page)
    assert {tag for tag, _ in found.tags} <= ALLOWED
    for tag, attributes in found.tags:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        for name in ("src", "href", "action", "data"):
            address = attributes.get(name) or "#"
            beside = (
                tag == "a" and ":" not in address.partition("/")[0] and not address.startswith("//")
            )
            web = tag == "a" and address.startswith(("http://", "https://"))
            assert beside or web or address.startswith("#"), (tag, address)
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b\ufeff]", page
    )
    return found


def rendered(markdown: str) -> Elements:
    """Markdown as HTML, tags in it taken as tags: the most careless renderer."""
    return Elements(
        MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown)
    )


PLAIN = {
    "p",
    "h1",
    "h2",
    "h3",
    "h4",
    "ul",
    "li",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "blockquote",
    "strong",
    "code",
    "pre",
    "hr",
}


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_shows_a_text_as_it_was_typed(text):
    shown = rendered(literal(text))
    assert {tag for tag, _ in shown.tags} == {"p"}
    assert shown.text.split() == terminal.visible(text).split()
    in_table = rendered(f"| a | b |\n|---|---|\n| {literal(text)} | x |")
    assert [tag for tag, _ in in_table.tags].count("td") == 2
    in_quote = rendered(quote_text(text))
    assert {tag for tag, _ in in_quote.tags} == {"blockquote", "p"}
    assert in_quote.text.split() == terminal.visible(text).split()


@pytest.mark.parametrize("text", HOSTILE)
def test_html_shows_a_text_as_it_was_typed_also_in_an_attribute(text):
    shown = Elements(f'<p title="{escape(text)}">{escape(text)}</p>')
    assert [tag for tag, _ in shown.tags] == ["p"]
    assert shown.text == shown.tags[0][1]["title"] == terminal.visible(text)


def hostile_run():
    """A run whose every text is hostile: names, samples, slices, reasons, data."""
    results = made_results()
    models = []
    for model in results.models:
        rows = {
            "stars": [1] * len(HOSTILE),
            "number": [0] * len(HOSTILE),
            "text": HOSTILE,
        }
        samples = pl.DataFrame(rows).with_columns(ended=False)
        models.append(
            replace(
                model,
                samples=samples,
                digests={ALL: ALL},
                policies={ALL: ALL},
            )
        )
    rules = tuple(replace(rule, name=ALL, detail=ALL) for rule in made_decision().rules)
    before = {
        "run": {"started": ALL},
        "winner": ALL,
        "folder": ALL,
        "settings": {ALL: "1"},
        "data": {ALL: "1"},
        "digests": {},
        "figures": {ALL: ALL},
    }
    slices = results.slices.with_columns(
        slice=pl.when(pl.col("dimension") == "category")
        .then(pl.format("{} {}", pl.col("slice"), pl.lit(ALL)))
        .otherwise("slice")
    )
    return replace(
        results,
        models=tuple(models),
        slices=slices,
        decision=replace(made_decision(), rules=rules, reason=ALL),
        data={
            "licence": ALL,
            ALL: ALL,
            "personal data": ALL,
        },
        digests={ALL: ALL},
        run={ALL: ALL},
        config=json.dumps({ALL: ALL}),
        commands=(ALL,),
        links={text: text for text in HOSTILE},
        before=before,
    )


@pytest.mark.slow
def test_the_report_of_a_run_holds_hostile_text_as_text():
    results = hostile_run()
    found = assert_harmless(run_page(results, drawings_of(results)).to_html())
    assert "<script>alert(1)</script>" in found.text


def assert_held_as_text(markdown):
    found = rendered(markdown)
    assert {tag for tag, _ in found.tags} <= PLAIN
    assert "<script>alert(1)</script>" in found.text


def test_the_model_card_holds_it_as_text():
    results = replace(hostile_run(), commands=("reviewlm run",))
    assert_held_as_text(run_page(results, []).to_markdown())


def test_the_decision_holds_it_as_text():
    assert_held_as_text(hostile_run().decision.to_markdown())


def test_the_data_card_holds_it_as_text():
    table = PageTable((ALL, "b", ALL), [(ALL, ALL, ALL)], caption=ALL, numbers=())
    page = Page(ALL, ALL, [PageSection(ALL, [ALL, [table], [ALL], [Quote(ALL, ALL)]])])
    assert "<script>alert(1)</script>" in assert_harmless(page.to_html()).text
    assert {tag for tag, _ in rendered(page.to_markdown()).tags} <= PLAIN


@pytest.mark.parametrize(
    "text",
    [
        "reviewlm run --input 'a\n```\n<script>alert(1)</script>'",
        "````",
        "~~~\n# a",
        "`",
        "```` a\n`````\n[b](c)",
    ],
)
@pytest.mark.parametrize("language", ["", "sh"])
def test_a_block_of_code_ends_where_its_text_ends(text, language):
    page = Page(
        "title", "lead", sections=[PageSection("how", [Code(text, language)])]
    ).to_markdown()
    [block] = [token for token in MarkdownIt().parse(page) if token.type == "fence"]
    assert (block.content, block.info) == (text + "\n", language)


def test_every_part_of_a_page_holds_it_as_text():
    parts = [
        PageText(ALL),
        PageText(ALL, "heading"),
        PageText(ALL, ALL),
        Code(ALL),
        Picture("", ALL, ALL),
        PageSection(ALL, [ALL]),
    ]
    page = Page(
        ALL,
        ALL,
        [PageSection(ALL, parts, ALL)],
        [ALL],
        ALL,
    )
    found = assert_harmless(page.to_html())
    assert found.text.count("<script>alert(1)</script>") == 13


def drift_report():
    figures = (
        Figure(
            "words",
            0.2,
            0.1,
            0.1,
            0.01,
            True,
            ALL,
        ),
    )
    classes = {
        "categories": {
            "labels": list(HOSTILE),
            "known": [0.1] * len(HOSTILE),
            "new": [0.2] * len(HOSTILE),
        }
    }
    moved = [
        {
            "word": text,
            "known": 1.0,
            "new": 2.0,
            "part": 0.1,
        }
        for text in HOSTILE
    ]
    return DriftReport(
        figures,
        100,
        100,
        0.01,
        classes,
        moved,
    )


@pytest.mark.slow
def test_the_drift_report_holds_it_as_text():
    rows = pl.DataFrame({"review_id": HOSTILE, "text": HOSTILE}).with_columns(
        bits_per_byte=pl.lit(1.0),
        expected=pl.lit(1.0),
        deviation=pl.lit(2.0),
        odd=pl.lit("surprising"),
    )
    counts = {
        "surprising": 1,
        "predictable": 1,
        "by_chance": 0.5,
        "reviews": 20,
    }
    page = drift_page(drift_report(), {ALL: ALL}, rows, counts)
    assert "<script>" in assert_harmless(page.to_html()).text
    assert {tag for tag, _ in rendered(page.to_markdown()).tags} <= PLAIN


def test_the_comparison_of_two_models_holds_it_as_text():
    samples = pl.DataFrame(
        {
            "stars": [1] * len(HOSTILE),
            "number": range(len(HOSTILE)),
            "A": HOSTILE,
            "B": HOSTILE,
        }
    )
    rows = pl.DataFrame(
        {
            "dimension": HOSTILE,
            "slice": HOSTILE,
            "A": 1.0,
        }
    )
    figures = rows.rename({"slice": "figure"})
    pair = Pair(
        ALL,
        ALL,
        9,
        9,
        figures,
        rows,
        samples,
        rows,
        (ALL,),
        0.95,
        0.99,
    )
    found = rendered(pair.to_markdown())
    assert {tag for tag, _ in found.tags} <= PLAIN


def test_the_report_of_a_check_holds_it_as_text(tmp_path):
    result = ExpectationResult(
        "expect",
        "critical",
        False,
        ALL,
        ALL,
    )
    found = CheckReport(
        "raw",
        ALL,
        False,
        (result,),
        tmp_path,
        (ALL,),
    )
    assert {tag for tag, _ in rendered(found.to_markdown()).tags} <= PLAIN


def test_a_figure_is_drawn_whatever_a_label_holds():
    from reviewlm.evaluation.reports.canvas import canvas, ticks_at

    figure, axes = canvas(6, 6)
    axes.barh(range(len(HOSTILE)), [1] * len(HOSTILE))
    ticks_at(axes.yaxis, list(HOSTILE))
    assert png(figure)
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert "$" not in "".join(shown).replace(r"\$", "")


def test_a_terminal_obeys_nothing_that_a_text_holds(capsys):
    terminal.show_review(5, ALL)
    terminal.show_rows([{"text": ALL, "n": 1}], "Rows")
    terminal.show_facts({"fact": ALL})
    completions = Suggestions([(ALL, 0.5)], 0.5, typed=ALL)
    terminal.show_suggestions(ALL, Suggestions([(ALL, 0.5)], 0.5, otherwise=completions))
    terminal.show_suggestions(ALL, completions)
    terminal.show_warnings([ALL])
    terminal.show_error(
        InputError(
            ALL,
            where=ALL,
            value=ALL,
            cause=ALL,
            remedy=ALL,
        )
    )
    handler = logging.StreamHandler(stream := io.StringIO())
    terminal.log_to_stderr(["hostile"])
    handler.setFormatter(logging.getLogger("hostile").handlers[0].formatter)
    handler.handle(
        logging.makeLogRecord(
            {
                "levelno": logging.INFO,
                "msg": "%s",
                "args": (ALL,),
            }
        )
    )
    logging.getLogger("hostile").handlers.clear()
    out, err = capsys.readouterr()
    for written in (out, err, stream.getvalue()):
        assert "red" in written
        assert not re.search(
            "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b\ufeff]", written
        )
