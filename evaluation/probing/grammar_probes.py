"""Draw probes with a known answer from the embedded corpus, and check them against its grammar.

A review is drawn from the grammar and cut where one of its variables occurs again. Its twin is the same review with
another value of that variable: the right word in one is wrong in the other. The grammar gives each of the two a
probability, and exactly 0 if the other's word follows (`corpus.synthetic.grammar.log_probability`). So a model that
knows the language would always be certain. The words in between are also written by the grammar. The distance is
counted in the drawn review, from the last words that determine the answer.

    number    The street tacos "were" / was …; "They" / It were delicious; still thinking about "those" / that …
    gender    My wife said "she" / he would love to come back; Maria … "She" / He checked on us often
    dish      I ordered the pad thai … I would come back just for the "pad" / boat
    company   My sister … Even my "sister" / boss
    person    Our server, Carlos … Thank you, "Carlos" / Maria
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from random import Random
from typing import NamedTuple

from corpus.synthetic.grammar import automaton, log_probability, write_review
from corpus.synthetic.grammar_domains import STARS
from evaluation.probing.probes import Probe

AGREEMENT = (
    ("number", "dish", "was", r"(?<=[Tt]he {name} ){word}\b", ("was", "were")),
    ("number", "dish", "It", r"(?<=[.!] ){word}(?= (?:was|were) (?!my|our|not worth|even))", ("It", "They")),
    ("number", "dish", "that", r"\b{word}(?= {name}\b)", ("that", "those")),
    ("gender", "who", "he", r"(?<= said ){word}\b", ("he", "she")),
    ("gender", "person", "He", r"(?<=[.!] ){word}(?= (?:checked|explained|made|seemed|had|never) )", ("He", "She")),
    ("gender", "person", "his", r"(?<= rolled ){word}(?= eyes)", ("his", "her")),
)  # fmt: skip
"""Kind, variable, its form, pattern of the places where that form occurs, and the two words that it can be."""
NAMES = (("dish", "dish"), ("company", "who"), ("person", "person"))
"""Kind and variable of names that occur again."""


class Swap(NamedTuple):
    """A place of a review that can be probed.

    Args:
        kind: Kind of the probe.
        at: Position of the text that is swapped.
        old: That text.
        new: The text that replaces it in the twin.
        name: The name that was mentioned before and determines the answer.
        other: The name that replaces it in the twin.
    """

    kind: str
    at: int
    old: str
    new: str
    name: str
    other: str


def grammar_probes(reviews: int, seed: int = 1) -> list[Probe]:
    """Return the probes of *reviews* drawn reviews, pair by pair; equal arguments give equal probes.

    Args:
        reviews: Number of reviews to draw. They are drawn from other random streams than the reviews of the pipeline's
            corpus.
    """
    draw, probes = Random(f"probes {seed}"), list[Probe]()
    variables = list(automaton().variables)
    for review in range(reviews):
        stars = int(draw.choices(list(STARS), list(STARS.values()))[0])
        text, values, _ = write_review(stars, draw.random)
        for number, swap in enumerate(swaps(text, dict(zip(variables, values, strict=True)), draw)):
            if proven(text, swap, stars):
                before, _ = twin(text, swap)
                pair = f"{review} {number}"
                drawn = _probe(swap.kind, text[: swap.at], swap.old, swap.new, swap.name, stars, pair)
                made = _probe(swap.kind, before, swap.new, swap.old, swap.other, stars, pair)
                probes += [drawn, replace(made, distance=drawn.distance)]  # a pair has one distance
    return probes


def swaps(text: str, values: Mapping[str, str], draw: Random) -> Iterator[Swap]:
    """Yield the places of a review where a value that occurred before determines the next word.

    Args:
        values: Values of the grammar's variables.
        draw: Chooses other values, with the weights of the grammar.
    """
    domains = automaton().domains
    for kind, variable, form, pattern, words in AGREEMENT:
        if name := values[variable]:
            forms = {value: written.split(" ")[0] for value, written in domains[variable].forms[form].items()}
            opposite = words[1 - words.index(forms[name])]
            weights = {value: weight for value, weight in _table(variable, name).items() if forms[value] == opposite}
            for found in re.finditer(pattern.format(name=re.escape(name), word=forms[name]), text):
                if weights and name.lower() in text[: found.start()].lower():
                    yield Swap(kind, found.start(), forms[name], opposite, name, _drawn(weights, draw))
    for kind, variable in NAMES:
        name = values[variable]
        weights = {value: weight for value, weight in _table(variable, name).items() if _differs(value, name)}
        for found in re.finditer(rf"(?<= ){re.escape(name)}\b", text) if weights else ():
            if name.lower() in text[: found.start()].lower():
                other = _drawn(weights, draw)
                yield Swap(kind, found.start(), name, other, name, other)


def twin(text: str, swap: Swap) -> tuple[str, str]:
    """Return the review with the other value in it: its text before and after the probed place."""
    mentions = re.compile(rf"\b{re.escape(swap.name)}\b", re.IGNORECASE)

    def renamed(part: str) -> str:
        return mentions.sub(lambda found: _cased(swap.other, found.group()), part)

    return renamed(text[: swap.at]), renamed(text[swap.at + len(swap.old) :])


def proven(text: str, swap: Swap, stars: int) -> bool:
    """Return whether the grammar can write a review and its twin, but neither of them with the other's words."""
    (before, after), (first, last) = (text[: swap.at], text[swap.at + len(swap.old) :]), twin(text, swap)
    right = before + swap.old + after, first + swap.new + last
    wrong = before + swap.new + after, first + swap.old + last
    return all(_possible(one, stars) for one in right) and not any(_possible(one, stars) for one in wrong)


def _possible(text: str, stars: int) -> bool:
    return log_probability(text, stars) is not None


def _probe(kind: str, before: str, right: str, wrong: str, name: str, stars: int, pair: str) -> Probe:
    """Return the choice at the first word in which right and wrong differ."""
    while (first := right.split(" ")[0]) == wrong.split(" ")[0]:
        before += f"{first} "
        right, wrong = right[len(first) + 1 :], wrong[len(first) + 1 :]
    space = " " if before.endswith(" ") else ""
    right, wrong = (space + text.split(" ")[0] for text in (right, wrong))
    cue = before.lower().rfind(name.lower()) + len(name)
    return Probe(kind, before.removesuffix(" "), right, wrong, 1 + len(before[cue:].split()), stars, pair)


def _table(variable: str, name: str) -> Mapping[str, float]:
    """Return the values that could replace *name*, with their weights."""
    return next((table for table in automaton().domains[variable].tables.values() if name in table), {})


def _drawn(weights: Mapping[str, float], draw: Random) -> str:
    return draw.choices(list(weights), list(weights.values()))[0]


def _cased(other: str, like: str) -> str:
    return other[0].upper() + other[1:] if like[0].isupper() else other


def _differs(other: str, name: str) -> bool:
    """Return whether two values differ at a word; False if one only continues the other."""
    return any(one != two for one, two in zip(name.split(" "), other.split(" "), strict=False))
