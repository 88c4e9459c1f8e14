r"""Define the steps of the normal form: rules that work the same in Python's `re` and in polars, and repairs.

The two engines agree on any string because the patterns name their characters one by one (`\s`, `\w` and case folding
differ between Python and Rust) and use only features that both have. A step that needs more (look-around, a check
digit) is a `Repair`: a Python function, which is called only on texts in which its hint matches.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

compiled = cache(re.compile)


@dataclass(frozen=True)
class TextRule:
    """One substitution: every leftmost, non-overlapping match of *pattern* becomes *replacement* (literal text).

    Args:
        name: Purpose of the rule.
        pattern: In Python's syntax; `rust` is the same pattern in the syntax of polars.
        replacement: Literal text without `$` or a backslash, which the engines read differently.
        changes: A simpler pattern for both engines; a text without a match is not changed. Empty: *pattern*.
    """

    name: str
    pattern: str
    replacement: str
    changes: str = ""

    @property
    def rust(self) -> str:
        """The pattern for polars, which writes the flag for ASCII word boundaries differently."""
        return self.pattern.replace("(?a:", "(?-u:")

    @property
    def hint(self) -> str:
        """A pattern for polars; a text without a match is not changed."""
        return self.changes or self.rust

    def apply(self, text: str) -> str:
        """Return *text* with every match replaced."""
        return compiled(self.pattern).sub(self.replacement, text)


@dataclass(frozen=True)
class Repair:
    """A change that needs more than a pattern, and is rare enough to run text by text.

    Args:
        name: Purpose of the repair.
        hint: A pattern for both engines; a text without a match is not changed.
        change: Function that changes the other texts.
        replacement: The placeholder that it writes, if any.
    """

    name: str
    hint: str
    change: Callable[[str], str]
    replacement: str = ""

    def apply(self, text: str) -> str:
        """Return *text* after the change."""
        if compiled(self.hint).search(text):
            return self.change(text)
        return text


Step = TextRule | Repair


def substitute(steps: tuple[Step, ...], text: str) -> str:
    """Return *text* after applying the steps in order."""
    for step in steps:
        text = step.apply(text)
    return text


CHARACTERS: tuple[TextRule, ...] = (
    # Controls (C0 without tab, line feed, VT, FF, CR; DEL; C1 without NEL), soft hyphen, zero-width space, word joiner,
    # direction marks, byte order mark, non-characters. The joiners U+200C/D stay: emoji and some scripts need them.
    TextRule(
        "invisible",
        r"[\x00-\x08\x0E-\x1F\x7F-\x84\x86-\x9F\u00AD\u200B\u200E\u200F\u202A-\u202E\u2060\u2066-\u2069\uFEFF\uFFFE\uFFFF]",
        "",
    ),
    TextRule("line breaks", r"\r\n|[\r\x0B\x0C\x85\u2028\u2029]", "\n"),
    TextRule("spaces", r"[\u00A0\u1680\u2000-\u200A\u202F\u205F\u3000]", " "),
)

LAYOUT: tuple[TextRule, ...] = (
    # not r"[ \t]+", which would replace every single space by itself
    TextRule("runs of spaces", r" [ \t]+|\t[ \t]*", " ", r"  |\t"),
    TextRule("spaces at line ends", r" ?\n ?", "\n", r" \n|\n "),
    TextRule("empty lines", r"\n{3,}", "\n\n"),
)
