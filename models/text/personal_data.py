"""Replace personal data by placeholders: `_email_`, `_url_`, `_card_`, `_phone_`, and those of `identifiers.py`.

Only patterns are used, so that the result is the same everywhere. Recall has priority where a shape is nearly always
personal data. Where it often is something else (ranges, years, order numbers), a second sign is required: a cue such
as "call", a check digit, no currency before it. A bare `yelp.com` is a name and stays; with a path it is an address.

Every repetition is bounded or anchored by a character, so that no text makes Python's engine run in quadratic time.
The repairs look at the neighbouring character and count "_" as a letter: so no pattern matches right next to a
placeholder, and masking twice changes nothing.
"""

from __future__ import annotations

import re

from .identifiers import HANDLE, IBAN, IP, KEY, SSN, TOKEN
from .rules import Repair, Step, TextRule

_TAIL = r"""[^ \n<>"…]*[^ \n<>"….,;:!?')\]}*]"""  # a site shortens long addresses: x.com/biz_pho…Next
_DOMAIN = r"(?a:\b)(?:[A-Za-z0-9-]{1,63}\.){1,5}"

EMAIL = TextRule(
    "e-mail",
    r"[A-Za-z0-9._%+-]{1,64}(?:@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24})+",
    "_email_", "@",
)
URL = TextRule(
    "web address",
    rf"(?:[Hh][Tt][Tt][Pp][Ss]?://|[Ff][Tt][Pp]://|(?a:\b)[Ww][Ww][Ww]\.[A-Za-z0-9]){_TAIL}"
    rf"|{_DOMAIN}(?:[Cc]om|COM|[Nn]et|[Oo]rg|edu|gov|info|biz|us|app|blog|site|menu)(?::[0-9]{{2,5}})?/(?:{_TAIL})?"
    rf"|{_DOMAIN}(?:ly|gl|gd|co|io|tv|cc|ca|uk|au|nz|ie|de|fr|es|nl|mx|jp)/[A-Za-z0-9_~@#?%+-]+(?:{_TAIL})?"
    rf"|(?a:\b)(?:youtu\.be|(?:fb|wa|about|[mt])\.me|amzn\.to)/(?:{_TAIL})?",  # .be, .me, .to alone are words
    "_url_", r"/|[Ww][Ww][Ww]\.",
)


def _mask(name: str, hint: str, pattern: str, replacement: str) -> Repair:
    expression = re.compile(pattern)
    return Repair(name, hint, lambda text: expression.sub(replacement, text), replacement)


_PROVIDER = (
    r"(?:gmail|googlemail|yahoo|hotmail|outlook|icloud|aol|comcast|msn|live|mac|protonmail|sbcglobal|att|verizon)"
)
_TOP = r"(?:com|net|org|edu|gov|info|biz|us|uk|ca|co|io|de|fr)"
_NAME = r"[A-Za-z0-9._%+-]{1,64}"
_LABEL = r"[A-Za-z0-9-]{1,63}"
_AT = r" ?(?:\(at\)|\[at\]|\{at\}|<at>|\(@\)|\[@\]) ?"
_DOT = r"(?:\.| ?\(dot\) ?| ?\[dot\] ?| ?\{dot\} ?| dot )"
WRITTEN_EMAIL = _mask(
    "written-out e-mail",
    r"\([Aa][Tt]\)|\[[Aa][Tt]\]|\{[Aa][Tt]\}|<[Aa][Tt]>|\(@\)|\[@\]| [Dd][Oo][Tt] | @|@ ",
    rf"{_NAME}(?i:{_AT}){_LABEL}(?i:(?:{_DOT}{_LABEL}){{0,3}}{_DOT}{_TOP})(?![A-Za-z0-9_])"
    rf"|{_NAME} (?i:at) {_LABEL}(?i:(?: dot {_LABEL}){{0,3}} dot {_TOP})(?![A-Za-z0-9_])"
    rf"|{_NAME} ?@ ?(?i:{_PROVIDER} ?\. ?(?:com|net))(?![A-Za-z0-9_])",
    "_email_",
)

_NOT_IN_WORD = r"(?<![A-Za-z0-9_])"
_NO_MORE = r"(?![A-Za-z0-9_])"
_GROUPED_CARD = (
    r"(?:[3-6][0-9]{3}|2[2-7][0-9]{2})[ -](?:[0-9]{4}[ -]?){2}[0-9]{4}(?:[ -]?[0-9]{3})?"
    r"|3[0-9]{3}[ -][0-9]{6}[ -]?[0-9]{4,5}"
    r"|[3-6][0-9]{3}(?:[ -][0-9]{3}){3}"
    r"|[3-6][0-9]{3}(?:[ -][0-9]{4}){2}[ -][0-9]{1,3}"
)
_CARD = re.compile(rf"{_NOT_IN_WORD}(?:{_GROUPED_CARD}|(?P<plain>[2-9][0-9]{{12,18}})){_NO_MORE}")


def _valid(digits: str) -> bool:
    """Return whether the last digit is the check digit of the others (Luhn; ISO/IEC 7812-1)."""
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(int(digit) for digit in digits[::-2]) + sum(doubled)) % 10 == 0


def _mask_cards(text: str) -> str:
    return _CARD.sub(lambda m: m[0] if m["plain"] and not _valid(m["plain"]) else "_card_", text)


CARD = Repair("card number", r"[0-9]{4}[ -]?[0-9]{3}[ -]?[0-9]", _mask_cards, "_card_")

# After the number: an extension, or anything that does not continue the number.
_END = rf"(?:,? ?(?i:extension|ext\.?|x\.?|#) ?[0-9]{{1,6}}{_NO_MORE}|{_NO_MORE})"
_CUE = (
    r"(?i:(?<=call )|(?<=calling )|(?<=called )|(?<=phone )|(?<=phone: )|(?<=tel )|(?<=tel: )|(?<=tel\. )|(?<=cell )"
    r"|(?<=cell: )|(?<=text )|(?<=dial )|(?<=fax )|(?<=fax: )|(?<=us at )|(?<=me at ))"
)
_DASH = "-–‐‑"
_GAP = rf"(?: - |[{_DASH}./ ])?"
_LINE = rf"[2-9][0-9]{{2}}{_GAP}[0-9]{{4}}{_END}"
_UNITS = r"(?! ?(?i:cal|deg|people|ppl|star|sq|lbs|mile|word|dollar|bucks|guest|seat|points))"
PHONE = _mask(
    "telephone number",
    rf"(?:[0-9][{_DASH}./() ]{{0,3}}){{6}}[0-9]",
    # North America: +1 (480) 555-1234 x99; the area code in brackets may come right after a word
    r"(?=[0-9(+])(?:"  # fails fast
    rf"(?:\+1[-. ]{{0,2}}|(?<![A-Za-z0-9_-])1[-. ]{{0,2}})?\([2-9][0-9]{{2}}\)[-. /]{{0,2}}{_LINE}"
    rf"|(?:\+1[-. ]{{0,2}}|(?<![A-Za-z0-9_-])1[-. ]{{0,2}}|(?<![A-Za-z0-9_$]))[2-9][0-9]{{2}}{_GAP}{_LINE}"
    # international, at least eight digits: +44 (0)20 7946 0958
    r"|(?<![A-Za-z0-9_$+])(?:\+|00|011[- ])[1-9][0-9]{0,2}(?:[-. ]?\(0?[0-9]{0,4}\))?"
    rf"(?:[-. /]?[0-9]){{6,13}}{_NO_MORE}"
    # local, seven digits: no prices, no round numbers as in 700-1200; with a space or nothing only after a cue
    rf"|(?<![A-Za-z0-9_$£€.,/#%+=–-])[2-9][0-9]{{2}}[{_DASH}.](?![0-9]{{2}}00)[0-9]{{4}}(?![A-Za-z0-9_%/-]|\.[0-9]){_UNITS}"
    rf"|{_CUE}[2-9][0-9]{{2}}[{_DASH}. ]?[0-9]{{4}}{_END})",
    "_phone_",
)

# Order matters: part of an IBAN looks like a card number, and an SSN like a part of a telephone number.
MASKS: tuple[Step, ...] = (EMAIL, URL, WRITTEN_EMAIL, IBAN, KEY, TOKEN, CARD, SSN, IP, PHONE, HANDLE)
