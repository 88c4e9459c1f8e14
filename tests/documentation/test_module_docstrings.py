"""The docstring of a module has one first line: none follows in the middle, as where two modules were joined."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.documentation.code_blocks import ROOT
from tests.documentation.test_names_in_docstrings import FILES

MODULES = [
    *FILES,
    *sorted(ROOT.glob("reviewlm/*.py")),
    *sorted(ROOT.glob("reviewlm/verbs/**/*.py")),
]
NO_VERBS = frozenset(("The", "A", "An"))


def _paragraphs(file: Path) -> list[str]:
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return docstring.split("\n\n")


def _verbs(first_lines: Iterable[str]) -> set[str]:
    """Return the words with which the docstrings of two modules or more begin."""
    counts = Counter(line.split(" ")[0] for line in first_lines if line)
    return {word for word, count in counts.items() if count > 1} - NO_VERBS


def _second_first_lines(docstrings: Mapping[str, list[str]]) -> list[str]:
    """Return the paragraphs of one line, after the first paragraph, that begin as a docstring does."""
    verbs = _verbs(paragraphs[0] for paragraphs in docstrings.values())
    found = []
    for name, (_, *others) in docstrings.items():
        for paragraph in others:
            if "\n" not in paragraph and paragraph.split(" ")[0] in verbs:
                found.append(f"{name}: {paragraph}")

    return found


def test_a_module_has_one_first_line() -> None:
    docstrings = {str(file.relative_to(ROOT)): _paragraphs(file) for file in MODULES}
    assert _second_first_lines(docstrings) == []


def test_a_second_first_line_is_found() -> None:
    docstrings = {
        "a.py": ["Read files.", "Each is read once.", "Write files."],
        "b.py": ["Write files."],
        "c.py": ["Write tables.", "Write in the middle of\na paragraph is no first line."],
        "d.py": ["Read tables."],
    }
    assert _second_first_lines(docstrings) == ["a.py: Write files."]
