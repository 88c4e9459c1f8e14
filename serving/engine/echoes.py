"""Between decoding steps, score the prompts of texts that `echo` them; once for equal prompts."""

from __future__ import annotations

import numpy as np
import torch

from reviewlm.models.base import LanguageModel
from reviewlm.models.tokens.special import UNK
from reviewlm.serving.engine.live_text import Begin, Fail, LiveText, drop_ended
from reviewlm.serving.engine.requests import TokenLogprob

EchoKey = tuple[int | None, str, tuple[int, ...]]


class Echoes:
    """The texts whose prompts are scored.

    Args:
        model: The model.
        begin: Begins with a text.
        fail: Ends texts with an error.
    """

    def __init__(
        self,
        model: LanguageModel,
        begin: Begin,
        fail: Fail,
    ) -> None:
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

    def _tell(
        self,
        number: int,
        token: int,
        logp_V: torch.Tensor,
    ) -> None:
        text = self._text
        place = text.places[number]
        part = text.part(number)
        top = text.top(logp_V, token, part, self._write.shown)
        self.tokens.append(
            TokenLogprob(
                token,
                part,
                float(logp_V[token]),
                place,
                top,
            )
        )
        if token == UNK:  # which writes nothing, though the next word has a space before it
            self._write = text.vocabulary.writer(text.generation.prompt[: place + len(part)])
        else:
            self._write(token)
