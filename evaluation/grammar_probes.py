"""Probes whose answer is known exactly: drawn from the embedded corpus, checked against its grammar.

A review is drawn from the grammar and cut where one of its variables comes up again; what follows is swapped for what
another value would have written. The grammar gives the review a probability and the swapped one exactly 0
(`corpus.grammar.log_probability`), so a model that knew the language could not hesitate. The words in between are the
grammar's own, so they are in the vocabulary of models of the embedded corpus. The distance is counted from the last
words that gave the answer away. Every answer is right as often as it is wrong, exactly so of number and gender: a model
that does not look back is right half of the time.

    number    The street tacos "were" / was …; "They" / It were delicious; still thinking about "those" / that …
    gender    My wife said "she" / he would love to come back; Maria … "She" / He checked on us often
    dish      I ordered the pad thai … I would come back just for the "pad" / boat
    company   My sister … Even my "sister" / boss
    person    Our server, Carlos … Thank you, "Carlos" / Maria
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from random import Random
from typing import NamedTuple

from corpus.grammar import automaton, log_probability, write_review
from corpus.grammar_domains import STARS
from evaluation.probes import Probe

AGREEMENT = (
    ("number", "dish", "was", r"(?<=[Tt]he {name} ){word}\b", ("was", "were")),
    ("number", "dish", "It", r"(?<=[.!] ){word}(?= (?:was|were) (?!my|our|not worth|even))", ("It", "They")),
    ("number", "dish", "that", r"\b{word}(?= {name}\b)", ("that", "those")),
    ("gender", "who", "he", r"(?<= said ){word}\b", ("he", "she")),
    ("gender", "person", "He", r"(?<=[.!] ){word}(?= (?:checked|explained|made|seemed|had|never) )", ("He", "She")),
    ("gender", "person", "his", r"(?<= rolled ){word}(?= eyes)", ("his", "her")),
)  # fmt: skip
"""Kind, variable, its form, where that form stands, and the two words that it can be."""
NAMES = (("dish", "dish"), ("company", "who"), ("person", "person"))
"""Kind and variable of what is called by its name again."""


class Swap(NamedTuple):
    """A place of a review that can be probed.

    Args:
        kind: Of the probe.
        at: Where the text stands that is swapped.
        old: It.
        new: What is put in its place.
        cue: Where the words end that gave the answer away.
    """

    kind: str
    at: int
    old: str
    new: str
    cue: int


def grammar_probes(reviews: int, seed: int = 1) -> list[Probe]:
    """Return the probes of so many drawn reviews, each of which gives a few; the same for the same arguments.

    Args:
        reviews: Reviews that are drawn. Those of the pipeline's corpus are drawn from streams of their own.
        seed: Of the draw.
    """
    draw, probes = Random(f"probes {seed}"), list[Probe]()
    variables = list(automaton().variables)
    for _ in range(reviews):
        stars = int(draw.choices(list(STARS), list(STARS.values()))[0])
        text, values, _ = write_review(stars, draw.random)
        found = list(swaps(text, dict(zip(variables, values, strict=True)), draw))
        if found and log_probability(text, stars) is not None:
            probes += [_probe(text, swap, stars) for swap in found if _impossible(text, swap, stars)]
    return _balanced(probes)


def swaps(text: str, values: Mapping[str, str], draw: Random) -> Iterator[Swap]:
    """Yield the places of a review at which a value that has come up before decides what follows.

    Args:
        text: The review.
        values: Of the grammar's variables.
        draw: Chooses other values.
    """
    domains = automaton().domains
    for kind, variable, form, pattern, words in AGREEMENT:
        if name := values[variable]:
            word = domains[variable].forms[form][name].split(" ")[0]
            other = words[1 - words.index(word)]
            for found in re.finditer(pattern.format(name=re.escape(name), word=word), text):
                if (cue := _last_mention(text, name, found.start())) is not None:
                    yield Swap(kind, found.start(), word, other, cue)
    for kind, variable in NAMES:
        name = values[variable]
        weights = next((table for table in domains[variable].tables.values() if name in table), {})
        others = [other for other in weights if _differs(other, name)]
        for found in re.finditer(rf"(?<= ){re.escape(name)}\b", text) if others else ():
            if (cue := _last_mention(text, name, found.start())) is not None:
                [other] = draw.choices(others, [weights[other] for other in others])
                yield Swap(kind, found.start(), name, other, cue)


def _balanced(probes: list[Probe]) -> list[Probe]:
    """Return the probes without the surplus of those whose answer is the more frequent one of two.

    Names need none of that: the wrong one is drawn with the weights of the grammar, as the right one was.
    """
    words = {word for *_, pair in AGREEMENT for word in pair}
    seen: dict[tuple[str, str], int] = {}
    ranks = []
    for probe in probes:
        key = probe.right.strip(), probe.wrong.strip()
        seen[key] = seen.get(key, 0) + 1
        ranks.append(seen[key])
    return [
        probe for probe, rank in zip(probes, ranks, strict=True)
        if probe.right.strip() not in words or rank <= seen.get((probe.wrong.strip(), probe.right.strip()), 0)
    ]  # fmt: skip


def swapped(text: str, swap: Swap) -> str:
    """Return the review with the wrong words in it."""
    return text[: swap.at] + swap.new + text[swap.at + len(swap.old) :]


def _impossible(text: str, swap: Swap, stars: int) -> bool:
    return log_probability(swapped(text, swap), stars) is None


def _probe(text: str, swap: Swap, stars: int) -> Probe:
    """Return the choice at the first word in which right and wrong differ."""
    same, right, wrong = 0, swap.old, swap.new
    while (first := right.split(" ")[0]) == wrong.split(" ")[0]:
        same += len(first) + 1
        right, wrong = right[len(first) + 1 :], wrong[len(first) + 1 :]
    before = text[: swap.at + same]
    space = " " if before.endswith(" ") else ""
    distance = 1 + len(text[swap.cue : len(before)].split())
    beginning = before.removesuffix(" ")
    return Probe(swap.kind, beginning, space + right.split(" ")[0], space + wrong.split(" ")[0], distance, stars)


def _last_mention(text: str, name: str, before: int) -> int | None:
    """Return where the last mention of a value ends that is over before a place; None if there is none."""
    begin = text.lower().rfind(name.lower(), 0, before)
    return None if begin < 0 else begin + len(name)


def _differs(other: str, name: str) -> bool:
    """Return whether two values part at a word, not where one of them ends."""
    return any(one != two for one, two in zip(name.split(" "), other.split(" "), strict=False))
