"""Type a text on the terminal of standard input, with a word to complete, and print it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from reviewlm.typing_line import type_text


def suggest(text: str) -> Any:
    return SimpleNamespace(
        words=[("great", 0.9)],
        typed=text.rpartition(" ")[2],
        space="",
    )


print(f"<{type_text(suggest)}>")
