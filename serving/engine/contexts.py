"""Read long contexts in chunks between decoding steps (chunked prefill), so that no running text stalls.

Cache model states by prefix (LRU), so that a text that continues costs one step per new token.

The text itself is the key: whoever sends it again, to any process, finds the saved state, or has the text read again.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from reviewlm.models.base import LanguageModel, read_on
from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.completion.reading import size_of

OTHER_MODEL = -1
"""Stands before the tokens that another model than the bundle's has read: its states are saved apart."""
Read = tuple[torch.Tensor, Any]


SAVED_EVERY = 32
"""The states of a context are saved about every so many tokens, before its last one and after it."""
OVERHEAD = 400
"""Bytes of an entry besides its arrays, about."""


@dataclass(eq=False)
class ContextReading:
    """Tokens that are read: for the distribution after them, and the model's state there.

    Args:
        model: The model that reads.
        ids: The tokens.
        done: Number of tokens that are read.
        state: The state after them.
        result: What was read, if nothing is left to read.
    """

    model: LanguageModel
    ids: tuple[int, ...]
    done: int
    state: Any
    result: Read | None = None

    @property
    def left(self) -> int:
        """Number of tokens to read."""
        if self.result:
            return 0
        return len(self.ids) - self.done


class Contexts:
    """Begin to read contexts where a saved state ends, and save the states of those that were read.

    Args:
        bundle: Its model reads, or another one (see `reading`).
        cache: The saved states.
        counts: Figures that only grow.
    """

    def __init__(
        self,
        bundle: Bundle,
        cache: PrefixCache,
        counts: Counter[str],
    ) -> None:
        self._model = bundle.model
        self._cache = cache
        self._counts = counts

    def reading(
        self,
        ids: Sequence[int],
        model: LanguageModel | None = None,
        readings: Sequence[ContextReading] = (),
    ) -> ContextReading:
        """Return a reading that begins after the longest prefix that was read before.

        Args:
            ids: The tokens, at least one.
            model: The model that reads; None: the bundle's. At most one other model may be used.
            readings: Finished readings of the same rating, beside the saved states.
        """
        model = model or self._model
        prefix = tuple(ids)
        mark = self._mark(model)
        best = max(
            (
                one
                for one in readings
                if self._mark(one.model) == mark and prefix[: len(one.ids)] == one.ids
            ),
            key=lambda one: len(one.ids),
            default=None,
        )
        saved = self._cache.longest([*mark, *prefix])
        done = 0
        if saved is not None:
            done = len(saved.ids) - len(mark)

        if best is not None and best.result and len(best.ids) >= done:
            whole = best.result if best.ids == prefix else None
            return ContextReading(
                model,
                prefix,
                len(best.ids),
                best.result[1],
                whole,
            )

        self._counts["cached_tokens"] += done
        if saved is None:
            return ContextReading(model, prefix, 0, model.start(1))

        known_whole = saved.logp_1V is not None and done == len(prefix)
        read = (saved.logp_1V, saved.state) if known_whole else None
        return ContextReading(model, prefix, done, saved.state, read)  # type: ignore[arg-type]

    def read(self, readings: Sequence[ContextReading], width: int) -> None:
        """Read on in contexts of one model together: at most *width* tokens of each.

        The last token of each is read alone, for its distribution. Contexts that begin are read apart from those that
        go on: their states cannot always be joined (`AnyRatingState.join`).
        """
        for alike in _begun_apart([one for one in readings if one.left > 1]):
            self._read_some(alike, width)
        for alike in _begun_apart([one for one in readings if one.left == 1]):
            self._read_last(alike)

    def whole(self, reading: ContextReading) -> Read:
        """Read all that is left, and return the result."""
        while reading.result is None:
            self.read([reading], reading.left)
        return reading.result

    def _read_some(self, readings: Sequence[ContextReading], width: int) -> None:
        """Read at most *width* tokens of each context, all but its last one; a context that is read leaves the batch."""
        state = join_states([one.state for one in readings])
        going = list(readings)
        done = 0
        while going:
            most = min(width, *(one.left - 1 for one in going))
            parts = [one.ids[one.done + done : one.done + most] for one in going]
            ids_BT = np.array(parts, np.int64)
            state = read_on(going[0].model, ids_BT, state)
            self._counts["prefill_tokens"] += ids_BT.size
            done = most
            ends = [done == width or one.left - 1 == done for one in going]
            for row in np.flatnonzero(ends).tolist():
                self._note_read(going[row], done, state.take([row]))

            rows = [row for row, end in enumerate(ends) if not end]
            going = [going[row] for row in rows]
            if going:
                state = state.take(rows)

    def _note_read(
        self,
        reading: ContextReading,
        tokens: int,
        state: Any,
    ) -> None:
        """Note that more tokens of a context are read, and save the state after them if it is time to."""
        before = reading.done
        reading.done += tokens
        reading.state = state
        if reading.left == 1 or before // SAVED_EVERY < reading.done // SAVED_EVERY:
            self._cache.store([*self._mark(reading.model), *reading.ids[: reading.done]], state)

    def _read_last(self, readings: Sequence[ContextReading]) -> None:
        last_B = np.array([one.ids[-1] for one in readings], np.int64)
        logp_BV, state = readings[0].model.step(
            last_B, join_states([one.state for one in readings])
        )
        self._counts["prefill_tokens"] += len(readings)
        for row, one in enumerate(readings):
            one.result = logp_BV[row : row + 1].clone(), state.take([row])
            self._cache.store([*self._mark(one.model), *one.ids], one.result[1], one.result[0])

    def _mark(self, model: LanguageModel) -> tuple[int, ...]:
        return () if model is self._model else (OTHER_MODEL,)


def _begun_apart(readings: Sequence[ContextReading]) -> Iterator[list[ContextReading]]:
    """Yield the readings that go on, then those that begin, where there are any."""
    for begins in (False, True):
        if alike := [one for one in readings if (one.done == 0) == begins]:
            yield alike


def join_states(states: Sequence[Any]) -> Any:
    """Return one state of all streams."""
    if len(states) == 1:
        return states[0]
    return type(states[0]).join(states)


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

    def store(
        self,
        ids: Sequence[int],
        state: Any,
        logp_1V: torch.Tensor | None = None,
    ) -> None:
        """Save the state after *ids*, unless it is saved already; it must not be written to afterwards."""
        key = _keys(ids)[-1]
        before = self._entries.get(key)
        if (
            before is not None
            and before.ids == tuple(ids)
            and (logp_1V is None or before.logp_1V is not None)
        ):
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
    keys = []
    value = 0
    for length, token in enumerate(ids, 1):
        value = (value * 1_000_003 + token + 1) & 0xFFFFFFFFFFFFFFFF
        keys.append((length, value))
    return keys
