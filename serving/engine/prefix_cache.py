"""Cache model states by prefix (LRU), so that a text that continues costs one step per new token.

The text itself is the key: whoever sends it again, to any process, finds the saved state, or has the text read again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import torch

from models.completion.state_size import size_of

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
        used: When it was stored or found last, in seconds.
    """

    ids: tuple[int, ...]
    state: Any
    logp_1V: torch.Tensor | None
    bytes: int = 0
    used: float = 0.0


class PrefixCache:
    """States by prefix; beyond the limits, those that were not used for longest are dropped. Not thread-safe.

    Args:
        megabytes: Largest size in all.
        seconds: A state that was not used for this long is dropped.
        clock: Gives the time in seconds.
    """

    def __init__(self, megabytes: float, seconds: float, clock: Callable[[], float] = monotonic) -> None:
        self._most, self._seconds, self._clock = int(megabytes * 1e6), seconds, clock
        self._entries: OrderedDict[tuple[int, int], SavedState] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def longest(self, ids: Sequence[int]) -> SavedState | None:
        """Return the saved state of the longest prefix of *ids*; of *ids* themselves only with its distribution."""
        self._expire()
        keys = _keys(ids)
        for key in reversed(keys):
            entry = self._entries.get(key)
            if entry is None or entry.ids != tuple(ids[: key[0]]):
                continue
            if key[0] < len(ids) or entry.logp_1V is not None:
                self._touch(key, entry)
                return entry
        return None

    def store(self, ids: Sequence[int], state: Any, logp_1V: torch.Tensor | None = None) -> None:
        """Save the state after *ids*, unless it is saved already; it must not be written to afterwards."""
        key = _keys(ids)[-1]
        before = self._entries.get(key)
        if before is not None and before.ids == tuple(ids) and (logp_1V is None or before.logp_1V is not None):
            self._touch(key, before)
            return
        entry = SavedState(tuple(ids), state, logp_1V)
        entry.bytes = OVERHEAD + 8 * len(ids) + size_of(state) + size_of(logp_1V)
        if entry.bytes > self._most:
            return
        if before is not None:
            self.bytes -= before.bytes
        self._entries[key] = entry
        self.bytes += entry.bytes
        self._touch(key, entry)
        while self.bytes > self._most:
            self._drop_oldest()

    def _touch(self, key: tuple[int, int], entry: SavedState) -> None:
        entry.used = self._clock()
        self._entries.move_to_end(key)

    def _expire(self) -> None:
        limit = self._clock() - self._seconds
        while self._entries and next(iter(self._entries.values())).used < limit:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self.bytes -= self._entries.popitem(last=False)[1].bytes


def _keys(ids: Sequence[int]) -> list[tuple[int, int]]:
    """Return a key for each prefix of one token or more: its length and a hash of it."""
    keys, value = [], 0
    for length, token in enumerate(ids, 1):
        value = (value * 1_000_003 + token + 1) & 0xFFFFFFFFFFFFFFFF
        keys.append((length, value))
    return keys
