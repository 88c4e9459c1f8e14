"""The docstring of a module has one first line: none follows in the middle, as where two modules were joined."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from tests.documentation.code_blocks import ROOT
from tests.documentation.test_names_in_docstrings import FILES
from tests.syntax_trees import tree_of

MODULES = [
    *FILES,
    *sorted(ROOT.glob("reviewlm/*.py")),
    *sorted(ROOT.glob("reviewlm/verbs/**/*.py")),
]
NO_VERBS = frozenset(("The", "A", "An"))


def _paragraphs(tree: ast.Module) -> list[str]:
    return (ast.get_docstring(tree) or "").split("\n\n")


def _functions_verbs(tree: ast.Module) -> Iterator[str]:
    """Yield the words with which the docstrings of functions begin; those of properties begin with nouns."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            is_property = any("property" in ast.unparse(each) for each in node.decorator_list)
            if not is_property and (docstring := ast.get_docstring(node)):
                yield docstring.split()[0]


def _modules_verbs(first_lines: Iterable[str]) -> set[str]:
    """Return the words with which the docstrings of two modules or more begin."""
    counts = Counter(line.split(" ")[0] for line in first_lines if line)
    return {word for word, count in counts.items() if count > 1} - NO_VERBS


def _second_first_lines(
    docstrings: Mapping[str, list[str]], functions_verbs: Iterable[str] = ()
) -> list[str]:
    """Return the paragraphs of one line, after the first paragraph, that begin as a docstring does."""
    verbs = _modules_verbs(paragraphs[0] for paragraphs in docstrings.values())
    verbs |= set(functions_verbs) - NO_VERBS
    found = []
    for name, (_, *others) in docstrings.items():
        for paragraph in others:
            if "\n" not in paragraph and paragraph.split(" ")[0] in verbs:
                found.append(f"{name}: {paragraph}")

    return found


def test_a_module_has_one_first_line() -> None:
    trees = {file: tree_of(file) for file in MODULES}
    docstrings = {str(file.relative_to(ROOT)): _paragraphs(tree) for file, tree in trees.items()}
    verbs = chain.from_iterable(map(_functions_verbs, trees.values()))
    assert _second_first_lines(docstrings, verbs) == []


def test_a_second_first_line_is_found() -> None:
    docstrings = {
        "a.py": ["Read files.", "Each is read once.", "Write files."],
        "b.py": ["Write files."],
        "c.py": ["Write tables.", "Write in the middle of\na paragraph is no first line."],
        "d.py": ["Read tables.", "Clip gradients."],
    }
    assert _second_first_lines(docstrings) == ["a.py: Write files."]
    assert _second_first_lines(docstrings, ["Clip"]) == [
        "a.py: Write files.",
        "d.py: Clip gradients.",
    ]
