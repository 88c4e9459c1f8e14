"""Decide what the model computes next: read new prompts in chunks, and step all live texts together.

Only one thread uses this module's classes. Shapes: see `models/base.py`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from math import inf
from time import monotonic, perf_counter
from typing import Any

import numpy as np
import torch

from reviewlm.models.base import ModelError, gives_probabilities
from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.sampling.batch import Step, TextBatch
from reviewlm.serving.engine.begun_words import BegunWords
from reviewlm.serving.engine.contexts import (
    ContextReading,
    Contexts,
    PrefixCache,
    Read,
    join_states,
)
from reviewlm.serving.engine.echoes import Echoes
from reviewlm.serving.engine.live_text import LiveText, drop_ended
from reviewlm.serving.engine.requests import EngineLimits, Reason, StreamEnded, Wakes
from reviewlm.serving.engine.waiting_times import Mean

log = logging.getLogger(__name__)
IDLE_FACTOR = 8
"""How many times as many tokens of a prompt are read between two steps while no text is live."""


class Scheduler:
    """The texts in progress, and the model that they share.

    Args:
        bundle: Its model is used by this thread only.
        limits: How much is in progress at the same time.
        wakes: Wakes the readers.
        clock: Gives the time in seconds.

    Attributes:
        texts: The texts in progress, by their `id`.
        contexts: Reads contexts of jobs.
        reading: The prefixes that are read, and the texts that wait for them.
        counts: Figures that only grow, by their names in `EngineFigures`.
        finished: Ended texts by finish reason or reason.
        text_tokens: Mean number of tokens of the last texts; before the first one ends, as many as it may have.
    """

    def __init__(
        self,
        bundle: Bundle,
        limits: EngineLimits,
        wakes: Wakes,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.bundle = bundle
        self.limits = limits
        self.wakes = wakes
        self.clock = clock
        self.cache = PrefixCache(limits.cache_megabytes)
        writer = bundle.writer.model
        self.batch: TextBatch[LiveText] = TextBatch(
            self._time_steps(writer.step), normalised=gives_probabilities(writer)
        )
        self.texts: dict[int, LiveText] = {}
        self.reading: dict[tuple[int, ...], tuple[ContextReading, list[LiveText]]] = {}
        self.counts: Counter[str] = Counter()
        self.contexts = Contexts(bundle, self.cache, self.counts)
        self.echoes = Echoes(bundle.model, self.begin, self.fail)
        self.begun_words = BegunWords(
            bundle,
            self.contexts,
            limits.cache_megabytes / 4,
            self.begin,
            self.fail,
        )
        self.finished: Counter[str] = Counter()
        self.step_seconds = 0.0
        self.text_tokens = Mean(inf)

    @property
    def live(self) -> int:
        """Number of texts in progress."""
        return len(self.texts)

    @property
    def width(self) -> int:
        """Tokens of a prompt or context that are read between two steps."""
        return self.limits.prefill_tokens * (1 if self.batch.texts else IDLE_FACTOR)

    def admit(self, text: LiveText) -> None:
        """Begin with a text: texts with the same prefix read it once."""
        self.texts[id(text)] = text
        if text.echoes_scores:
            self.echoes.add(text)
        else:
            text.echo()
            self.begin(text)

    def begin(self, text: LiveText) -> None:
        """Begin to read a text's prompt, after its echo."""
        try:
            if not text.generation.max_tokens:
                text.hand_on("", "length")
                self._count_end(text, "length")
                return
            key = tuple(text.prefix)
            if key not in self.reading:
                self.reading[key] = self.contexts.reading(key), []
            self.reading[key][1].append(text)
        except Exception as error:
            self.fail([text], error)

    def cycle(self) -> None:
        """Drop texts whose readers left, read some prompt tokens, and generate one token of every live text."""
        self._drop_ended()
        self._read_some()
        self.begun_words.advance(self.width)
        self.echoes.advance(self.width)
        if self.batch.texts:
            self._step()

    def _read_some(self) -> None:
        """Read the next tokens of all prompts together, and begin with the texts whose prompts are read."""
        self._read_on([one for one, _ in self.reading.values()])
        waiting = list(self.reading.values())
        begun = []
        for one, texts in waiting:
            if one.result is not None:
                for text in texts:
                    begun.append((text, one.result))

        self.reading = {one.ids: (one, texts) for one, texts in waiting if one.result is None}
        try:
            self._join(begun)
        except Exception as error:
            self.fail([text for text, _ in begun], error)

    def _read_on(self, readings: Sequence[ContextReading]) -> None:
        """Read on in prompts together; where that fails, in each alone, so that only the texts of a bad one fail."""
        try:
            self.contexts.read(readings, self.width)
            return
        except Exception as error:
            if len(readings) == 1:
                self.fail(self.reading.pop(readings[0].ids)[1], error)
                return
            log.warning(
                "reading %d prompts together failed (%s); each is read alone", len(readings), error
            )

        for one in readings:  # after the block: until its end, the error keeps tensors in memory
            self._read_on([one])

    def _join(self, begun: Sequence[tuple[LiveText, Read]]) -> None:
        """Add texts to the batch; those inside a word wait until it is known how it may go on."""
        for text, _ in begun:
            if text.start.open:
                self.begun_words.add(text)
        if known := [(text, *read) for text, read in begun if not text.start.open]:
            texts, logps, states = zip(*known, strict=True)
            self.batch.join(texts, torch.cat(logps), join_states(states))

    def _step(self) -> None:
        """Draw a token for every text, hand it on, and let the model read it."""
        batch = self.batch
        texts = list(batch.texts)
        try:
            ids_B = batch.draw()
            going = []
            for row, (text, token) in enumerate(zip(texts, ids_B.tolist(), strict=True)):
                if not self._ends(
                    text, token, batch.logp(row) if text.generation.logprobs is not None else None
                ):
                    going.append(row)

            self.counts["tokens"] += len(texts)
            self.wakes.call()  # they write their answers while the model takes its step
            batch.keep(going)
            if going:
                batch.advance(ids_B[going])
        except Exception as error:
            batch.keep([])
            self.fail(texts, error)

    def _ends(
        self,
        text: LiveText,
        token: int,
        logp_V: torch.Tensor | None,
    ) -> bool:
        finish = text.take(token, logp_V)
        if finish is not None:
            self._count_end(text, finish)
        elif text.ticket.unread > self.limits.buffer_tokens:
            self.end(text, "slow reader", "the reader took its text too slowly")
            return True
        return finish is not None

    def _drop_ended(self) -> None:
        """Free the places of texts whose readers left or whose time is over."""
        now = self.clock()
        for text in list(self.texts.values()):
            if text.ticket.cancelled:
                self.end(text, "cancelled", "the reader left")
            elif now >= text.deadline:
                self.end(text, "deadline", "the text was not finished within its time")
        drop_ended(waiting := {key: texts for key, (_, texts) in self.reading.items()})
        self.reading = {key: self.reading[key] for key in waiting}
        self._keep_live()

    def _keep_live(self) -> None:
        self.batch.keep([row for row, text in enumerate(self.batch.texts) if not text.over])

    def fail(self, texts: Sequence[LiveText], error: Exception) -> None:
        """End texts whose model has failed."""
        if not isinstance(error, ModelError):
            log.error("generation failed", exc_info=error)
        for text in texts:
            self.end(text, "failed", str(error) or type(error).__name__)
        self._keep_live()  # some of them may have joined the batch before the failure

    def end(
        self,
        text: LiveText,
        reason: Reason,
        message: str,
    ) -> None:
        """Tell a text's reader that it ends without a finish reason."""
        text.ticket.end(StreamEnded(reason, message))
        self._count_end(text, reason)

    def end_all(self, reason: Reason, message: str) -> None:
        """End every text in progress."""
        for text in list(self.texts.values()):
            self.end(text, reason, message)
        self._drop_ended()

    def _count_end(self, text: LiveText, how: str) -> None:
        """Free a text's place, once: a text may end and then be in the way of a failure."""
        if self.texts.pop(id(text), None) is None:
            return
        text.over = True
        self.finished[how] += 1
        if how in ("stop", "length"):
            self.text_tokens.add(text.count)

    def _time_steps(self, step: Step) -> Step:
        def timed(ids_B: np.ndarray, state: Any) -> tuple[torch.Tensor, Any]:
            began = perf_counter()
            result = step(ids_B, state)
            self.step_seconds += perf_counter() - began
            self.counts["steps"] += 1
            return result

        return timed
