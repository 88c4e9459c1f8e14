"""Read long contexts in chunks between decoding steps (chunked prefill), so that no running text stalls.

Cache model states by prefix (LRU), so that a text that continues costs one step per new token.

The text itself is the key: whoever sends it again, to any process, finds the saved state, or has the text read again.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from models.base import LanguageModel, read_on
from models.bundles.bundle import Bundle
from models.completion.reading import size_of

OTHER_MODEL = -1
"""Stands before the tokens that another model than the bundle's has read: its states are saved apart."""
Read = tuple[torch.Tensor, Any]


class ContextReading:
    """The context of a job: the distribution after some tokens, and the model's state there.

    Args:
        model: The model that reads.
        ids: The tokens.
        done: Number of tokens that were read before.
        state: The state after them.
        result: What was read, if nothing is left to read.
    """

    def __init__(
        self, model: LanguageModel, ids: Sequence[int], done: int, state: Any, result: Read | None = None
    ) -> None:
        self.model, self.ids, self.done, self.state, self.result = model, tuple(ids), done, state, result

    @property
    def left(self) -> int:
        """Number of tokens to read."""
        return 0 if self.result else len(self.ids) - self.done

    def advance(self, width: int) -> bool:
        """Read at most *width* tokens and the last one; return whether there are more."""
        end = min(len(self.ids) - 1, self.done + width)
        if end > self.done:
            self.state = read_on(self.model, np.array([self.ids[self.done : end]], np.int64), self.state)
            self.done = end
        if end == len(self.ids) - 1:
            self.result = self.model.step(np.array(self.ids[-1:], np.int64), self.state)
        return self.result is None


class Contexts:
    """Begin to read contexts where a saved state ends, and save the states of those that were read.

    Args:
        bundle: Its model reads, or another one (see `reading`).
        cache: The saved states.
        counts: Figures that only grow.
    """

    def __init__(self, bundle: Bundle, cache: PrefixCache, counts: Counter[str]) -> None:
        self._model, self._cache, self._counts = bundle.model, cache, counts

    def reading(
        self, ids: Sequence[int], model: LanguageModel | None = None, readings: Sequence[ContextReading] = ()
    ) -> ContextReading:
        """Return a reading that begins after the longest prefix that was read before.

        Args:
            ids: The tokens, at least one.
            model: The model that reads; None: the bundle's. At most one other model may be used.
            readings: Finished readings of the same rating, beside the saved states.
        """
        model, prefix = model or self._model, tuple(ids)
        mark = self._mark(model)
        best = max(
            (one for one in readings if self._mark(one.model) == mark and prefix[: len(one.ids)] == one.ids),
            key=lambda one: len(one.ids), default=None,
        )  # fmt: skip
        saved = self._cache.longest([*mark, *prefix])
        done = 0 if saved is None else len(saved.ids) - len(mark)
        if best is not None and best.result and len(best.ids) >= done:
            whole = best.result if best.ids == prefix else None
            return ContextReading(model, prefix, len(best.ids), best.result[1], whole)
        self._counts["cached_tokens"] += done
        if saved is None:
            return ContextReading(model, prefix, 0, model.start(1))
        known_whole = saved.logp_1V is not None and done == len(prefix)
        read = (saved.logp_1V, saved.state) if known_whole else None
        return ContextReading(model, prefix, done, saved.state, read)  # type: ignore[arg-type]

    def read(self, reading: ContextReading, width: int) -> bool:
        """Advance a reading; return whether there is more to read. The states at its end are saved."""
        before = reading.done
        more = reading.advance(width)
        mark, near_end = self._mark(reading.model), reading.done == len(reading.ids) - 1
        if near_end and reading.done > before:
            self._cache.store([*mark, *reading.ids[:-1]], reading.state)
        if reading.result is not None:
            self._cache.store([*mark, *reading.ids], reading.result[1], reading.result[0])
        self._counts["prefill_tokens"] += reading.done - before + (not more)
        return more

    def whole(self, reading: ContextReading) -> Read:
        """Read all that is left, and return the result."""
        while reading.result is None:
            self.read(reading, reading.left)
        return reading.result

    def _mark(self, model: LanguageModel) -> tuple[int, ...]:
        return () if model is self._model else (OTHER_MODEL,)


OVERHEAD = 400
"""Bytes of an entry besides its arrays, about."""


@dataclass
class SavedState:
    """The state of one stream after some tokens.

    Args:
        ids: The tokens, those of `Vocabulary.prefix` included.
        state: The model's state after reading them.
        logp_1V: The distribution of the next token; None if it was not computed.
        bytes: Size of all this.
    """

    ids: tuple[int, ...]
    state: Any
    logp_1V: torch.Tensor | None
    bytes: int = 0


class PrefixCache:
    """States by prefix; beyond the limit, those that were not used for longest are dropped. Not thread-safe.

    Args:
        megabytes: Largest size in all.
    """

    def __init__(self, megabytes: float) -> None:
        self._most = int(megabytes * 1e6)
        self._entries: OrderedDict[tuple[int, int], SavedState] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def longest(self, ids: Sequence[int]) -> SavedState | None:
        """Return the saved state of the longest prefix of *ids*; of *ids* themselves only with its distribution."""
        keys = _keys(ids)
        for key in reversed(keys):
            entry = self._entries.get(key)
            if entry is None or entry.ids != tuple(ids[: key[0]]):
                continue
            if key[0] < len(ids) or entry.logp_1V is not None:
                self._entries.move_to_end(key)
                return entry
        return None

    def store(self, ids: Sequence[int], state: Any, logp_1V: torch.Tensor | None = None) -> None:
        """Save the state after *ids*, unless it is saved already; it must not be written to afterwards."""
        key = _keys(ids)[-1]
        before = self._entries.get(key)
        if before is not None and before.ids == tuple(ids) and (logp_1V is None or before.logp_1V is not None):
            self._entries.move_to_end(key)
            return
        entry = SavedState(tuple(ids), state, logp_1V)
        entry.bytes = OVERHEAD + 8 * len(ids) + size_of(state) + size_of(logp_1V)
        if entry.bytes > self._most:
            return
        if before is not None:
            self.bytes -= before.bytes
        self._entries[key] = entry
        self.bytes += entry.bytes
        self._entries.move_to_end(key)
        while self.bytes > self._most:
            self.bytes -= self._entries.popitem(last=False)[1].bytes


def _keys(ids: Sequence[int]) -> list[tuple[int, int]]:
    """Return a key for each prefix of one token or more: its length and a hash of it."""
    keys, value = [], 0
    for length, token in enumerate(ids, 1):
        value = (value * 1_000_003 + token + 1) & 0xFFFFFFFFFFFFFFFF
        keys.append((length, value))
    return keys
