"""Write reviews of the embedded corpus from a seeded stochastic grammar, and compute their exact probability.

    from reviewlm.corpus.synthetic.grammar import log_probability, write_review
    text, _ = write_review(5, Random(1).random)
    log_probability(text, stars=5)      # nats, with the end of the review; on average no model can do better

Beside it in `corpus/synthetic`: sentences (`grammar.yaml`), words and variables (`lexicon.py` and `.yaml`), typing
errors and the engine (`automaton.py`), and files in Yelp's schema (`synth.py`).

The probability comes from the forward algorithm (Baum 1972; Rabiner 1989, eq. 19–21). A hypothesis is a state of the
automaton together with the values bound so far. Its weight is the summed probability of all derivations that lead there
and write the tokens read so far. A lazy variable stays open until its name is read, so thousands of names cost almost
no time. Typing errors are inverted token by token (`corpus/synthetic/automaton.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from math import exp, fsum, log
from pathlib import Path
from typing import Any

import yaml

from reviewlm.corpus.synthetic.automaton import (
    BIND,
    BY,
    END,
    PICK,
    SET,
    SLOT,
    TEXT,
    TOKEN,
    Automaton,
    corrupt,
    eligible,
    intended_words,
)
from reviewlm.corpus.synthetic.lexicon import STARS, domains

Values = tuple[str, ...]
Changes = tuple[tuple[int, str], ...]
Hypotheses = dict[tuple[int, Values], float]
"""Weights by (state, values); inside a sequence of tokens the state is the one after the sequence."""
_RESCALE = 1e-100
TYPO_RATE = 0.004
"""Probability that a word is mistyped, for words that can be mistyped."""


def _silent_targets(op: tuple[Any, ...]) -> list[int]:
    """Return the states that follow a state without reading a word."""
    if op[0] == PICK:
        return list(op[2])
    if op[0] == BY:
        return list(op[2].values())
    if op[0] == SET:
        return [op[3]]
    if op[0] == BIND:
        return [op[4]]
    return []


class Forward:
    """A scorer of texts under one automaton; it fills caches while it scores."""

    def __init__(self, automaton: Automaton) -> None:
        self.automaton = automaton
        self._names = list(automaton.variables)
        self._sequences: list[tuple[str, ...]] = []
        self._ids: dict[str, int] = {}
        self._starts: dict[tuple[str, str, str], dict[str, list[tuple[float, str, int]]]] = {}
        self._ahead: dict[tuple[int, Values], tuple[dict[str, list[Any]], list[Any], float]] = {}
        self._reached: dict[tuple[int, Values], dict[tuple[int, Changes], float]] = {}
        self._reads: dict[int, tuple[int, ...]] = {}
        self._meant: dict[str, dict[str, float]] = {}
        self.vocabulary = self._words()

    def log_probability(self, text: str, given: Mapping[str, str]) -> float | None:
        """Return log P(text, end | given values) in nats, or None if the automaton cannot write the text."""
        between: Hypotheses = {(self.automaton.start, self.automaton.initial(given)): 1.0}
        within: dict[tuple[int, int], Hypotheses] = {}
        scale = 0.0
        for token in TOKEN.findall(text):
            between, within = self._step(between, within, self._meanings(token))
            whole = sum(between.values()) + sum(sum(group.values()) for group in within.values())
            if not whole:
                return None
            if whole < _RESCALE:
                scale += log(whole)
                between = _scale(between, whole)
                within = {at: _scale(group, whole) for at, group in within.items()}

        end = sum(
            weight * self._look_ahead(state, values)[2]
            for (state, values), weight in between.items()
        )
        if end > 0:
            return log(end) + scale
        return None

    def _step(
        self,
        between: Hypotheses,
        within: Mapping[tuple[int, int], Hypotheses],
        meanings: Mapping[str, float],
    ) -> tuple[Hypotheses, dict[tuple[int, int], Hypotheses]]:
        """Read one token; *meanings* gives P(token is written | word is meant).

        Args:
            between: Weights of the hypotheses at a state.
            within: Weights of the hypotheses inside a sequence of tokens, by (sequence, position). The hypotheses of a
                group advance together, independent of the state that follows.
        """
        new: Hypotheses = {}
        groups: dict[tuple[int, int], Hypotheses] = {}
        for (sequence, at), group in within.items():
            tokens = self._sequences[sequence]
            if chance := meanings.get(tokens[at]):
                moved = group
                if chance != 1.0:
                    moved = _scale(group, 1.0 / chance)

                if at + 1 < len(tokens):
                    groups[sequence, at + 1] = moved
                else:
                    _merge(new, moved)

        for (state, values), weight in between.items():
            for sequence, key, share in self._options(state, values, meanings):
                group = new
                if len(self._sequences[sequence]) > 1:
                    group = groups.setdefault((sequence, 1), {})

                group[key] = group.get(key, 0.0) + weight * share

        return new, groups

    def _options(
        self,
        state: int,
        values: Values,
        meanings: Mapping[str, float],
    ) -> Iterator[tuple[int, tuple[int, Values], float]]:
        """Yield the sequences that can begin at a state with the token: (sequence, (state after, values), weight)."""
        texts, slots, _ = self._look_ahead(state, values)
        for word, chance in meanings.items():
            for share, sequence, after, changes in texts.get(word, ()):
                yield sequence, (after, _apply_changes(values, changes)), chance * share

        for share, op, changes in slots:
            now = _apply_changes(values, changes)
            if now[op[1]]:
                sequence = self._sequence(op[2][now[op[1]]][0])
                if written := meanings.get(self._sequences[sequence][0]):
                    yield sequence, (op[3], now), written * share
                continue
            first = self._first(op, now)
            before = now[: op[1]]
            after = now[op[1] + 1 :]
            for word, chance in meanings.items():
                for weight, value, sequence in first.get(word, ()):
                    reached = (op[3], (*before, value, *after))
                    yield sequence, reached, chance * share * weight

    def _look_ahead(
        self, state: int, values: Values
    ) -> tuple[dict[str, list[Any]], list[Any], float]:
        """Return the possible continuations of a state: texts by first word, slots, and the probability of the end."""
        key = (state, self._projection(state, values))
        if key not in self._ahead:
            texts: dict[str, list[Any]] = {}
            slots: list[Any] = []
            end = 0.0
            for (target, changes), share in self._silent(state, values).items():
                op = self.automaton.ops[target]
                if op[0] == TEXT:
                    sequence = self._sequence(op[1])
                    texts.setdefault(self._sequences[sequence][0], []).append(
                        (share, sequence, op[3], changes)
                    )
                elif op[0] == SLOT:
                    slots.append((share, op, changes))
                else:
                    end += share
            self._ahead[key] = (texts, slots, end)

        return self._ahead[key]

    def _silent(self, state: int, values: Values) -> dict[tuple[int, Changes], float]:
        """Return the writing states (and the end) reachable without writing, with their summed probabilities."""
        op = self.automaton.ops[state]
        if op[0] in (TEXT, SLOT, END):
            return {(state, ()): 1.0}
        key = (state, self._projection(state, values))
        if key not in self._reached:
            self._reached[key] = self._follow(op, values)
        return self._reached[key]

    def _follow(self, op: tuple[Any, ...], values: Values) -> dict[tuple[int, Changes], float]:
        if op[0] == BY:
            return self._silent(op[2][values[op[1]]], values)

        steps: list[tuple[float, int, Changes]]
        if op[0] == PICK:
            steps = [(exp(logp), target, ()) for target, logp in zip(op[2], op[3], strict=True)]
        elif op[0] == SET:
            steps = [(1.0, op[3], ((op[1], op[2]),))]
        else:
            _, names, logs = op[2][values[op[3]] if op[3] >= 0 else ""]
            lazy = self.automaton.domains[self._names[op[1]]].lazy
            drawn = [("", 0.0)]
            if not lazy:
                drawn = list(zip(names, logs, strict=True))

            steps = [(exp(logp), op[4], ((op[1], value),)) for value, logp in drawn]

        reached: dict[tuple[int, Changes], float] = {}
        for chance, target, first in steps:
            for (end, later), share in self._silent(target, _apply_changes(values, first)).items():
                key = (
                    end,
                    tuple(sorted({**dict(first), **dict(later)}.items())) if first else later,
                )
                reached[key] = reached.get(key, 0.0) + chance * share

        return reached

    def _projection(self, state: int, values: Values) -> Values:
        """Return the part of the values that decides the result of `_silent` for a state."""
        return tuple([values[variable] for variable in self._read_from(state)])

    def _read_from(self, state: int) -> tuple[int, ...]:
        """Return the variables whose values decide what can follow a state without reading a word."""
        if state not in self._reads:
            op = self.automaton.ops[state]
            reads: set[int] = set()
            for target in _silent_targets(op):
                reads.update(self._read_from(target))

            if op[0] in (SET, BIND):
                reads -= {op[1]}
            if op[0] == BY:
                reads |= {op[1]}
            if op[0] == BIND and op[3] >= 0:
                reads |= {op[3]}
            self._reads[state] = tuple(sorted(reads))

        return self._reads[state]

    def _first(
        self, op: tuple[Any, ...], values: Values
    ) -> dict[str, list[tuple[float, str, int]]]:
        """Return the possible values of an open variable by first word: (probability, value, sequence)."""
        name = op[4]
        form = op[5]
        domain = self.automaton.domains[name]
        key = ""
        if domain.key:
            key = values[self.automaton.variables[domain.key]]

        if (name, form, key) not in self._starts:
            starts: dict[str, list[tuple[float, str, int]]] = {}
            whole = sum(domain.tables[key].values())
            for value, weight in domain.tables[key].items():
                sequence = self._sequence(op[2][value][0])
                starts.setdefault(self._sequences[sequence][0], []).append(
                    (weight / whole, value, sequence)
                )
            self._starts[name, form, key] = starts

        return self._starts[name, form, key]

    def _sequence(self, text: str) -> int:
        if text not in self._ids:
            self._ids[text] = len(self._sequences)
            self._sequences.append(tuple(TOKEN.findall(text)))
        return self._ids[text]

    def _meanings(self, token: str) -> dict[str, float]:
        """Return P(token is written | word is meant) for each word for which it is not zero."""
        if token not in self._meant:
            rate = self.automaton.typo_rate
            meant = {token: 1.0 - rate if eligible(token) else 1.0}
            if rate:
                meant.update(
                    (word, rate * share)
                    for word, share in intended_words(token, self.vocabulary).items()
                )
            self._meant[token] = meant
        return self._meant[token]

    def _words(self) -> frozenset[str]:
        """Return all tokens that the automaton can intend to write."""
        texts = {op[1] for op in self.automaton.ops if op[0] == TEXT}
        slots = {}
        for op in self.automaton.ops:
            if op[0] == SLOT:
                slots[id(op[2])] = op[2]

        texts.update(text for table in slots.values() for text, _ in table.values())
        return frozenset(token for text in texts for token in TOKEN.findall(text))


def _apply_changes(values: Values, changes: Changes) -> Values:
    if not changes:
        return values
    after = list(values)
    for variable, value in changes:
        after[variable] = value
    return tuple(after)


def _scale(hypotheses: Hypotheses, whole: float) -> Hypotheses:
    return {key: weight / whole for key, weight in hypotheses.items()}


def _merge(into: Hypotheses, more: Hypotheses) -> None:
    for key, weight in more.items():
        into[key] = into.get(key, 0.0) + weight


@cache
def load_automaton() -> Automaton:
    """Return the compiled grammar (built once per process)."""
    rules = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return Automaton(rules, domains(), TYPO_RATE)


@cache
def _forward() -> Forward:
    return Forward(load_automaton())


def write_review(stars: int, uniform: Callable[[], float]) -> tuple[str, tuple[str, ...]]:
    """Draw one review.

    Args:
        stars: 1 to 5.
        uniform: Returns the next number from [0, 1).

    Returns:
        The text, and the values of all variables.
    """
    text, values, words = load_automaton().sample({"stars": str(stars)}, uniform)
    gap = int(log(1.0 - uniform()) / log(1.0 - TYPO_RATE))
    return _mistype(text, gap, uniform) if gap < words else text, values


def _mistype(
    text: str,
    gap: int,
    uniform: Callable[[], float],
) -> str:
    """Mistype the word after *gap* eligible words, and further words at the known rate."""
    tokens = TOKEN.findall(text)
    for index, token in enumerate(tokens):
        if not eligible(token):
            continue
        if gap == 0:
            tokens[index] = corrupt(token, uniform())
            gap = int(log(1.0 - uniform()) / log(1.0 - TYPO_RATE))
        else:
            gap -= 1

    return "".join(tokens)


def log_probability(text: str, stars: int) -> float | None:
    """Return the exact log P(text, end | stars) in nats, or None if the grammar cannot write the text.

    Args:
        text: A review in normal form (`models/text/normal_form.py`).
        stars: 1 to 5, or 0 if the rating is unknown: then P(text, end | rating) is averaged with the rating shares.
    """
    if stars:
        return _forward().log_probability(text, {"stars": str(stars)})
    by_stars = {star: _forward().log_probability(text, {"stars": star}) for star in STARS}
    terms = [logp + log(STARS[star]) for star, logp in by_stars.items() if logp is not None]
    if terms:
        return max(terms) + log(fsum(exp(term - max(terms)) for term in terms))
    return None
