"""Between decoding steps, score prompts (`echo`) and find continuations of their last words; once for equal prompts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
import torch

from reviewlm.models.base import LanguageModel
from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.completion.reading import PrefixReader, Steps, run_together
from reviewlm.models.completion.suggestions import Way, ways_on
from reviewlm.models.tokens.special import UNK
from reviewlm.serving.engine.contexts import Contexts
from reviewlm.serving.engine.live_text import LiveText, drop_ended
from reviewlm.serving.engine.requests import TokenLogprob

Begin = Callable[[LiveText], None]
Fail = Callable[[Sequence[LiveText], Exception], None]
EchoKey = tuple[int | None, str, tuple[int, ...]]
WordKey = tuple[tuple[int, ...], str]
TOGETHER = 8
"""Prompts that are searched in the same batches."""
KEPT = 64
KEPT_TOKENS = 1_024
"""Prompts whose ways are kept, and the largest number of tokens of one of them."""


class Echoes:
    """The texts whose prompts are scored.

    Args:
        model: The model.
        begin: Begins with a text.
        fail: Ends texts with an error.
    """

    def __init__(self, model: LanguageModel, begin: Begin, fail: Fail) -> None:
        self._model = model
        self._begin = begin
        self._fail = fail
        self._waiting: dict[EchoKey, list[LiveText]] = {}
        self._readings: dict[EchoKey, EchoReading] = {}

    def add(self, text: LiveText) -> None:
        """Score a text's prompt, then begin with the text."""
        key = (text.generation.logprobs, text.generation.prompt, tuple(text.whole))
        self._waiting.setdefault(key, []).append(text)

    def advance(self, width: int) -> None:
        """Read the next *width* tokens of the prompt whose turn it is."""
        drop_ended(self._waiting)
        self._readings = {key: one for key, one in self._readings.items() if key in self._waiting}
        if not self._waiting:
            return

        key = next(iter(self._waiting))
        texts = self._waiting.pop(key)
        try:
            reading = self._readings.setdefault(key, EchoReading(self._model, texts[0]))
            more = reading.advance(width)
        except Exception as error:
            self._fail(texts, error)
            return

        if more:
            self._waiting[key] = texts  # after the others
            return

        for text in texts:
            text.echo(tuple(reading.tokens))
            self._begin(text)


class EchoReading:
    """The log-probabilities of one prompt's tokens.

    The model is stepped, since that can be cut anywhere for every kind of model.

    Args:
        model: The model.
        text: Begins with the prompt.

    Attributes:
        tokens: Those read so far.
    """

    def __init__(self, model: LanguageModel, text: LiveText) -> None:
        self.tokens: list[TokenLogprob] = []
        self._model = model
        self._text = text
        self._ids = text.whole
        self._state = model.start(1)
        self._write = text.vocabulary.writer()
        self._done = 0

    def advance(self, width: int) -> bool:
        """Read at most *width* tokens; return whether there are more."""
        for _ in range(min(width, len(self._ids) - 1 - self._done)):
            last = np.array(self._ids[self._done : self._done + 1], np.int64)
            logp_1V, self._state = self._model.step(last, self._state)
            self._done += 1
            if self._done >= 2:  # `<bos>` and the rating are given, not predicted
                self._tell(self._done - 2, self._ids[self._done], logp_1V[0])
        return self._done < len(self._ids) - 1

    def _tell(self, number: int, token: int, logp_V: torch.Tensor) -> None:
        text = self._text
        place = text.places[number]
        part = text.part(number)
        top = text.top(logp_V, token, part, self._write.shown)
        self.tokens.append(TokenLogprob(token, part, float(logp_V[token]), place, top))
        if token == UNK:  # which writes nothing, though the next word has a space before it
            self._write = text.vocabulary.writer(text.generation.prompt[: place + len(part)])
        else:
            self._write(token)


class BegunWords:
    """The texts that wait until it is known how their prompts may go on.

    Args:
        bundle: Model and vocabulary.
        contexts: Has the states of what comes before the words.
        megabytes: Largest size of what the searches have read.
        begin: Begins with a text.
        fail: Ends texts with an error.
    """

    def __init__(
        self, bundle: Bundle, contexts: Contexts, megabytes: float, begin: Begin, fail: Fail
    ) -> None:
        self._vocabulary = bundle.vocabulary
        self._most = 1e6 * megabytes
        self._begin = begin
        self._fail = fail
        self._reader = PrefixReader(
            bundle.model, lambda ids, model: contexts.whole(contexts.reading(ids, model))
        )
        self._waiting: dict[WordKey, list[LiveText]] = {}
        self._known: OrderedDict[WordKey, list[Way]] = OrderedDict()
        self._steps: Steps[list[list[Way]]] | None = None
        self._searched: list[WordKey] = []
        self._together = TOGETHER  # 1: after a failure

    def add(self, text: LiveText) -> None:
        """Find out how a text may go on; what comes before its last word has been read."""
        self._waiting.setdefault((tuple(text.prefix), text.generation.prompt), []).append(text)

    def advance(self, width: int) -> None:
        """Search on until about *width* token sequences were read, then begin with the texts whose ways are known."""
        drop_ended(self._waiting)
        most = self._reader.rows + width
        while self._waiting and self._reader.rows < most:
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

        self._reader.forget_oldest(self._most if self._waiting else 0)

    def _search(self) -> Steps[list[list[Way]]]:
        """Begin with the texts whose ways are kept, and return the search for those of the next ones."""
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
        """Draw the way of each text of a prompt and begin with it."""
        if len(key[0]) <= KEPT_TOKENS:
            self._known[key] = ways
            if len(self._known) > KEPT:
                self._known.popitem(last=False)

        for text in self._waiting.pop(key, []):
            try:
                text.begin_in(ways)
            except Exception as error:
                self._fail([text], error)
            else:
                self._begin(text)
