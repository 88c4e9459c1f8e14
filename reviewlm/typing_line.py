"""Let the user type a text on the terminal, with suggestions at each key.

The line shows the text, the rest of the best word in grey, and below it all suggested words. Tab or → takes the best
word, or that chosen with ↑ and ↓. Enter ends the text. The keys are read here, as bytes: a library for this would be
one more package to install, and `readline` shows completions only when it is asked.
"""

from __future__ import annotations

import codecs
import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from reviewlm import terminal

TAKE = "take"
NEXT = "next"
BEFORE = "before"
ERASE = "erase"
ERASE_WORD = "erase word"
CLEAR = "clear"
END = "end"
KEYS = {
    "\t": TAKE,
    "\x1b[C": TAKE,
    "\x1b[B": NEXT,
    "\x1b[A": BEFORE,
    "\x7f": ERASE,
    "\b": ERASE,
    "\x17": ERASE_WORD,
    "\x15": CLEAR,
    "\n": END,
    "\r": END,
    "\x04": END,
}
"""What a key does; Ctrl-W erases a word, Ctrl-U all, Ctrl-D ends. Others are typed."""
AFTER_WORD = " .,;:!?)"
"""What follows a word without a space before it, or is the space itself."""
GREY = "\x1b[2m"
BRIGHT = "\x1b[7m"
NORMAL = "\x1b[0m"
HINT = "Tab takes a word, ↑ ↓ choose another, Enter ends"
READ = 4096


@dataclass
class TypedLine:
    """A text that is being typed, with the words suggested after it.

    Args:
        text: What was typed and taken.
        suggestions: Of the text, as `suggest` returns them.
        chosen: Number of the word that Tab takes.
        spaced: Whether the last key took a word, after which a space was added.
        answered: The text that the suggestions belong to; None before the first ones.
    """

    text: str = ""
    suggestions: Any = None
    chosen: int = 0
    spaced: bool = False
    answered: str | None = None

    def renew(self, suggest: Callable[[str], Any]) -> None:
        """Ask for the suggestions of the text, if it has changed since."""
        if self.text != self.answered:
            self.suggestions = suggest(self.text)
            self.answered = self.text
            self.chosen = 0

    @property
    def words(self) -> list[tuple[str, float]]:
        """The words that are shown."""
        return [row for row in self.suggestions.words if row[1] >= terminal.LEAST_SHOWN]

    @property
    def rest(self) -> str:
        """Characters that the chosen word adds to the text; "" without a chosen word."""
        if self.words:
            return self.take_word()[len(self.text) :]
        return ""

    def take_word(self) -> str:
        """Return the text with the chosen word at its end."""
        word, _ = self.words[self.chosen]
        begun = self.text.removesuffix(self.suggestions.typed)
        return begun + self.suggestions.space + word

    def press(self, key: str) -> bool:
        """Change the text by a key; return whether it ends the text.

        A space or a sign typed after a taken word stands in place of the space that was added.
        """
        does = KEYS.get(key)
        spaced = self.spaced
        self.spaced = does == TAKE and bool(self.words)
        if does == TAKE:
            if self.words:
                self.text = self.take_word() + " "
            else:
                self.text = self.text
        elif does in (NEXT, BEFORE):
            step = 1 if does == NEXT else -1
            self.chosen = (self.chosen + step) % max(len(self.words), 1)
        elif does == ERASE:
            self.text = self.text[:-1]
        elif does == ERASE_WORD:
            self.text = self.text.rstrip().rpartition(" ")[0]
        elif does == CLEAR:
            self.text = ""
        elif does is None and key.isprintable():
            if spaced and key in AFTER_WORD:
                before = self.text.removesuffix(" ")
            else:
                before = self.text

            self.text = before + key

        return does == END

    def draw(self, columns: int) -> str:
        """Return the characters that show the text and its words in place of the line drawn before; the cursor is after the text.

        Args:
            columns: Width of the terminal. Of a longer text only the end is shown.
        """
        mark = "› "
        room = columns - len(mark) - 1
        if len(self.text) <= room:
            end = self.text
        else:
            end = "…" + self.text[1 - room :]

        grey = self.rest[: room - len(end)]
        words = [f"{word} {share:.1%}" for word, share in self.words]
        below = self._below(words, columns)
        right = len(mark) + len(end)
        return f"\r\x1b[J{mark}{end}{GREY}{grey}{NORMAL}\n{below}{NORMAL}\x1b[1A\r\x1b[{right}C"

    def _below(self, words: list[str], columns: int) -> str:
        """Return the second line: as many words as fit, the chosen one bright; a hint if there is no text yet."""
        if not self.text:
            return GREY + HINT[: columns - 1]

        shown = []
        used = 0
        for number, word in enumerate(words):
            used += len(word) + 2
            if used > columns:
                break
            shown.append(f"{BRIGHT}{word}{NORMAL}" if number == self.chosen else word)

        return "  ".join(shown)


def on_terminal() -> bool:
    """Return whether a person can type on this process's terminal, and see it."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def type_text(suggest: Callable[[str], Any]) -> str:
    """Let the user type a text, and return it.

    Args:
        suggest: Returns the suggestions of a text, as `suggest` of `models` does.
    """
    line = TypedLine()
    with _keys() as (read, waiting):
        ended = False
        while not ended:
            line.renew(suggest)
            sys.stdout.write(line.draw(terminal.width()))
            sys.stdout.flush()
            ended = press_keys(line, read(), suggest)
            while not ended and waiting():  # typed faster than the model answers
                ended = press_keys(line, read(), suggest)

    sys.stdout.write("\r\x1b[J")
    return line.text


def press_keys(
    line: TypedLine,
    keys: Sequence[str],
    suggest: Callable[[str], Any],
) -> bool:
    """Change a line by several keys, typed or pasted; return whether one ends the text.

    A key that takes or chooses a word is about the words of the text as it is then, so the model is asked before it.
    """
    for key in keys:
        if KEYS.get(key) in (TAKE, NEXT, BEFORE):
            line.renew(suggest)
        if line.press(key):
            return True

    return False


@contextmanager
def _keys() -> Iterator[tuple[Callable[[], list[str]], Callable[[], bool]]]:
    """Yield functions that wait for keys and return them, and that tell whether more are there."""
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    decoder = codecs.getincrementaldecoder("utf-8")("ignore")

    def read() -> list[str]:
        content = os.read(descriptor, READ)
        if content:
            return keys_in(decoder.decode(content))
        return ["\x04"]

    tty.setcbreak(descriptor)
    try:
        yield read, lambda: bool(select.select([descriptor], [], [], 0)[0])
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def keys_in(text: str) -> list[str]:
    """Return the keys of what a terminal sends: letters, and sequences that begin with an escape."""
    keys = []
    while text:
        length = 3 if text.startswith("\x1b[") else 1
        keys.append(text[:length])
        text = text[length:]
    return keys
