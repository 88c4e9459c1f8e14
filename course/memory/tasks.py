"""Generate data for two tasks that need an addressed memory: association, and chains of implications.

Association (Graves, Wayne & Danihelka 2014, section 4.3, with a delay). Pairs of a key and a value come first, then
random distractors, then all keys in a new order; the network must answer each key with its value. All of it must be
kept over the delay, and what belongs together must be kept together.

Implication (after the chains of Weston et al. 2015, "Towards AI-complete question answering", tasks 2 and 3: two and
three supporting facts). Facts "a implies b" come in random order, then a name: what does it finally imply? The facts
make several chains of the same length; those that do not begin with the name are distractors. Within a story a name
has one place in one chain, so the answer follows from all facts of its chain and from nothing less.

Shapes: B examples, T steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from course.toy_tasks import FIRST, Examples, in_held_out_quarter
from models.base import ModelError
from models.neural.output import NOT_SCORED


@dataclass(frozen=True)
class Association:
    """Keep `pairs` keys with their values over `lag` steps of distractors.

    Args:
        pairs: Number of pairs.
        lag: Number of distractors between the last pair and the first question.
        keys: Number of different keys; those of an example differ.
        values: Number of different values, drawn independently; guessing is right 1/values of the time.
        distractors: Number of different distractors.
        seed: For the held-out examples.

    Raises:
        ModelError: kind "input": a number out of range.
    """

    pairs: int = 3
    lag: int = 40
    keys: int = 6
    values: int = 6
    distractors: int = 4
    seed: int = 1

    def __post_init__(self) -> None:
        allowed = {
            "pairs": (self.pairs >= 1, "at least 1"),
            "lag": (self.lag >= 0, "at least 0"),
            "keys": (self.keys >= self.pairs, f"at least pairs = {self.pairs}"),
            "values": (self.values >= 2, "at least 2"),
            "distractors": (self.distractors >= 1, "at least 1"),
        }
        _check(self, allowed)

    @property
    def entries(self) -> int:
        """Number of token ids in use: keys, values and distractors, above the special ids."""
        return FIRST + self.keys + self.values + self.distractors

    def train(self, draw: np.random.Generator, count: int) -> Examples:
        """Return examples of random pairs, distractors and orders of the questions."""
        key_BN = _distinct(draw, count, self.keys, self.pairs)
        value_BN = draw.integers(0, self.values, (count, self.pairs))
        noise_BL = draw.integers(0, self.distractors, (count, self.lag))
        order_BN = _distinct(draw, count, self.pairs, self.pairs)
        asked_BN = np.take_along_axis(key_BN, order_BN, 1)
        pairs_B2N = np.stack([key_BN, self.keys + value_BN], 2).reshape(count, -1)
        ids_BT = FIRST + np.concatenate([pairs_B2N, self.keys + self.values + noise_BL, asked_BN], 1)
        targets_BT = np.full(ids_BT.shape, NOT_SCORED)
        targets_BT[:, -self.pairs :] = FIRST + self.keys + np.take_along_axis(value_BN, order_BN, 1)
        return Examples(ids_BT, targets_BT)

    def held_out(self, count: int) -> Examples:
        """Return examples from a separate random stream for each count; their distractors make them new."""
        return self.train(np.random.default_rng([self.seed, 0x4E1D, count]), count)


@dataclass(frozen=True)
class Implication:
    """Follow a chain of `steps` facts among those of `chains` chains.

    A quarter of all chains, chosen by `seed`, is held out: training never asks about one.

    Args:
        steps: Facts between the name in the question and the answer.
        chains: Chains in a story. Who does not follow the facts can still see which names end a chain, since they imply
            nothing; a guess among those is right 1/chains of the time.
        names: Number of different names.
        seed: Chooses the held-out chains.

    Raises:
        ModelError: kind "input": a number out of range, or too few names.
    """

    steps: int = 2
    chains: int = 3
    names: int = 24
    seed: int = 1

    def __post_init__(self) -> None:
        needed = max(8, self.chains * (self.steps + 1))  # of 8 names at least 56 chains, so that some are held out
        allowed = {
            "steps": (1 <= self.steps <= 8, "between 1 and 8"),
            "chains": (self.chains >= 2, "at least 2"),
            "names": (needed <= self.names <= 99, f"between {needed}, one for each place of a chain, and 99"),
        }
        _check(self, allowed)

    @property
    def entries(self) -> int:
        """Number of token ids in use: the names, above the special ids."""
        return FIRST + self.names

    def train(self, draw: np.random.Generator, count: int) -> Examples:
        """Return stories whose question is about a chain that is not held out."""
        return self._stories(draw, count, held_out=False)

    def held_out(self, count: int) -> Examples:
        """Return stories whose question is about a held-out chain; a separate random stream for each count."""
        return self._stories(np.random.default_rng([self.seed, 0x4E1D, count]), count, held_out=True)

    def chain_numbers(self, path_BP: np.ndarray) -> np.ndarray:
        """Return a number for each chain of names, by which it is held out or not."""
        return path_BP @ self.names ** np.arange(path_BP.shape[1])

    def _stories(self, draw: np.random.Generator, count: int, held_out: bool) -> Examples:
        """Return *count* stories; the first chain is the one that is asked about."""
        length, found = self.steps + 1, np.empty((0, self.chains * (self.steps + 1)), np.int64)
        while len(found) < count:
            name_BN = _distinct(draw, 2 * count, self.names, self.chains * length)
            wanted_B = in_held_out_quarter(self.chain_numbers(name_BN[:, :length]), self.seed) == held_out
            found = np.concatenate([found, name_BN[wanted_B]])
        chain_BCP = found[:count].reshape(count, self.chains, length)
        fact_BF2 = np.stack([chain_BCP[..., :-1], chain_BCP[..., 1:]], -1).reshape(count, -1, 2)
        order_BF = _distinct(draw, count, fact_BF2.shape[1], fact_BF2.shape[1])
        fact_BF2 = np.take_along_axis(fact_BF2, order_BF[..., None], 1)
        ids_BT = FIRST + np.concatenate([fact_BF2.reshape(count, -1), chain_BCP[:, 0, :1]], 1)
        targets_BT = np.full(ids_BT.shape, NOT_SCORED)
        targets_BT[:, -1] = FIRST + chain_BCP[:, 0, -1]
        return Examples(ids_BT, targets_BT)


def _distinct(draw: np.random.Generator, count: int, among: int, drawn: int) -> np.ndarray:
    """Return *drawn* different numbers below *among* in random order (count, drawn)."""
    order: np.ndarray = draw.random((count, among)).argsort(1)[:, :drawn]
    return order


def _check(task: object, allowed: dict[str, tuple[bool, str]]) -> None:
    for name, (holds, words) in allowed.items():
        if not holds:
            raise ModelError(f"{name} is {getattr(task, name)}; it must be {words}", "input")
