r"""Escape control and direction characters so that a terminal shows them (`\x1b`, `\u202e`) and does not obey them.

The text of a review, the name of a file or the value in an error may contain sequences that move the cursor, set the
title of the window, or reverse the reading direction so that a line seems to say something else.
"""

from __future__ import annotations

import html
import re

_UNSEEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters except tab and line feed
    r"\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # direction, invisible, line separators
    r"\ud800-\udfff\U000e0000-\U000e007f]"  # halves of characters; tags
)


def visible(text: str) -> str:
    """Return the text with an escape for every character that a terminal obeys instead of showing it."""
    return _UNSEEN.sub(lambda found: _escape(ord(found[0])), text)


def as_html(text: str) -> str:
    """Return the visible text escaped for HTML, also for quoted attributes."""
    return html.escape(visible(text))


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
