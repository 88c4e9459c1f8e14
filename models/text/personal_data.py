"""Replace personal data by placeholders: `_email_`, `_url_`, `_card_`, `_phone_`, `_ssn_`, `_iban_` and three more.

Only patterns are used, so that the result is the same everywhere. Recall has priority where a shape is nearly always
personal data. Where it often is something else (ranges, years, order numbers), a second sign is required: a cue such
as "call", a check digit, no currency before it. A bare `yelp.com` is a name and stays; with a path it is an address.

Every repetition is bounded or anchored by a character, so that no text makes Python's engine run in quadratic time.
The repairs look at the neighbouring character and count "_" as a letter: so no pattern matches right next to a
placeholder, and masking twice changes nothing.

Of numbers and names that identify a person or open an account (SSN, IBAN, IP address, @handle, API key), too, a second
sign is required where their shape is often something else: a known prefix, or a mix that only a machine writes. Hints
begin with a character that is rare in reviews: a hint that begins with a letter costs ten times as much.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from math import log2

from .rules import Repair, Step, TextRule

_START = r"(?<![A-Za-z0-9_])"
_END = r"(?![A-Za-z0-9_])"
_DASH = "[-–‐‑]"

# 078-05-1120: areas 000 and 666, group 00 and serial 0000 are never issued; 9xx are tax numbers of the same shape.
_SSN_PARTS = r"(?!000|666)[0-9]{{3}}{0}(?!00)[0-9]{{2}}{0}(?!0000)[0-9]{{4}}"
_SSN_CUE = (
    r"(?i:\b(?:ssn|itin|social security(?: number| no\.?| #)?|social)#?(?: is| was|:| #|=)? ?)"
)
_SSN = re.compile(
    rf"(?<![A-Za-z0-9_$£€.,/#+=–‐‑-]){_SSN_PARTS.format(_DASH)}(?![A-Za-z0-9_]|{_DASH}[0-9]|[.,][0-9])"
    rf"|(?P<cue>{_SSN_CUE}){_SSN_PARTS.format('[ .]?')}{_END}"
)
SSN = Repair(
    "social security number",
    rf"[0-9]{{3}}(?:{_DASH}|[ .])?[0-9]{{2}}(?:{_DASH}|[ .])?[0-9]{{4}}",
    lambda text: _SSN.sub(lambda match: f"{match['cue'] or ''}_ssn_", text),
    "_ssn_",
)

_IBAN_LENGTHS = {
    15: "NO",
    16: "BE BI",
    18: "DK FI FO GL NL SD FK",
    19: "MK SI",
    20: "AT BA EE KZ LT LU XK MN",
    21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA",
    23: "AE GI IL IQ TL SO OM",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST",
    26: "IS TR",
    27: "BJ BF CI DJ FR GR IT MC MR SM SN",
    28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU YE",
    31: "MT SC",
    32: "LC",
    33: "RU",
}
_LENGTH_OF = {
    country: length for length, countries in _IBAN_LENGTHS.items() for country in countries.split()
}
_IBAN = re.compile(rf"{_START}[A-Za-z]{{2}}[0-9]{{2}}(?=[ -]?[A-Za-z0-9]{{4}})")
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"(?:{_OCTET}\.){{3}}{_OCTET}"
_VERSION = r"(?i:(?<=version )|(?<=ver )|(?<=ver\. )|(?<=release )|(?<=firmware )|(?<=section )|(?<=chapter ))"
_IP = re.compile(
    rf"(?<![A-Za-z0-9_:.])(?P<six>(?:[0-9A-Fa-f]{{0,4}}:){{2,7}}(?:{_IPV4}|[0-9A-Fa-f]{{0,4}}))(?![A-Za-z0-9_:])"
    rf"|(?<![A-Za-z0-9_.$£€-])(?P<version>{_VERSION})?(?P<four>{_IPV4})(?![A-Za-z0-9_%-]|\.[0-9])"
)
# "@home" and similar words mean "at home"; "@7pm" does not begin with a letter.
_AT_PLACE = (
    r"(?i:home|work|school|noon|night|midnight|lunch|lunchtime|dinner|dinnertime|breakfast|brunch|least|all|the|this|that"
    r"|these|those|my|our|your|his|her|their|its|it|an?|any|every|each|some|one|two|three|least|most|first|last|once|times?"
    r"|around|about|approx|only|just|and|or|to|me|us|you|yelp|door|bar|owner)"
)
_HANDLE = re.compile(
    rf"(?<![A-Za-z0-9_.@/&%+#*$!-])@(?!{_AT_PLACE}{_END})"
    r"[A-Za-z_](?:[A-Za-z0-9_]|\.(?=[a-z0-9_])){2,29}(?![A-Za-z0-9_@])"
)
HANDLE = Repair("handle", r"@[A-Za-z_]", lambda text: _HANDLE.sub("_handle_", text), "_handle_")
_KEY_CHARACTER = r"[A-Za-z0-9_-]"
_PREFIXED = (
    rf"sk-(?:proj-|ant-|live-|test-|or-)?{_KEY_CHARACTER}{{20,200}}|[rsp]k_(?:live|test)_[A-Za-z0-9]{{16,120}}"
    r"|(?:gh[opsur]_[A-Za-z0-9]{30,100}|github_pat_[A-Za-z0-9_]{30,120}|glpat-[A-Za-z0-9_-]{18,60}|npm_[A-Za-z0-9]{30,60})"
    r"|(?:AKIA|ASIA|AGPA|AIDA|AROA)[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,200}|hf_[A-Za-z0-9]{30,60}"
    r"|xox[abeprs]-[A-Za-z0-9-]{15,120}|SG\.[A-Za-z0-9_-]{16,40}\.[A-Za-z0-9_-]{30,60}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"
    r"|dop_v1_[a-f0-9]{64}|pypi-[A-Za-z0-9_-]{50,250}"
    r"|eyJ[A-Za-z0-9_-]{10,500}\.[A-Za-z0-9_-]{10,2000}\.[A-Za-z0-9_-]{10,500}"
)
_KEY_CUE = r"(?i:\b(?:api[ _-]?(?:key|token)|access[ _-]?(?:key|token)|secret(?:[ _-]key)?|token|bearer)(?: is|:|=)? ?[\"'`]?)"
_KEY = re.compile(
    rf"(?<![A-Za-z0-9_-])(?P<known>{_PREFIXED})(?![A-Za-z0-9_-])"
    r"|-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----[A-Za-z0-9+/= \n]{0,5000}(?:-----END [A-Z ]{0,20}PRIVATE KEY-----)?"
)
_TOKEN = re.compile(
    rf"(?P<cue>{_KEY_CUE})(?P<told>[A-Za-z0-9_+/=.-]{{19,199}}[A-Za-z0-9_+/=-])(?![A-Za-z0-9_-])"
    r"|(?<![A-Za-z0-9_+/=.@-])(?=[A-Za-z0-9_-]{32})(?P<mixed>[A-Za-z0-9_-]{32,200})(?![A-Za-z0-9_-])"
)
# A site shortens long addresses: x.com/biz_pho…Next
_TAIL = r"""[^ \n<>"…]*[^ \n<>"….,;:!?')\]}*]"""
_DOMAIN = r"(?a:\b)(?:[A-Za-z0-9-]{1,63}\.){1,5}"
EMAIL = TextRule(
    "e-mail",
    r"[A-Za-z0-9._%+-]{1,64}(?:@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24})+",
    "_email_",
    "@",
)
URL = TextRule(
    "web address",
    rf"(?:[Hh][Tt][Tt][Pp][Ss]?://|[Ff][Tt][Pp]://|(?a:\b)[Ww][Ww][Ww]\.[A-Za-z0-9]){_TAIL}"
    rf"|{_DOMAIN}(?:[Cc]om|COM|[Nn]et|[Oo]rg|edu|gov|info|biz|us|app|blog|site|menu)(?::[0-9]{{2,5}})?/(?:{_TAIL})?"
    rf"|{_DOMAIN}(?:ly|gl|gd|co|io|tv|cc|ca|uk|au|nz|ie|de|fr|es|nl|mx|jp)/[A-Za-z0-9_~@#?%+-]+(?:{_TAIL})?"
    rf"|(?a:\b)(?:youtu\.be|(?:fb|wa|about|[mt])\.me|amzn\.to)/(?:{_TAIL})?",  # .be, .me, .to alone are words
    "_url_",
    r"/|[Ww][Ww][Ww]\.",
)
_PROVIDER = r"(?:gmail|googlemail|yahoo|hotmail|outlook|icloud|aol|comcast|msn|live|mac|protonmail|sbcglobal|att|verizon)"
_TOP = r"(?:com|net|org|edu|gov|info|biz|us|uk|ca|co|io|de|fr)"
_NAME = r"[A-Za-z0-9._%+-]{1,64}"
_LABEL = r"[A-Za-z0-9-]{1,63}"
_AT = r" ?(?:\(at\)|\[at\]|\{at\}|<at>|\(@\)|\[@\]) ?"
_DOT = r"(?:\.| ?\(dot\) ?| ?\[dot\] ?| ?\{dot\} ?| dot )"
_NOT_IN_WORD = r"(?<![A-Za-z0-9_])"
_NO_MORE = r"(?![A-Za-z0-9_])"
_GROUPED_CARD = (
    r"(?:[3-6][0-9]{3}|2[2-7][0-9]{2})[ -](?:[0-9]{4}[ -]?){2}[0-9]{4}(?:[ -]?[0-9]{3})?"
    r"|3[0-9]{3}[ -][0-9]{6}[ -]?[0-9]{4,5}"
    r"|[3-6][0-9]{3}(?:[ -][0-9]{3}){3}"
    r"|[3-6][0-9]{3}(?:[ -][0-9]{4}){2}[ -][0-9]{1,3}"
)
_CARD = re.compile(rf"{_NOT_IN_WORD}(?:{_GROUPED_CARD}|(?P<plain>[2-9][0-9]{{12,18}})){_NO_MORE}")
# After the number: an extension, or anything that does not continue the number.
_END_OF_NUMBER = rf"(?:,? ?(?i:extension|ext\.?|x\.?|#) ?[0-9]{{1,6}}{_NO_MORE}|{_NO_MORE})"
_CUE = (
    r"(?i:(?<=call )|(?<=calling )|(?<=called )|(?<=phone )|(?<=phone: )|(?<=tel )|(?<=tel: )|(?<=tel\. )|(?<=cell )"
    r"|(?<=cell: )|(?<=text )|(?<=dial )|(?<=fax )|(?<=fax: )|(?<=us at )|(?<=me at ))"
)
_DASHES = "-–‐‑"
_GAP = rf"(?: - |[{_DASHES}./ ])?"
_LINE = rf"[2-9][0-9]{{2}}{_GAP}[0-9]{{4}}{_END_OF_NUMBER}"
_UNITS = r"(?! ?(?i:cal|deg|people|ppl|star|sq|lbs|mile|word|dollar|bucks|guest|seat|points))"


def _mask_ibans(text: str) -> str:
    parts = []
    place = 0
    while match := _IBAN.search(text, place):
        end = _end_of_iban(text, match.start())
        parts += [text[place : match.start()], "_iban_" if end else match[0]]
        place = end or match.end()
    return "".join([*parts, text[place:]])


def _end_of_iban(text: str, start: int) -> int:
    """Return where an IBAN with the right check digits (ISO 13616) that begins at *start* ends; 0 if there is none."""
    length = _LENGTH_OF.get(text[start : start + 2].upper(), 0)
    signs = ""
    place = start
    while place < len(text) and len(signs) < length:
        sign = text[place]
        if sign.isascii() and sign.isalnum():
            signs += sign.upper()
        elif sign not in " -" or text[place - 1] in " -":
            return 0
        place += 1

    if not length or len(signs) < length or re.match(r"[A-Za-z0-9_]", text[place : place + 1]):
        return 0

    digits = "".join(str(int(sign, 36)) for sign in signs[4:] + signs[:4])
    if int(digits) % 97 == 1:
        return place
    return 0


IBAN = Repair(
    "bank account number",
    r"[0-9]{2}[ -]?[A-Za-z0-9]{4}[ -]?[A-Za-z0-9]{4}[ -]?[A-Za-z0-9]{3}",
    _mask_ibans,
    "_iban_",
)


def _mask_ip(match: re.Match[str]) -> str:
    six = match["six"]
    if six is not None:
        return "_ip_" if _is_ipv6(six) else match[0]
    octets = match["four"].split(".")
    # 1.2.3.4 is a section or a countdown.
    counted = all(len(octet) == 1 for octet in octets) and len(set(octets)) > 1
    usual = match["version"] is not None or counted or octets[0] == "0"
    return match[0] if usual else "_ip_"


def _is_ipv6(text: str) -> bool:
    """Return whether a text is an IPv6 address: eight groups, or fewer around one "::", not like a time of day."""
    address = text
    if "." in text:  # the last four bytes as in an IPv4 address: they stand for two groups
        head, colon, _ = text.rpartition(":")
        address = f"{head}:0:0" if colon else text

    groups = address.split("::")
    parts = [group.split(":") if group else [] for group in groups]
    count = sum(map(len, parts))
    if len(groups) > 2 or any("" in part for part in parts):
        return False
    if len(groups) == 1:
        return count == 8

    numbers = [one for part in parts for one in part]
    if count == 2:  # fe80::1
        return any(
            len(number) > 2 and not number.isdigit() and not number.isalpha() for number in numbers
        )

    return 3 <= count <= 7 and any(not one.isdigit() or len(one) > 2 for one in numbers)


IP = Repair(
    "IP address",
    r"[0-9]\.[0-9]{1,3}\.[0-9]|:[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]",
    lambda text: _IP.sub(_mask_ip, text),
    "_ip_",
)


KEY = Repair(
    "API key",
    "sk-|_live_|_test_|AKIA|ASIA|AROA|AIDA|AGPA|gho_|ghp_|ghu_|ghr_|ghs_|github_pat_|glpat-|npm_|hf_|eyJ|AIza|pypi-|ya29"
    "|dop_v1_|shpat_|shpca_|shppa_|shpss_|SG[.]|xoxa-|xoxb-|xoxe-|xoxp-|xoxr-|xoxs-|PRIVATE KEY-----",
    lambda text: _KEY.sub(_mask_key, text),
    "_key_",
)
TOKEN = Repair(
    "token", r"[0-9][A-Za-z0-9_-]{6}", lambda text: _TOKEN.sub(_mask_token, text), "_key_"
)


def _mask_key(match: re.Match[str]) -> str:
    if match["known"] and _bits(match["known"]) <= 2.5:
        return match[0]
    return "_key_"


def _mask_token(match: re.Match[str]) -> str:
    if match["told"]:
        if _is_mixed(match["told"], 3.0, turns=2):
            return f"{match['cue']}_key_"
        return match[0]
    return "_key_" if _is_mixed(match["mixed"], 3.2) else match[0]


def _is_mixed(
    text: str,
    least: float,
    turns: int = 5,
) -> bool:
    """Return whether letters and digits alternate as only a machine writes them."""
    changes = sum(before.isdigit() != after.isdigit() for before, after in pairwise(text))
    return changes >= turns and any(sign.isalpha() for sign in text) and _bits(text) >= least


def _bits(text: str) -> float:
    """Return the entropy of the characters of a text, in bits per character."""
    shares = [count / len(text) for count in Counter(text).values()]
    return -sum(share * log2(share) for share in shares)


def _mask(
    name: str,
    hint: str,
    pattern: str,
    replacement: str,
) -> Repair:
    expression = re.compile(pattern)
    return Repair(name, hint, lambda text: expression.sub(replacement, text), replacement)


WRITTEN_EMAIL = _mask(
    "written-out e-mail",
    r"\([Aa][Tt]\)|\[[Aa][Tt]\]|\{[Aa][Tt]\}|<[Aa][Tt]>|\(@\)|\[@\]| [Dd][Oo][Tt] | @|@ ",
    rf"{_NAME}(?i:{_AT}){_LABEL}(?i:(?:{_DOT}{_LABEL}){{0,3}}{_DOT}{_TOP})(?![A-Za-z0-9_])"
    rf"|{_NAME} (?i:at) {_LABEL}(?i:(?: dot {_LABEL}){{0,3}} dot {_TOP})(?![A-Za-z0-9_])"
    rf"|{_NAME} ?@ ?(?i:{_PROVIDER} ?\. ?(?:com|net))(?![A-Za-z0-9_])",
    "_email_",
)


def _valid(digits: str) -> bool:
    """Return whether the last digit is the check digit of the others (Luhn; ISO/IEC 7812-1)."""
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(int(digit) for digit in digits[::-2]) + sum(doubled)) % 10 == 0


def _mask_cards(text: str) -> str:
    return _CARD.sub(lambda m: m[0] if m["plain"] and not _valid(m["plain"]) else "_card_", text)


CARD = Repair("card number", r"[0-9]{4}[ -]?[0-9]{3}[ -]?[0-9]", _mask_cards, "_card_")

PHONE = _mask(
    "telephone number",
    rf"(?:[0-9][{_DASHES}./() ]{{0,3}}){{6}}[0-9]",
    # North America: +1 (480) 555-1234 x99; the area code in brackets may come right after a word
    r"(?=[0-9(+])(?:"  # fails fast
    rf"(?:\+1[-. ]{{0,2}}|(?<![A-Za-z0-9_-])1[-. ]{{0,2}})?\([2-9][0-9]{{2}}\)[-. /]{{0,2}}{_LINE}"
    rf"|(?:\+1[-. ]{{0,2}}|(?<![A-Za-z0-9_-])1[-. ]{{0,2}}|(?<![A-Za-z0-9_$]))[2-9][0-9]{{2}}{_GAP}{_LINE}"
    # international, at least eight digits: +44 (0)20 7946 0958
    r"|(?<![A-Za-z0-9_$+])(?:\+|00|011[- ])[1-9][0-9]{0,2}(?:[-. ]?\(0?[0-9]{0,4}\))?"
    rf"(?:[-. /]?[0-9]){{6,13}}{_NO_MORE}"
    # local, seven digits: no prices, no round numbers as in 700-1200; with a space or nothing only after a cue
    rf"|(?<![A-Za-z0-9_$£€.,/#%+=–-])[2-9][0-9]{{2}}[{_DASHES}.](?![0-9]{{2}}00)[0-9]{{4}}(?![A-Za-z0-9_%/-]|\.[0-9]){_UNITS}"
    rf"|{_CUE}[2-9][0-9]{{2}}[{_DASHES}. ]?[0-9]{{4}}{_END_OF_NUMBER})",
    "_phone_",
)

# Order matters: part of an IBAN looks like a card number, and an SSN like a part of a telephone number.
MASKS: tuple[Step, ...] = (
    EMAIL,
    URL,
    WRITTEN_EMAIL,
    IBAN,
    KEY,
    TOKEN,
    CARD,
    SSN,
    IP,
    PHONE,
    HANDLE,
)
