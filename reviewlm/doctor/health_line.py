"""Define the result of one check of `reviewlm doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class HealthLine:
    """Result of a check.

    Args:
        check: Name of the check.
        state: "problem" if commands will fail, "warning" if something may fail or is slower than it could be.
        found: What was found.
        remedy: What to do about it; empty if nothing needs to be done.
    """

    check: str
    state: State
    found: str
    remedy: str = ""

    def in_words(self) -> str:
        """Return the result as one line of the terminal."""
        remedy = f". To do: {self.remedy}" if self.remedy else ""
        return " ".join(f"{self.state:<8} {self.check}: {self.found}{remedy}".splitlines())
