r"""Restore line breaks that were escaped twice (written as `\n`), written as tags, or removed together with tags.

**Tags.** `<br />`, `<br>`, `<p>` and `</p>` become line breaks, also with spaces in them. Other tags stay.

**Escapes.** `\n`, `\r\n` and `\t` become the real characters where they are certainly escapes: as `\r\n`, next to
another escape, after a space or the end of a sentence, or before anything but a small letter. If a text has one certain
escape, all its `\n` are escapes. So `infant\toddler`, `barn\restaurant` and `C:\new` stay, because people do write a
backslash instead of a slash. A `\"` becomes a quotation mark.

**Breaks.** `quickly.The` gets a space after the full stop, also after `!`, `?` and a closing bracket. It gets a space
and not a line break, because the original is unknown. A space is also right where the writer left it out, and in
sources with intact line breaks this is every case. Not changed are ellipses (`so...The`), initials (`U.S.A`,
`P.F.Chang`), addresses (`Yelp.Com`, any word with `://`, `@`, `www.`), file names, and a full stop before a small
letter.
"""

from __future__ import annotations

import re

from .rules import Repair, TextRule

TAGS = TextRule("tags of line breaks", r"</?(?:[Bb][Rr]|[Pp])(?:[ /\t]|\\{1,4}t)*>", "\n", "<")

_BACKSLASH = r"(?<!\\)\\{1,4}"
_ESCAPE = rf"{_BACKSLASH}(?:r\\{{1,4}}n|[nrt])"
_CERTAIN = re.compile(
    rf"{_BACKSLASH}r\\{{1,4}}n"
    rf"|{_ESCAPE}(?=\\{{1,4}}[nrt]|https?://|www\.|[^a-z_\u00DF-\u00FF]|\Z)"
    rf"|(?:(?<=[.!?,;)\" \n\t])|(?<=\\n)|(?<=\\r)|(?<=\\t)|\A){_ESCAPE}"
)
_BREAK = re.compile(rf"{_BACKSLASH}(?:r\\{{1,4}}n|n)")
_QUOTE = re.compile(rf'{_BACKSLASH}"')


def unescape_breaks(text: str) -> str:
    r"""Return *text* with its escaped line breaks and tabs as real characters; the module docstring has the rules."""
    text = _QUOTE.sub('"', text)
    certain = _CERTAIN.sub(lambda match: "\t" if match[0].endswith("t") else "\n", text)
    return certain if certain == text else _BREAK.sub("\n", certain)


ESCAPES = Repair("escaped line breaks", r'\\[nrt"]', unescape_breaks)

_ENDING = r"(?:com|net|org|edu|gov|info|biz|us|uk|pdf|jpe?g|png|gif|docx?|txt|html?|php|aspx?|js|mp3|mp4|exe|zip)"
_BEFORE = "a-z0-9ß-öø-ÿ)\\]”’%*"
_CAPITAL = "A-ZÀ-ÖØ-Þ"
# The first sign is consumed before any look-around, so that the engine can jump from one sign to the next.
_SENTENCE_END = re.compile(
    rf"[.!?](?:(?<=[{_BEFORE}][.!?])|(?<=[A-Z]{{3}}[.!?]))(?:(?<=[!?])[!?]{{0,15}}\.?)?[)\]”’]?"
    rf"(?=[{_CAPITAL}][a-zß-öø-ÿ]|[A-Z]{{2}}|[IA](?:['’ \n]|\Z)|P\.? ?S(?a:\b))(?!(?i:{_ENDING})(?a:\b))"
)
_ADDRESS = re.compile(r"://|@|[Ww][Ww][Ww]\.|\.(?:com|net|org|edu|gov)/")
_TOKEN = re.compile(r"[^ \n]+")


def restore_breaks(text: str) -> str:
    """Return *text* with a space where a sentence runs into the next."""
    if not _ADDRESS.search(text):
        return _separate(text)
    return _TOKEN.sub(lambda token: token[0] if _ADDRESS.search(token[0]) else _separate(token[0]), text)


def _separate(text: str) -> str:
    return _SENTENCE_END.sub(lambda match: f"{match[0]} ", text)


BREAKS = Repair("lost line breaks", rf"[{_BEFORE}A-Z](?:\.|[!?]+\.?)[)\]”’]?[{_CAPITAL}]", restore_breaks)
