"""Values of the data, and words of a suite that somebody sent, are text in the Data Docs: never a tag."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from core.errors import ConfigError
from data_checks.suite_runs import check_with

TAGS = (
    '<script>alert("x1")</script>', "<b onclick=alert('x2')>z", '"><img src=x onerror=alert("x3")>', "${x4} $$ %(x5)s",
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
    kinds = {"one_of": {"values": ["a", TAGS[0]]}, "unique": {}, "length": {"max": 1}}
    checks = [{"kind": kind, "column": "category", **options, "severity": "warning",
               "description": f"wanted {TAGS[1]}"} for kind, options in kinds.items()]  # fmt: skip
    file.write_text(json.dumps({"format": 2, "name": name, "private": [], "columns": {}, "checks": checks}))
    return file


@pytest.mark.slow
def test_the_data_docs_show_hostile_values_and_obey_none(tmp_path: Path) -> None:
    table = pl.DataFrame({"category": [*TAGS, "\u202eevil", "a"] * 3})
    report = check_with(suite(tmp_path / "suite.json"), table, tmp_path / "docs", "table/../<script>")
    assert not report.broken
    pages = list((tmp_path / "docs").rglob("*.html"))
    assert pages
    assert all(page.resolve().is_relative_to(tmp_path / "docs") for page in tmp_path.rglob("*.html"))
    read = [Reader(page.read_text(encoding="utf-8")) for page in pages]
    for page in read:
        assert not [script for script in page.scripts if "alert(" in script]
        assert not [value for value in page.attributes if re.match(r"on\w+=alert|src=x$", value)]
        assert "\u202e" not in page.text
    assert any('alert("x1")' in page.text for page in read), "the values are shown"


@pytest.mark.parametrize("name", ["../up", "a/b", "..", "a\0b", "x" * 300, ""])
def test_a_suite_whose_name_is_a_path_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="not a suite"):
        check_with(suite(tmp_path / "suite.json", name), pl.DataFrame({"category": ["a"]}), tmp_path / "docs")
