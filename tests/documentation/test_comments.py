"""No comment at the end of a line makes the formatter open a bracket whose content would fit into the line."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.documentation.code_blocks import ROOT
from tests.documentation.test_module_docstrings import MODULES

WIDTH = 100
TESTS = sorted(ROOT.glob("tests/**/*.py"))
OPENED = re.compile(
    r"^(?P<first>[^\n#]*[(\[{])\n"
    r"(?P<content>[^\n#]*[^\n#,])(?P<inside>  # (?!type|noqa)[^\n]*)?\n"
    r" *(?P<last>[)\]}][^\n#]*?)(?P<after>  # (?!type|noqa)[^\n]*)?$",
    re.MULTILINE,
)
"""A bracket with one line of content, and comments after the content or the end of the bracket."""


def _lines_broken_by_comments(text: str) -> Iterator[str]:
    """Yield the first lines of brackets that have a comment and without it would fit into a line."""
    for found in OPENED.finditer(text):
        whole = found["first"] + found["content"].strip() + found["last"]
        if (found["inside"] or found["after"]) and len(whole) <= WIDTH:
            yield found["first"].strip()


def test_no_comment_breaks_a_line() -> None:
    found = []
    for file in (*MODULES, *TESTS):
        for line in _lines_broken_by_comments(file.read_text(encoding="utf-8")):
            found.append(f"{file.relative_to(ROOT)}: {line}")

    assert found == []


def test_a_line_that_a_comment_broke_is_found() -> None:
    broken = "if (\n    name == LABEL\n):  # numbers too\n    pass\nx = (\n    1  # one\n)\n"
    assert list(_lines_broken_by_comments(broken)) == ["if (", "x = ("]
