r"""What the normal form of a text is written in: rules that Python's `re` and polars read alike, and repairs.

The two engines agree on any string because the patterns name their characters one by one (`\s`, `\w` and case folding
differ between Python and Rust) and use nothing but what both have. What needs more (a look at the neighbours, a check
digit) is a `Repair`: a Python function, which both forms call on the texts that its hint finds, and on no others.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

compiled = cache(re.compile)


@dataclass(frozen=True)
class Rule:
    """One substitution: every leftmost, non-overlapping match of *pattern* becomes *replacement* (literal text).

    Args:
        name: What the rule is for.
        pattern: In Python's syntax; `rust` gives the same in that of polars.
        replacement: Literal text without `$` or a backslash, which the engines read differently.
    """

    name: str
    pattern: str
    replacement: str

    @property
    def rust(self) -> str:
        """The pattern for polars: only the flag for ASCII word boundaries is spelled differently."""
        return self.pattern.replace("(?a:", "(?-u:")

    def apply(self, text: str) -> str:
        """Return *text* with every match replaced."""
        return compiled(self.pattern).sub(self.replacement, text)


@dataclass(frozen=True)
class Repair:
    """A change that needs more than a pattern; rare enough to be made text by text.

    Args:
        name: What the repair is for.
        hint: A pattern for both engines; a text in which it finds nothing stays as it is.
        change: What is done with the others.
        replacement: The placeholder that it writes, if it writes one.
    """

    name: str
    hint: str
    change: Callable[[str], str]
    replacement: str = ""

    def apply(self, text: str) -> str:
        """Return *text* after the change."""
        return self.change(text) if compiled(self.hint).search(text) else text


Step = Rule | Repair


def substitute(steps: tuple[Step, ...], text: str) -> str:
    """Return *text* after the steps, one after another."""
    for step in steps:
        text = step.apply(text)
    return text


CHARACTERS: tuple[Rule, ...] = (
    # Controls (C0 without tab, line feed, VT, FF, CR; DEL; C1 without NEL), soft hyphen, zero-width space, word joiner,
    # direction marks, byte order mark, non-characters. The joiners U+200C/D stay: emoji and some scripts need them.
    Rule(
        "invisible",
        r"[\x00-\x08\x0E-\x1F\x7F-\x84\x86-\x9F\u00AD\u200B\u200E\u200F\u202A-\u202E\u2060\u2066-\u2069\uFEFF\uFFFE\uFFFF]",
        "",
    ),
    Rule("line breaks", r"\r\n|[\r\x0B\x0C\x85\u2028\u2029]", "\n"),
    Rule("spaces", r"[\u00A0\u1680\u2000-\u200A\u202F\u205F\u3000]", " "),
)

LAYOUT: tuple[Rule, ...] = (
    Rule("runs of spaces", r" [ \t]+|\t[ \t]*", " "),  # not r"[ \t]+", which would write every single space anew
    Rule("spaces at line ends", r" ?\n ?", "\n"),
    Rule("empty lines", r"\n{3,}", "\n\n"),
)
