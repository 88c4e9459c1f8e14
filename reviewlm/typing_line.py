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
from collections.abc import Callable, Iterator
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
    """

    text: str = ""
    suggestions: Any = None
    chosen: int = 0

    @property
    def words(self) -> list[tuple[str, float]]:
        """The words that are shown."""
        return [row for row in self.suggestions.words if row[1] >= terminal.LEAST_SHOWN]

    @property
    def rest(self) -> str:
        """What the chosen word adds to the text; "" if there is none."""
        return self.taken()[len(self.text) :] if self.words else ""

    def taken(self) -> str:
        """Return the text with the chosen word at its end."""
        word, _ = self.words[self.chosen]
        begun = self.text.removesuffix(self.suggestions.typed)
        return begun + self.suggestions.space + word

    def press(self, key: str) -> bool:
        """Change the text by a key; return whether it ends the text."""
        does = KEYS.get(key)
        if does == TAKE:
            self.text = self.taken() + " " if self.words else self.text
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
            self.text += key

        return does == END

    def drawn(self, columns: int) -> str:
        """Return what shows the text and its words in place of what was drawn before; the cursor is after the text.

        Args:
            columns: Width of the terminal. Of a longer text only the end is shown.
        """
        mark = "› "
        room = columns - len(mark) - 1
        end = self.text if len(self.text) <= room else "…" + self.text[1 - room :]
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
    line = TypedLine(suggestions=suggest(""))
    with _keys() as (read, waiting):
        while True:
            sys.stdout.write(line.drawn(terminal.width()))
            sys.stdout.flush()
            before = line.text
            ended = any(line.press(key) for key in read())
            while not ended and waiting():  # typed faster than the model answers
                ended = any(line.press(key) for key in read())
            if ended:
                break
            if line.text != before:
                line.suggestions = suggest(line.text)
                line.chosen = 0

    sys.stdout.write("\r\x1b[J")
    return line.text


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
        return keys_in(decoder.decode(content)) if content else ["\x04"]

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
