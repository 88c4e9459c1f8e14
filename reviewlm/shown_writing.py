"""Edit a review at the terminal with live suggestions: Tab takes the likeliest word."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from core.errors import ConfigError
from reviewlm.layout import width

if TYPE_CHECKING:
    from collections.abc import Callable

    from prompt_toolkit.buffer import Buffer
    from prompt_toolkit.formatted_text import StyleAndTextTuples
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    from models.bundles.bundle import Bundle
    from models.completion.reading import Readers

HELP = "Tab: first word. Esc, then 2: second word … Enter: new line. Ctrl-D: end. Ctrl-C: give up."
LEAST = 5e-3
"""Probability below which a word is not shown: it would read 0 %."""
LONGEST = 24
"""Characters of a word that are shown."""


@dataclass
class WrittenReview:
    """A review, and the keys that it took.

    Args:
        text: The review.
        keys: Keys pressed: characters, accepted words, deletions.
    """

    text: str = ""
    keys: int = 0

    @property
    def savings(self) -> float:
        """1 − keys / characters; negative if more was deleted than saved."""
        return 1 - self.keys / len(self.text) if self.text else 0.0

    def summary(self) -> str:
        """Return the keys and the share of keys saved in words."""
        return f"{len(self.text):,} characters with {self.keys:,} keys: {self.savings:.0%} of the keys saved"


@dataclass(frozen=True)
class Offer:
    """A word that may be taken, with the number of characters at the end of the text that it replaces."""

    word: str
    probability: float
    text: str
    replaces: int


def offers(bundle: Bundle, text: str, stars: int | None, k: int, readers: Readers) -> tuple[Offer, ...]:
    """Return the k likeliest words to take: completions of the last word, and next words if it may be finished."""
    from models.completion.spellings import QUICK
    from models.completion.suggestions import suggest

    found = suggest(bundle, text, k + 1, stars, both=True, readers=readers, cutoffs=QUICK)
    readings = [found, found.otherwise] if found.otherwise else [found]
    every = []
    for each in readings:
        share = 1.0 if each.typed or not found.otherwise else found.finished
        every += [Offer(word, share * p, each.space + word, len(each.typed)) for word, p in each.words
                  if word != each.typed]  # fmt: skip
    return tuple(sorted((each for each in every if each.probability >= LEAST), key=lambda each: -each.probability)[:k])


def require_terminal() -> None:
    """Raise ConfigError unless standard input and standard error are a terminal."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfigError("`reviewlm write` needs a terminal", remedy="in a script, use `reviewlm suggest`")


def write_review(bundle: Bundle, model: str, stars: int | None, k: int) -> WrittenReview:
    """Let the user write a review and return it.

    Args:
        bundle: Model that suggests.
        stars: Rating of the review; None or 0: unknown.
        k: Words to show.

    Raises:
        KeyboardInterrupt: The user gave up.
    """
    from prompt_toolkit import PromptSession
    from prompt_toolkit.auto_suggest import AutoSuggest, Suggestion
    from prompt_toolkit.document import Document
    from prompt_toolkit.output import create_output

    from models.completion.reading import Readers

    written, readers = WrittenReview(), Readers(bundle)

    @lru_cache(maxsize=256)
    def offered(text: str) -> tuple[Offer, ...]:
        return offers(bundle, text, stars, k, readers)

    class Ghost(AutoSuggest):
        """Show the rest of the first word after the cursor."""

        def get_suggestion(self, buffer: Buffer, document: Document) -> Suggestion | None:
            """Return the rest of the likeliest word, if it begins as the text ends."""
            best = offered(document.text)[:1] if document.is_cursor_at_the_end else ()
            typed = document.text[len(document.text) - best[0].replaces :] if best else ""
            return Suggestion(best[0].text[len(typed) :]) if best and best[0].text.startswith(typed) else None

    def bar() -> StyleAndTextTuples:
        document = session.default_buffer.document
        shown = offered(document.text) if document.is_cursor_at_the_end else ()
        return _bar(shown, WrittenReview(document.text, written.keys), model)

    session: PromptSession[str] = PromptSession(
        multiline=True, auto_suggest=Ghost(), bottom_toolbar=bar, key_bindings=_keys(written, offered),
        erase_when_done=True, output=create_output(sys.stderr), enable_open_in_editor=False,
    )  # fmt: skip
    written.text = session.prompt("> ", prompt_continuation="  ")
    return written


def _bar(shown: tuple[Offer, ...], written: WrittenReview, model: str) -> StyleAndTextTuples:
    """Return the words, as many as fit, then model and keys, then the help; each with its style."""
    parts: StyleAndTextTuples = []
    used = 0
    for number, offer in enumerate(shown, 1):
        word = offer.word if len(offer.word) <= LONGEST else offer.word[: LONGEST - 1] + "…"
        text = f" {number} {word} {offer.probability:.0%} "
        used += len(text)
        if used >= width():
            break
        parts.append(("bold" if number == 1 else "", text))
    words: StyleAndTextTuples = parts or [("", " no word to suggest")]
    lines = [f"{model}. {written.summary()}" if written.text else model, *_wrapped(HELP, width() - 2)]
    return [*words, *(("", f"\n {line}"[: width()]) for line in lines)]


def _wrapped(text: str, columns: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, max(columns, 20))


def _keys(written: WrittenReview, offered: Callable[[str], tuple[Offer, ...]]) -> KeyBindings:
    """Return the keys beyond the usual ones; every key that changes the text is counted."""
    from prompt_toolkit.key_binding import KeyBindings
    from prompt_toolkit.keys import Keys

    keys = KeyBindings()

    def take(event: KeyPressEvent, number: int) -> None:
        buffer = event.current_buffer
        found = offered(buffer.text) if buffer.document.is_cursor_at_the_end else ()
        if number < len(found):
            written.keys += 1
            buffer.delete_before_cursor(found[number].replaces)
            buffer.insert_text(found[number].text)

    keys.add("tab")(lambda event: take(event, 0))
    for number in range(9):
        keys.add("escape", str(number + 1))(lambda event, number=number: take(event, number))
    keys.add("c-d")(lambda event: event.app.exit(result=event.current_buffer.text))

    @keys.add(Keys.BracketedPaste)
    @keys.add(Keys.Any)
    def _typed(event: KeyPressEvent) -> None:
        written.keys += len(event.data)
        event.current_buffer.insert_text(event.data)

    @keys.add("enter")
    def _new_line(event: KeyPressEvent) -> None:
        written.keys += 1
        event.current_buffer.newline(copy_margin=False)

    @keys.add("backspace")
    def _deleted(event: KeyPressEvent) -> None:
        written.keys += 1
        event.current_buffer.delete_before_cursor()

    return keys
