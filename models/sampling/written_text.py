"""Turn tokens into text one by one, and end the text at a stop string."""

from __future__ import annotations

from collections.abc import Sequence

from ..completion.typed import TextStart, start_of
from ..tokens.vocabulary import Vocabulary


class WrittenText:
    """The text of one generation after its prompt.

    Args:
        vocabulary: Of the tokens.
        prompt: The text before; it decides about the first space and capital.
        stop: Strings that end the text.
        start: How the text begins: its first token may finish the prompt's last word. Default: the usual way.

    Attributes:
        stopped: Whether a stop string has ended the text.
        added: What the latest token adds to the text, whether it is certain or not.
    """

    def __init__(
        self, vocabulary: Vocabulary, prompt: str, stop: Sequence[str] = (), start: TextStart | None = None
    ) -> None:
        begun = start or start_of(vocabulary, prompt)
        self._unfinished = begun if begun.word else None
        writer = vocabulary.writer(begun.before if begun.word else prompt)
        for token in begun.path:
            writer.write(token)
        self._vocabulary, self._write, self._show = vocabulary, writer.write, writer.shown
        self._at_margin = not prompt or prompt[-1].isspace()
        self._stop, self._held = tuple(stop), ""
        self._longest = max(map(len, self._stop), default=0)
        self.stopped, self.added = False, ""

    def add(self, token: int) -> str:
        """Return the text that is certain now: what may become a stop string is held back."""
        text = self._write(token)
        if self._unfinished:
            text, self._unfinished = self._unfinished.rest_of(self._vocabulary, token, text), None
        if self._at_margin:
            text = text.lstrip()
            self._at_margin = not text
        self.added = text
        if not self._stop or self.stopped:
            return "" if self.stopped else text
        self._held += text
        places = [place for place in map(self._held.find, self._stop) if place >= 0]
        if places:
            sure, self._held, self.stopped = self._held[: min(places)], "", True
            return sure
        most = min(len(self._held), self._longest - 1)
        begun = next((n for n in range(most, 0, -1) if self._begins_stop(self._held[-n:])), 0)
        sure, self._held = self._held[: len(self._held) - begun], self._held[len(self._held) - begun :]
        return sure

    def shown(self, token: int) -> str:
        """Return what a token would add to the text."""
        text = self._show(token)
        if self._unfinished:
            return self._unfinished.rest_of(self._vocabulary, token, text)
        return text.lstrip() if self._at_margin else text

    def _begins_stop(self, end: str) -> bool:
        return any(string.startswith(end) for string in self._stop)

    def end(self) -> str:
        """Return what was held back, for the text ends here."""
        rest, self._held = self._held, ""
        return rest
