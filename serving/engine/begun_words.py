"""Between decoding steps, find how prompts may go on inside their last word; once for equal prompts."""

from __future__ import annotations

from collections import OrderedDict

from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.completion.reading import PrefixReader, Steps, run_together
from reviewlm.models.completion.suggestions import Way, ways_on
from reviewlm.serving.engine.contexts import Contexts
from reviewlm.serving.engine.live_text import Begin, Fail, LiveText, drop_ended

WordKey = tuple[tuple[int, ...], str]
TOGETHER = 8
"""Prompts that are searched in the same batches."""
KEPT_PROMPTS = 64
"""Prompts whose continuations are kept."""
KEPT_TOKENS = 1_024
"""Largest number of tokens of a prompt whose continuations are kept."""


class BegunWords:
    """The queue of texts whose prompts end within a word, until the possible continuations of that word are known.

    Args:
        bundle: Model and vocabulary.
        contexts: Has the states of what comes before the words.
        megabytes: Largest size of what the searches have read.
        begin: Starts the generation of a text.
        fail: Ends texts with an error.
    """

    def __init__(
        self,
        bundle: Bundle,
        contexts: Contexts,
        megabytes: float,
        begin: Begin,
        fail: Fail,
    ) -> None:
        self._vocabulary = bundle.vocabulary
        self._most_bytes = 1e6 * megabytes
        self._begin = begin
        self._fail = fail
        self._reader = PrefixReader(
            bundle.model, lambda ids, model: contexts.whole(contexts.reading(ids, model))
        )
        self._waiting: dict[WordKey, list[LiveText]] = {}
        self._known: OrderedDict[WordKey, list[Way]] = OrderedDict()
        self._steps: Steps[list[list[Way]]] | None = None
        self._searched: list[WordKey] = []
        self._together = TOGETHER  # 1 in the search after a failure

    def add(self, text: LiveText) -> None:
        """Find out how a text may go on; what comes before its last word has been read."""
        self._waiting.setdefault((tuple(text.prefix), text.generation.prompt), []).append(text)

    def advance(self, width: int) -> None:
        """Search on until about *width* token sequences were read; start the texts whose continuations are known then."""
        drop_ended(self._waiting)
        most_rows = self._reader.rows + width
        while self._waiting and self._reader.rows < most_rows:
            try:
                self._steps = self._steps or self._search()
                next(self._steps)
            except StopIteration as done:
                self._steps = None
                for key, ways in zip(self._searched, done.value, strict=True):
                    self._begin_in(key, ways)
            except Exception as error:
                self._steps = None
                self._together = 1
                if len(self._searched) == 1:  # of several, each is searched alone before it fails
                    self._fail(self._waiting.pop(self._searched[0], []), error)

        if not self._waiting:
            self._steps = None

        self._reader.forget_oldest(self._most_bytes if self._waiting else 0)

    def _search(self) -> Steps[list[list[Way]]]:
        """Start the texts whose continuations are kept, and return the search for those of the next prompts."""
        for key in [key for key in self._waiting if key in self._known]:
            self._known.move_to_end(key)
            self._begin_in(key, self._known[key])

        self._searched = list(self._waiting)[: self._together]
        self._together = TOGETHER
        searches = []
        for key in self._searched:
            text = self._waiting[key][0]
            searches.append(
                ways_on(self._vocabulary, text.start, tuple(text.prefix[:2]), self._reader)
            )

        return run_together(self._reader, *searches)

    def _begin_in(self, key: WordKey, ways: list[Way]) -> None:
        """Draw a continuation for each text of a prompt and start its generation."""
        if len(key[0]) <= KEPT_TOKENS:
            self._known[key] = ways
            if len(self._known) > KEPT_PROMPTS:
                self._known.popitem(last=False)

        for text in self._waiting.pop(key, []):
            try:
                text.begin_in(ways)
            except Exception as error:
                self._fail([text], error)
            else:
                self._begin(text)
