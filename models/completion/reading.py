"""Batch next-token distributions for search, re-using the state of the longest prefix read before (prefix cache)."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import torch

from ..base import LanguageModel, read_on
from ..bundles.bundle import Bundle

Ids = tuple[int, ...]
Read = Callable[[list[int], LanguageModel], tuple[torch.Tensor, Any]]
"""Function that returns a model's distribution (1, V) after a prefix, special tokens included, and the state there."""
Result = TypeVar("Result")
Search = Generator[list[Ids], None, Result]
"""A search that yields the token sequences it will read next, so that the model reads those of several in one batch."""
Steps = Generator["Wanted | None", None, Result]
"""Work that yields between its steps, so that a server can do others' work there, or read what several want."""
MOST_READ = 32
"""Token sequences that the model reads between two yields: an exact search may want to read a hundred at a time."""
SEVERAL = 2
"""How many times as much is kept while several searches are in progress: each still needs what it has read."""
NEAR_TOKENS = 16
"""A prefix is stepped from a known one that is shorter by fewer tokens than this; otherwise it is read whole."""


class PrefixReading:
    """The distribution of the token after a prefix, and the state of the model there.

    Args:
        p_V: Probabilities (float64).
        state: State of the batch in which it was read.
        row: Its row there.
        bytes: Its share of the size of the batch.
    """

    def __init__(
        self,
        p_V: np.ndarray,
        state: Any,
        row: int,
        bytes: int,
    ) -> None:
        self.p_V = p_V
        self.state = state
        self.row = row
        self.bytes = bytes
        self._sums: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def sums(self, ids_E: np.ndarray) -> np.ndarray:
        """Return the cumulative probabilities of some entries (E + 1,), from 0 on; computed once for each array."""
        # Kept with the array: no other one gets its id as long as this one lives.
        if id(ids_E) not in self._sums:
            self._sums[id(ids_E)] = ids_E, np.concatenate([[0.0], np.cumsum(self.p_V[ids_E])])
        return self._sums[id(ids_E)][1]


class PrefixReader:
    """Reader that keeps all that it has read, until `forget_oldest`.

    Args:
        model: Any model.
        read: Reads one prefix; a server passes its cache of states. Default: from the start state.

    Attributes:
        model: The model.
        rows: Number of prefixes read so far.
    """

    def __init__(self, model: LanguageModel, read: Read | None = None) -> None:
        self.model = model
        self._read = read or from_start
        self._recent: dict[Ids, PrefixReading] = {}
        self._earlier: dict[Ids, PrefixReading] = {}
        self._known = ChainMap(self._recent, self._earlier)
        self.rows = 0

    @property
    def bytes(self) -> int:
        """Size of all that is kept."""
        return sum(reading.bytes for reading in {**self._earlier, **self._recent}.values())

    def __call__(self, prefixes: Sequence[Ids]) -> list[PrefixReading]:
        """Return the readings of some prefixes; one step is made for all whose beginnings are known."""
        for ids in self.unread_contexts(prefixes):
            self.keep(ids, *self._read(list(ids), self.model))

        new = [ids for ids in dict.fromkeys(prefixes) if ids not in self._known]
        self._step_towards(new)
        if new := [ids for ids in new if ids not in self._known]:
            self._step(new)

        readings = [self._known[ids] for ids in prefixes]
        self._recent.update(zip(prefixes, readings, strict=True))
        return readings

    def keep(
        self,
        ids: Ids,
        logp_1V: torch.Tensor,
        state: Any,
    ) -> None:
        """Keep the distribution after a prefix, and the state of the model there, which the caller has read."""
        if ids not in self._known:
            self._keep([ids], logp_1V, state)

    def unread_contexts(self, prefixes: Sequence[Ids]) -> list[Ids]:
        """Return the prefixes that are read whole: neither known, nor near a known one or another one of them."""
        contexts: list[Ids] = []
        for ids in sorted(dict.fromkeys(prefixes), key=len):
            known = ids in self._known or self._distance(ids) > 0
            if not known and not any(_is_near(ids, context) for context in contexts):
                contexts.append(ids)
        return contexts

    def _step_towards(self, prefixes: Sequence[Ids]) -> None:
        """Read the tokens between prefixes and their longest known beginnings that are near; see `NEAR_TOKENS`."""
        levels: dict[int, dict[Ids, None]] = {}
        for ids in prefixes:
            short = self._distance(ids)
            for level in range(1, short or 0):
                levels.setdefault(level, {})[ids[: level - short]] = None

        for level in sorted(levels):
            self._step(list(levels[level]))

    def _distance(self, ids: Ids) -> int:
        """Return by how many tokens the longest known beginning is shorter; 0: none is near, or all is known."""
        if ids in self._known:
            return 0
        return next((short for short in range(1, NEAR_TOKENS) if ids[:-short] in self._known), 0)

    def knows(self, prefixes: Sequence[Ids]) -> bool:
        """Return whether all of some prefixes are kept."""
        return all(ids in self._known for ids in prefixes)

    def forget_oldest(self, most: float) -> None:
        """Keep about *most* bytes: when half of that was used, forget all that was used before it.

        A search that goes on and needs some of it reads it again.
        """
        while (
            self.bytes > 0 and sum(reading.bytes for reading in self._recent.values()) >= most / 2
        ):
            self._earlier = self._recent
            self._recent = {}
            self._known = ChainMap(self._recent, self._earlier)

    def _step(self, longer: Sequence[Ids]) -> None:
        """Read the last token of each prefix; the states of a batch that was read before are taken out together."""
        batches: dict[int, list[Ids]] = {}
        for ids in longer:
            batches.setdefault(id(self._known[ids[:-1]].state), []).append(ids)

        states = []
        ordered: list[Ids] = []
        for batch in batches.values():
            readings = [self._known[ids[:-1]] for ids in batch]
            states.append(readings[0].state.take([reading.row for reading in readings]))
            ordered += batch

        last = np.array([ids[-1] for ids in ordered], np.int64)
        self._keep(ordered, *self.model.step(last, type(states[0]).join(states)))

    def _keep(
        self,
        prefixes: Sequence[Ids],
        logp_BV: torch.Tensor,
        state: Any,
    ) -> None:
        p_BV = torch.softmax(logp_BV.double(), 1).cpu().numpy()
        self.rows += len(prefixes)
        # Probabilities and their sums.
        size = 2 * p_BV.nbytes + size_of(state) + 8 * sum(map(len, prefixes))
        for row, ids in enumerate(prefixes):
            self._recent[ids] = PrefixReading(p_BV[row], state, row, size // len(prefixes))


class Wanted(NamedTuple):
    """Token sequences that a search reads next: who runs several searches may read those of all in one batch.

    Args:
        reader: Reads them.
        prefixes: The token sequences.
    """

    reader: PrefixReader
    prefixes: list[Ids]


class Readers:
    """The readers of one bundle: one for texts with a rating, and one for those of any.

    Who types the next letter asks for much of what was read for the last one, so a caller of several searches keeps
    this object between them.

    Args:
        bundle: Model and vocabulary.
        read: As for `PrefixReader`.
        megabytes: About the largest size of all that is kept between two searches.

    Attributes:
        searches: Number of searches in progress, which the caller sets.
    """

    def __init__(
        self,
        bundle: Bundle,
        read: Read | None = None,
        megabytes: float = 64.0,
    ) -> None:
        self._bundle = bundle
        self._read = read
        self._most = 1e6 * megabytes
        self._readers: dict[int, PrefixReader] = {}
        self.searches = 1

    @property
    def bytes(self) -> int:
        """Size of all that is kept."""
        return sum(reader.bytes for reader in self._readers.values())

    def of(self, stars: int | None) -> tuple[PrefixReader, Ids]:
        """Return the reader for a search, and the tokens before a text's own.

        Raises:
            ModelError: kind "input": *stars* is not None and not a whole number from 0 to 5.
        """
        model, prefix = self._bundle.reader(stars)
        reader = self._readers.setdefault(id(model), PrefixReader(model, self._read))
        most = self._most * (SEVERAL if self.searches > 1 else 1)
        for each in self._readers.values():
            each.forget_oldest(most / len(self._readers))
        return reader, tuple(prefix)


def _is_near(ids: Ids, beginning: Ids) -> bool:
    return len(ids) - len(beginning) < NEAR_TOKENS and ids[: len(beginning)] == beginning


def from_start(ids: list[int], model: LanguageModel) -> tuple[torch.Tensor, Any]:
    """Read a prefix from the start state."""
    ids_1T = np.array([ids], np.int64)
    return model.step(ids_1T[:, -1], read_on(model, ids_1T[:, :-1], model.start(1)))


def read_beside(ids: Ids) -> Search[None]:
    """Let the model read a token sequence in the batch of another search."""
    yield [ids]


def result_of(steps: Steps[Result]) -> Result:
    """Take all steps, and return the result."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return cast(Result, done.value)


def run_together(reader: PrefixReader, *searches: Search[Any]) -> Steps[list[Any]]:
    """Run searches and return their results; what several of them want to read next, the model reads in one batch.

    Yields what it reads next before each batch that is not known yet; a batch has at most `MOST_READ` token sequences.
    """
    results: dict[int, Any] = {}
    while len(results) < len(searches):
        prefixes: list[Ids] = []
        for number, search in enumerate(searches):
            if number not in results:
                try:
                    prefixes += next(search)
                except StopIteration as end:
                    results[number] = end.value
        for begin in range(0, len(prefixes), MOST_READ):
            if not reader.knows(some := prefixes[begin : begin + MOST_READ]):
                yield Wanted(reader, some)
                reader(some)

    return [results[number] for number in range(len(searches))]


def size_of(value: Any) -> int:
    """Return the bytes of all arrays in a state, of whatever model."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return int(value.nbytes)
    if is_dataclass(value):
        return sum(size_of(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, Mapping):
        return sum(map(size_of, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(size_of, value))
    return 0
