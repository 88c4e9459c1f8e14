r"""Find texts that a program has damaged on their way: the table of odd texts, and texts that were cut at a limit.

A text is judged as the file has it. The normal form (`reviewlm.models.text.normal_form`) repairs some kinds, which is
said without a warning; the others stay as they are, because only the file's writer can mend them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import polars as pl

from reviewlm.corpus.account import Entry, Outcome
from reviewlm.corpus.account_kinds import Kind
from reviewlm.models.text.normal_form import ENTITY, HINT, repair

SHORT = 40
"""Bytes of the longest text that may be a summary, a header or a word for none."""
MOST_SHOWN = 60
"""Characters that are shown of an odd text, around what is odd."""
_HTML = (
    "a|b|i|u|em|strong|span|div|img|ul|ol|li|table|tr|td|th|tbody|script|style|font|h[1-6]|blockquote|pre|code|section|"
    "A|B|I|U|EM|STRONG|SPAN|DIV|IMG|UL|OL|LI|TABLE|TR|TD|TH|FONT|H[1-6]"
)


@dataclass(frozen=True)
class OddText:
    """A kind of odd texts.

    Attributes:
        words: What they are, as the beginning of a sentence.
        pattern: What they match, for polars.
        remedy: What to do about them.
        share: Share of the records of a file from which on they are told.
        short: Only texts up to `SHORT` bytes are looked at.
        odd: They are a warning.
        confirm: Whether a text that matches is one; None: all are. Asked of texts that are not ASCII only.
    """

    kind: Kind
    words: str
    pattern: str
    remedy: str = ""
    share: float = 0.001
    short: bool = False
    odd: bool = True
    confirm: Callable[[str], bool] | None = None


ODD_TEXTS = (
    OddText(
        Kind.MOJIBAKE,
        "texts were UTF-8 and read in another encoding; the normal form repairs what has lost no byte",
        HINT,
        "look at samples on the data card, or export the file again as UTF-8",
        confirm=lambda text: repair(text) != text,
    ),
    OddText(
        Kind.REPLACEMENT_SIGNS,
        "texts have the sign for a character that was lost (U+FFFD)",
        "\ufffd|ï¿½",
        "export the file again as UTF-8; what is lost in it cannot be restored",
    ),
    OddText(
        Kind.PYTHON_REPR,
        "texts are Python's notation of bytes or lists",
        r"(?s)\A\s*(?:b'.*'|b\".*\"|\['.*'\]|\[\".*\"\])\s*\z",
        "write the text itself: text.decode('utf-8') of bytes, ' '.join(texts) of a list",
        share=0.01,
    ),
    OddText(
        Kind.JSON_ESCAPES,
        r"texts have escapes of JSON such as \u00e9 for a character",
        r"\\u[0-9a-fA-F]{4}",
        "the texts were written as JSON twice: decode them once more (json.loads)",
    ),
    OddText(
        Kind.EXCEL_ESCAPES,
        "texts have Excel's escapes of control characters (_x000D_ for a line break)",
        "_x00[0-9a-fA-F]{2}_",
        "take them out: sed 's/_x000D_//g' FILE > reviews.csv",
    ),
    OddText(
        Kind.HTML_TAGS,
        "texts have tags of HTML, which stay (only those of line breaks and paragraphs do not)",
        rf"</?(?:{_HTML})(?:\s[^<>]{{0,300}})?/?>|&lt;/?(?:{_HTML})(?:\s[^<>]{{0,300}})?/?&gt;",
        "export the plain text, or take the tags out (BeautifulSoup's get_text)",
    ),
    OddText(
        Kind.HTML_ENTITIES,
        "texts have entities of HTML, which the normal form decodes",
        ENTITY,
        odd=False,
    ),
    OddText(
        Kind.PREVIEWS,
        "texts are previews that end with 'more'",
        r"(?:\.\.\.|…)\s*(?:[Rr]ead |[Ss]ee |[Ss]how )?[Mm]ore\s*\z",
        "fetch the whole texts",
        share=0.01,
    ),
    OddText(
        Kind.WORDS_FOR_NONE,
        "texts are words for an unknown value",
        r"(?i)\A\s*(?:nan|none|null|nil|n/?a|#n/?a|<na>|undefined|\[deleted\]|\[removed\]|#(?:name\?|value!|ref!))\s*\z",
        "leave unknown texts empty",
        share=0.005,
        short=True,
    ),
    OddText(
        Kind.SUMMARIES,
        "texts are a summary and no review",
        r"(?i)\A\s*(?:(?:grand |sub)?total\b[\s:=]*[\d.,\s]*|"
        r"\(?\d[\d,]* (?:rows?|records?)(?: in set)?[)\s]*(?:\([\d.]+ sec\)\s*)?)\z",
        "take such rows out of the file",
        share=0,
        short=True,
    ),
    OddText(
        Kind.HEADERS,
        "texts are the name of a column",
        r"(?i)\A\s*(?:text|review[ _]?(?:text|body|content)|reviews?)\s*\z",
        "take the header out of the records",
        share=0,
        short=True,
    ),
)
"""Kinds of odd texts, each looked for in every text."""

LIMITS = frozenset(
    (
        *(100, 120, 127, 128, 140, 150, 160, 200, 250, 254, 255, 256, 280, 300, 400, 500, 511, 512),
        *(600, 750, 800, 1000, 1023, 1024, 1500, 2000, 2047, 2048, 2500, 3000, 4000, 4095, 4096),
        *(5000, 8000, 8191, 8192, 10_000, 16_383, 16_384, 20_000, 30_000, 32_000, 32_759, 32_760),
        *(32_765, 32_766, 32_767, 32_768, 50_000, 65_534, 65_535, 65_536),
    )
)
"""Lengths at which databases, spreadsheets and programs cut: of MySQL and Oracle, a cell of Excel, round numbers."""
UNENDED = r"[\pL\pN,;\s-]\z"
"""End of a text that was cut: hardly one ends with a full stop."""


@dataclass
class LongestTexts:
    """The longest texts of a file, in one unit.

    Attributes:
        length: Their length.
        count: How many have it.
        unended: How many of them end within a sentence.
    """

    length: int = 0
    count: int = 0
    unended: int = 0

    def add(self, texts: pl.Series, lengths: pl.Series) -> None:
        """Take further texts with their lengths."""
        if not len(texts):
            return

        length = int(lengths.max())  # type: ignore[arg-type]  # of integers
        if length < self.length:
            return
        if length > self.length:
            self.length = length
            self.count = 0
            self.unended = 0

        if length in LIMITS:
            longest = texts.filter(lengths == length)
            self.count += len(longest)
            self.unended += int(longest.str.contains(UNENDED).sum())

    @property
    def are_cut(self) -> bool:
        """Whether a limit of length has cut the longest texts: it is a known one, and many of them end within a sentence."""
        if self.length >= 30_000:
            fewest = 1
        elif self.length >= 4_000:
            fewest = 2
        else:
            fewest = 5
        return self.count >= fewest and 2 * self.unended > self.count


@dataclass
class OddTexts:
    """The odd texts of a file.

    Attributes:
        counts: Number of records by kind.
        samples: A part of the first of them, by kind.
        longest: The longest texts by unit, characters and bytes.
    """

    counts: dict[Kind, int] = field(default_factory=dict)
    samples: dict[Kind, str] = field(default_factory=dict)
    longest: dict[str, LongestTexts] = field(
        default_factory=lambda: {"characters": LongestTexts(), "bytes": LongestTexts()}
    )

    def add(self, texts: pl.Series) -> None:
        """Take further texts, as their file has them."""
        characters = texts.str.len_chars()
        size = texts.str.len_bytes()
        self.longest["characters"].add(texts, characters)
        self.longest["bytes"].add(texts, size)
        short = texts.filter(size <= SHORT)
        beyond_ascii = texts.filter(characters != size)
        for odd in ODD_TEXTS:
            some = texts
            if odd.short:
                some = short
            elif odd.confirm:
                some = beyond_ascii

            found = some.filter(some.str.contains(odd.pattern))
            if odd.confirm:
                are_odd = [odd.confirm(text) for text in found.to_list()]
                found = found.filter(pl.Series(are_odd, dtype=pl.Boolean))
            if len(found):
                self.counts[odd.kind] = self.counts.get(odd.kind, 0) + len(found)
                self.samples.setdefault(odd.kind, _sample(found, odd.pattern))

    def entries(self, file: str, records: int) -> Iterator[Entry]:
        """Yield the entries of a file with so many usable *records*."""
        for odd in ODD_TEXTS:
            count = self.counts.get(odd.kind, 0)
            if count and count >= odd.share * records:
                detail = f"{odd.words}, such as {self.samples[odd.kind]!r}"
                yield Entry(
                    "read",
                    Outcome.NOTED,
                    odd.kind,
                    count,
                    file,
                    detail,
                    odd.remedy,
                    odd=odd.odd,
                )

        for unit, longest in self.longest.items():
            if longest.are_cut:
                detail = (
                    f"texts were probably cut: the longest have exactly {longest.length:,} {unit}"
                )
                remedy = "export them from where they are whole, with a wider column"
                kind = Kind.CUT_TEXTS
                count = longest.count
                yield Entry(
                    "read",
                    Outcome.NOTED,
                    kind,
                    count,
                    file,
                    detail,
                    remedy,
                    odd=True,
                )
                return


def _sample(texts: pl.Series, pattern: str) -> str:
    """Return the part of the first text around what the pattern matches."""
    around = texts.head(1).str.extract(rf"((?s:.{{0,15}})(?:{pattern})(?s:.{{0,25}}))")
    return str(around[0])[:MOST_SHOWN]
