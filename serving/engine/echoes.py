"""Score prompts for `echo` (their log-probabilities), in chunks between decoding steps; equal prompts only once."""

from __future__ import annotations

import numpy as np
import torch

from models.base import LanguageModel
from models.tokens.special import UNK
from serving.engine.contexts import Turn, Turns
from serving.engine.live_text import Beginning, LiveText, WaitingTexts
from serving.engine.requests import TokenLogprob

Key = tuple[int | None, str, tuple[int, ...]]


class Echoes(WaitingTexts[Key]):
    """The texts whose prompts are scored; equal prompts are read once.

    Args:
        model: The model.
        turns: Where the readings get their turns.
        beginning: What happens to the texts then.
    """

    def __init__(self, model: LanguageModel, turns: Turns, beginning: Beginning) -> None:
        super().__init__(beginning)
        self._model, self._turns = model, turns

    def add(self, text: LiveText) -> None:
        """Score a text's prompt, then begin with the text."""
        key = (text.generation.logprobs, text.generation.prompt, tuple(text.whole))
        if key in self._waiting:
            self._waiting[key].append(text)
            return
        reading = EchoReading(self._model, text)

        def then() -> None:
            for one in self._waiting.pop(key):
                one.echo(tuple(reading.tokens))
                self._beginning.begin(one)

        def failed(error: Exception) -> None:
            self._beginning.fail(self._waiting.pop(key), error)

        waiting = self._waiting[key] = [text]
        self._turns.add(Turn(reading.advance, then, failed, lambda: self._waiting.get(key) is waiting))


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
        self._model, self._text, self._ids, self._state = model, text, text.whole, model.start(1)
        self._write, self._done = text.vocabulary.writer(), 0

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
        place, part = text.places[number], text.part(number)
        top = text.top(logp_V, token, part, self._write.shown)
        self.tokens.append(TokenLogprob(token, part, float(logp_V[token]), place, top))
        if token == UNK:  # which writes nothing, though the next word has a space before it
            self._write = text.vocabulary.writer(text.generation.prompt[: place + len(part)])
        else:
            self._write(token)
