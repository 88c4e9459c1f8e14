"""Find the ways to go on inside the last words of prompts, between decoding steps; of equal prompts only once."""

from __future__ import annotations

from collections import OrderedDict

from models.bundles.bundle import Bundle
from models.completion.reading import PrefixReader, Steps, run_together
from models.completion.suggestions import Way, ways_on
from serving.engine.contexts import Contexts
from serving.engine.live_text import Beginning, LiveText, WaitingTexts

Key = tuple[tuple[int, ...], str]
TOGETHER = 8
"""Prompts that are searched in the same batches."""
KEPT, KEPT_TOKENS = 64, 1_024
"""Prompts whose ways are kept, and the largest number of tokens of one of them."""


class BegunWords(WaitingTexts[Key]):
    """The texts that wait until it is known how their prompts may go on.

    Args:
        bundle: Model and vocabulary.
        contexts: Has the states of what comes before the words.
        megabytes: Largest size of what the searches have read.
        beginning: What happens to the texts then.
    """

    def __init__(self, bundle: Bundle, contexts: Contexts, megabytes: float, beginning: Beginning) -> None:
        super().__init__(beginning)
        self._vocabulary, self._most = bundle.vocabulary, 1e6 * megabytes
        self._reader = PrefixReader(bundle.model, lambda ids, model: contexts.whole(contexts.reading(ids, model)))
        self._known: OrderedDict[Key, list[Way]] = OrderedDict()
        self._steps: Steps[list[list[Way]]] | None = None
        self._searched: list[Key] = []

    def add(self, text: LiveText) -> None:
        """Find out how a text may go on; what comes before its last word has been read."""
        self._waiting.setdefault((tuple(text.prefix), text.generation.prompt), []).append(text)

    def advance(self, width: int) -> None:
        """Search on until about *width* token sequences were read, then begin with the texts whose ways are known."""
        most = self._reader.rows + width
        while self._waiting and self._reader.rows < most:
            try:
                self._steps = self._steps or self._search()
                next(self._steps)
            except StopIteration as done:
                self._steps = None
                for key, ways in zip(self._searched, done.value, strict=True):
                    self._begin(key, ways)
            except Exception as error:
                self._steps = None
                self._beginning.fail([text for key in self._searched for text in self._waiting.pop(key, [])], error)
        if not self._waiting:
            self._steps = None
        self._reader.forget_oldest(self._most if self._waiting else 0)

    def _search(self) -> Steps[list[list[Way]]]:
        """Begin with the texts whose ways are kept, and return the search for those of the next ones."""
        for key in [key for key in self._waiting if key in self._known]:
            self._known.move_to_end(key)
            self._begin(key, self._known[key])
        self._searched = list(self._waiting)[:TOGETHER]
        searches = []
        for key in self._searched:
            text = self._waiting[key][0]
            searches.append(ways_on(self._vocabulary, text.start, tuple(text.prefix[:2]), self._reader))
        return run_together(self._reader, *searches)

    def _begin(self, key: Key, ways: list[Way]) -> None:
        """Draw the way of each text of a prompt and begin with it."""
        if len(key[0]) <= KEPT_TOKENS:
            self._known[key] = ways
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        for text in self._waiting.pop(key, []):
            try:
                text.begin_in(ways)
            except Exception as error:
                self._beginning.fail([text], error)
            else:
                self._beginning.begin(text)
