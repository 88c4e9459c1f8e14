"""Measures of texts and hostile values against written-out answers."""

from __future__ import annotations

import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.core.errors import ConfigError
from reviewlm.data_checks.suite_runs import check_with
from reviewlm.data_checks.text_runs import MOJIBAKE, runs_of
from tests.data_checks.review_tables import stored
from tests.examples import examples

TAGS = (
    '<script>alert("x1")</script>',
    "<b onclick=alert('x2')>z",
    '"><img src=x onerror=alert("x3")>',
    "${x4} $$ %(x5)s",
)


class Reader(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.attributes: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.attributes += [f"{name}={value}" for name, value in attrs]

    def handle_data(self, data):
        if self.cdata_elem:  # inside a script
            self.scripts.append(data)
        self.text += data


def suite(file: Path, name: str = "suite") -> Path:
    kinds = {
        "one_of": {"values": ["a", TAGS[0]]},
        "unique": {},
        "length": {"max": 1},
    }
    checks = [
        {
            "kind": kind,
            "column": "category",
            **options,
            "severity": "warning",
            "description": f"wanted {TAGS[1]}",
        }
        for kind, options in kinds.items()
    ]
    file.write_text(
        json.dumps(
            {
                "format": 2,
                "name": name,
                "private": [],
                "columns": {},
                "checks": checks,
            }
        )
    )
    return file


@pytest.mark.slow
def test_the_data_docs_show_hostile_values_as_text(tmp_path: Path) -> None:
    table = pl.DataFrame({"category": [*TAGS, "\u202eevil", "a"] * 3})
    report = check_with(
        suite(tmp_path / "suite.json"), stored(table), tmp_path / "docs", "table/../<script>"
    )
    assert not report.broken
    pages = list((tmp_path / "docs").rglob("*.html"))
    assert pages
    assert all(
        page.resolve().is_relative_to(tmp_path / "docs") for page in tmp_path.rglob("*.html")
    )
    read = [Reader(page.read_text(encoding="utf-8")) for page in pages]
    for page in read:
        assert not [script for script in page.scripts if "alert(" in script]
        assert not [value for value in page.attributes if re.match(r"on\w+=alert|src=x$", value)]
        assert "\u202e" not in page.text
    assert any('alert("x1")' in page.text for page in read), "the values are shown"


@pytest.mark.parametrize("name", ["../up", "a/b", "..", "a\0b", "x" * 300, ""])
def test_a_suite_whose_name_is_a_path_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="not a suite"):
        check_with(
            suite(tmp_path / "suite.json", name),
            stored(pl.DataFrame({"category": ["a"]})),
            tmp_path / "docs",
        )


PIECES = st.sampled_from(
    [
        "a",
        "b",
        "ab",
        " ",
        "  ",
        "\n",
        "é",
        "🔥",
        "a" * 8,
        "🔥" * 9,
        "ab ab ab",
        "x" * 70,
        "-" * 30,
    ]
)
TEXTS = st.lists(st.one_of(st.none(), st.lists(PIECES, max_size=14).map("".join)), max_size=8)


def words_by_hand(text):
    if not text:
        return 0
    runs = [1]
    for part in re.split(r"[\x00-\x20]{2,}", text):
        runs += [
            len(list(run))
            for word, run in itertools.groupby(re.split(r"[\x00-\x20]", part))
            if word
        ]
    return max(runs)


def characters_by_hand(text):
    if not text:
        return 0
    return max((len(list(run)) for sign, run in itertools.groupby(text) if sign > " "), default=1)


@examples(200, derandomize=True)
@given(texts=TEXTS)
def test_runs_are_those_found_by_hand(texts):
    column = pl.Series("text", texts, pl.String)
    assert runs_of(column).struct.field("word_run").to_list() == [
        words_by_hand(text) for text in texts
    ]
    assert runs_of(column).struct.field("character_run").to_list() == [
        characters_by_hand(text) for text in texts
    ]


@pytest.mark.parametrize(
    "text",
    ["café", "naïve", "“quoted” – dash…", "5 °C, £5", "Ångström", "über", "日本", "🔥🍜", "señor"],
)
def test_utf8_is_mojibake_only_if_it_is_read_as_another_encoding(text):
    assert not re.search(MOJIBAKE, text)
    for encoding in ("cp1252", "latin-1"):
        wrong = text.encode().decode(encoding, "replace")
        marked = re.search(MOJIBAKE, wrong) is not None
        # Of signs beyond those of Western Europe some read as other letters, which might be meant.
        assert marked or any(sign > "\u2fff" for sign in text), (encoding, wrong)
