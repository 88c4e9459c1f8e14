"""Generate data for four tasks that need memory: addition, recall, association, chains of implications.

All are sequence tagging: at every step the network reads one symbol and may have to output one. Symbols are token ids,
so that any network of this package can be trained on the tasks (`toy.py`).

Addition by a serial adder, a finite automaton of two states. Two numbers of n bits arrive one bit of each at a
time, the least significant first. At each step the network must output the bit of their sum:

    sum_t = a_t ⊕ b_t ⊕ carry_t            carry_{t+1} = 1 if at least two of a_t, b_t, carry_t are 1

The answer at t depends on all bits before it, but only through one bit of memory, the carry. A carry from bit s still
affects bit t if a and b differ everywhere in between. The chance of that halves with every bit, so long carries are
rare in training, and a network that learned only short ones fails there.

Recall (Hochreiter & Schmidhuber 1997, section 5.2; the copy task of Arjovsky, Shah & Bengio 2016 for more than one
symbol). The symbols to remember come first, then random distractors; `lag` steps after each symbol the network must
output it. In between, the answer is only in the memory, and the only gradient that can teach the network to keep it
must come through `lag` steps.

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
from typing import NamedTuple, Protocol

import numpy as np

from reviewlm.models.base import ModelError
from reviewlm.models.neural.output import NOT_SCORED
from reviewlm.models.tokens.special import CONTEXT_IDS

FIRST = max(CONTEXT_IDS) + 1
"""The first token id that is free for symbols: those below are special in every vocabulary."""
BITS = range(3, 16)


class Examples(NamedTuple):
    """The ids read at each step, ids_BT, and the wanted outputs, targets_BT (−1: none), both int64."""

    ids_BT: np.ndarray
    targets_BT: np.ndarray


class Task(Protocol):
    """A source of endless training examples and of held-out ones."""

    @property
    def entries(self) -> int:
        """Number of token ids in use: the size of the vocabulary."""
        ...

    def train(self, draw: np.random.Generator, count: int) -> Examples:
        """Return training examples."""
        ...

    def held_out(self, count: int) -> Examples:
        """Return at most *count* examples that training never shows, always the same ones."""
        ...


@dataclass(frozen=True)
class Addition:
    """Sums of two numbers of `bits` bits; n bits are read in n + 1 steps, and the last step outputs the last carry.

    A quarter of all pairs (a, b), chosen by `seed`, is held out: training never sees them.

    Raises:
        ModelError: kind "input": bits are not 3 to 15 (fewer leave too few pairs to hold some out).
    """

    bits: int = 8
    seed: int = 1

    def __post_init__(self) -> None:
        _check(self, {"bits": (self.bits in BITS, f"between {BITS.start} and {BITS.stop - 1}")})

    @property
    def entries(self) -> int:
        """Number of token ids in use: four pairs of input bits and two output bits, above the special ids."""
        return FIRST + 6

    def train(self, draw: np.random.Generator, count: int) -> Examples:
        """Return sums of random pairs that are not held out."""
        pairs = draw.integers(0, 4**self.bits, 2 * count)
        pairs = pairs[~in_held_out_quarter(pairs, self.seed)]
        while len(pairs) < count:
            more = draw.integers(0, 4**self.bits, 2 * count)
            pairs = np.concatenate([pairs, more[~in_held_out_quarter(more, self.seed)]])
        return self.examples(pairs[:count])

    def held_out(self, count: int) -> Examples:
        """Return sums of held-out pairs, evenly spaced over all of them."""
        return self.examples(self.held_out_pairs(count))

    def held_out_pairs(self, count: int) -> np.ndarray:
        """Return held-out pairs as numbers a · 2^bits + b."""
        pairs = np.arange(min(4**self.bits, 64 * count)) * max(1, 4**self.bits // (64 * count))
        pairs = pairs[in_held_out_quarter(pairs, self.seed)]
        return pairs[np.linspace(0, len(pairs) - 1, min(count, len(pairs))).astype(np.int64)]

    def examples(self, pairs: np.ndarray) -> Examples:
        """Return the sums of pairs a · 2^bits + b."""
        step_T = np.arange(self.bits + 1)
        a_B1 = (pairs >> self.bits)[:, None]
        b_B1 = (pairs & (2**self.bits - 1))[:, None]
        read_BT = (a_B1 >> step_T & 1) + 2 * (b_B1 >> step_T & 1)
        return Examples(FIRST + read_BT, FIRST + 4 + ((a_B1 + b_B1) >> step_T & 1))

    def longest_carry(self, pairs: np.ndarray) -> np.ndarray:
        """Return for each pair the number of bits over which its longest carry lasts: 0 if there is no carry."""
        a = pairs >> self.bits
        b = pairs & (2**self.bits - 1)
        carry = np.zeros_like(a)
        run = np.zeros_like(a)
        longest = np.zeros_like(a)
        for bit in range(self.bits):
            x = a >> bit & 1
            y = b >> bit & 1
            passed_on = carry & (x ^ y)
            carry = (x & y) | passed_on
            run = np.where(passed_on == 1, run + 1, carry)  # a newly made carry starts a new run
            longest = np.maximum(longest, run)

        return longest


def in_held_out_quarter(numbers: np.ndarray, seed: int) -> np.ndarray:
    """Return whether the hash of a number falls into the held-out quarter (splitmix64; Steele, Lea & Flood 2014)."""
    with np.errstate(over="ignore"):
        z = numbers.astype(np.uint64) + np.uint64((seed * 0x9E3779B97F4A7C15) % 2**64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    held_out: np.ndarray = z % np.uint64(4) == 0
    return held_out


@dataclass(frozen=True)
class Recall:
    """Keep `length` symbols over `lag` steps of distractors.

    Args:
        lag: Steps from a symbol to its wanted output.
        length: Number of symbols to keep; 1 is recall, more is the copy task.
        symbols: Number of different symbols; guessing is right 1/symbols of the time.
        distractors: Number of different symbols that fill the lag, drawn at random; 1 leaves it blank.
        seed: For the held-out examples.

    Raises:
        ModelError: kind "input": a number out of range.
    """

    lag: int = 100
    length: int = 1
    symbols: int = 4
    distractors: int = 4
    seed: int = 1

    def __post_init__(self) -> None:
        _check(
            self,
            {
                "length": (1 <= self.length <= self.lag, f"between 1 and lag = {self.lag}"),
                "symbols": (self.symbols >= 2, "at least 2"),
                "distractors": (self.distractors >= 1, "at least 1"),
            },
        )

    @property
    def entries(self) -> int:
        """Number of token ids in use: symbols, distractors and the question mark, above the special ids."""
        return FIRST + self.symbols + self.distractors + 1

    def train(self, draw: np.random.Generator, count: int) -> Examples:
        """Return examples of random symbols and distractors."""
        kept_BN = draw.integers(0, self.symbols, (count, self.length))
        ids_BT = draw.integers(
            self.symbols, self.symbols + self.distractors, (count, self.lag + self.length)
        )
        targets_BT = np.full(ids_BT.shape, NOT_SCORED)
        ids_BT[:, : self.length] = kept_BN
        ids_BT[:, self.lag :] = self.symbols + self.distractors
        targets_BT[:, self.lag :] = FIRST + kept_BN
        return Examples(FIRST + ids_BT, targets_BT)

    def held_out(self, count: int) -> Examples:
        """Return examples from a separate random stream; their random distractors make them new."""
        return self.train(np.random.default_rng([self.seed, 0x4E1D]), count)


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
        ids_BT = FIRST + np.concatenate(
            [pairs_B2N, self.keys + self.values + noise_BL, asked_BN], 1
        )
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
        # Of 8 names at least 56 chains, so that some are held out.
        needed = max(8, self.chains * (self.steps + 1))
        allowed = {
            "steps": (1 <= self.steps <= 8, "between 1 and 8"),
            "chains": (self.chains >= 2, "at least 2"),
            "names": (
                needed <= self.names <= 99,
                f"between {needed}, one for each place of a chain, and 99",
            ),
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
        return self._stories(
            np.random.default_rng([self.seed, 0x4E1D, count]), count, held_out=True
        )

    def chain_numbers(self, path_BP: np.ndarray) -> np.ndarray:
        """Return a number for each chain of names, by which it is held out or not."""
        return path_BP @ self.names ** np.arange(path_BP.shape[1])

    def _stories(
        self,
        draw: np.random.Generator,
        count: int,
        held_out: bool,
    ) -> Examples:
        """Return *count* stories; the first chain is the one that is asked about."""
        length = self.steps + 1
        found = np.empty((0, self.chains * (self.steps + 1)), np.int64)
        while len(found) < count:
            name_BN = _distinct(draw, 2 * count, self.names, self.chains * length)
            wanted_B = (
                in_held_out_quarter(self.chain_numbers(name_BN[:, :length]), self.seed) == held_out
            )
            found = np.concatenate([found, name_BN[wanted_B]])

        chain_BCP = found[:count].reshape(count, self.chains, length)
        # Facts (a, b) of each chain, shuffled; then the question, which is where the first chain begins.
        fact_BF2 = np.stack([chain_BCP[..., :-1], chain_BCP[..., 1:]], -1).reshape(count, -1, 2)
        order_BF = _distinct(draw, count, fact_BF2.shape[1], fact_BF2.shape[1])
        fact_BF2 = np.take_along_axis(fact_BF2, order_BF[..., None], 1)
        ids_BT = FIRST + np.concatenate([fact_BF2.reshape(count, -1), chain_BCP[:, 0, :1]], 1)
        targets_BT = np.full(ids_BT.shape, NOT_SCORED)
        targets_BT[:, -1] = FIRST + chain_BCP[:, 0, -1]
        return Examples(ids_BT, targets_BT)


def _distinct(
    draw: np.random.Generator,
    count: int,
    among: int,
    drawn: int,
) -> np.ndarray:
    """Return *drawn* different numbers below *among* in random order (count, drawn)."""
    order: np.ndarray = draw.random((count, among)).argsort(1)[:, :drawn]
    return order


def _check(task: object, allowed: dict[str, tuple[bool, str]]) -> None:
    for name, (holds, words) in allowed.items():
        if not holds:
            raise ModelError(f"{name} is {getattr(task, name)}; it must be {words}", "input")
