"""Build English probes from templates and word lists, in the style of reviews.

`evaluation/probing/probes.py` explains probes. All probes come in pairs: with another deciding word (or, for the first
kind, another beginning) the other answer is right.

    next word            "Today is a good" day            local: decided by the words just before
    number of the verb   "The waiters near the table" were        attractors of the other number in between
    closing mark         "( we came on a Friday" )         or " where the quotation was opened
    cuisine              "We found a good Indian restaurant … and ordered the" naan
    language             "I live in France … and I can speak" French
    rating               five stars: "… the food was" delicious, one star: terrible

Filler phrases increase the distance; they say nothing about the answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations

from evaluation.probing.probes import Probe

NEXT = (
    ("Today is a good", "day"), ("The food was very", "good"), ("We will definitely be", "back"),
    ("I would highly", "recommend"), ("It was not worth the", "money"), ("The service was a little", "slow"),
    ("My husband and", "I"), ("We had to wait for a", "table"), ("This is one of my favorite", "places"),
    ("I have been coming here for", "years"), ("The staff is always", "friendly"), ("I ordered a glass of", "wine"),
    ("I can't", "wait"), ("They have a great happy", "hour"), ("The portions were", "huge"),
    ("We asked for the", "check"),
)  # fmt: skip
"""Beginnings with a usual next word. Every two entries are a pair: the right word of one is wrong for the other."""
HEADS = (
    ("waiter", "waiters"), ("server", "servers"), ("table", "tables"), ("dish", "dishes"), ("drink", "drinks"),
    ("burger", "burgers"), ("room", "rooms"), ("cook", "cooks"),
)  # fmt: skip
PLACES = (
    ("near the {}", ("window", "windows")), ("behind the {}", ("bar", "bars")), ("by the {}", ("door", "doors")),
    ("with the {}", ("plate", "plates")), ("next to the {}", ("kitchen", "kitchens")),
    ("from the {}", ("menu", "menus")),
)  # fmt: skip
VERBS = ((" was", " were"), (" is", " are"), (" has", " have"))
FILLERS = (
    "on a busy Friday night", "after a long day at work", "with a few friends of ours", "for the first time this year",
    "at the end of the month", "in the middle of the week",
)  # fmt: skip
"""Phrases of a few words each, without a cuisine, country, number or mood."""
CUISINES = (
    ("Mexican", "tacos"), ("Italian", "pasta"), ("Japanese", "sushi"), ("Indian", "naan"), ("Greek", "gyros"),
    ("American", "burger"),
)  # fmt: skip
LANGUAGES = (
    ("France", "French"), ("Italy", "Italian"), ("Mexico", "Spanish"), ("Japan", "Japanese"), ("China", "Chinese"),
    ("Greece", "Greek"),
)  # fmt: skip
MOODS = (("delicious", "terrible"), ("amazing", "horrible"), ("excellent", "awful"), ("perfect", "disgusting"))
MARKS = (((" (", ")"), (' "', '"')), ((' "', '"'), (" (", ")")))
SENTENCES = (
    "We came here last night.", "We sat outside.", "It was my first visit.", "There were six of us.",
    "We had a reservation.", "The place is next to a bank.",
)  # fmt: skip


def english_probes() -> list[Probe]:
    """Return all English probes, always the same ones in the same order."""
    cuisines = _recalled("cuisine", CUISINES, "We found a good", "restaurant {} and ordered the")
    languages = _recalled("language", LANGUAGES, "I live in", "{} and I can speak")
    kinds = (_next_words(), _number(), _marks(), cuisines, languages, _ratings())
    return [probe for probes in kinds for probe in probes]


def distance_of(text: str) -> int:
    """Return the number of words in a text: the distance from its beginning to its end."""
    return len(text.split())


def _next_words() -> Iterator[Probe]:
    for first, second in zip(NEXT[::2], NEXT[1::2], strict=True):
        for (beginning, right), (_, wrong) in ((first, second), (second, first)):
            yield Probe("next word", beginning, f" {right}", f" {wrong}", 1, pair=f"next {first[0]}")


def _number() -> Iterator[Probe]:
    """Yield subjects followed by up to four phrases; the nouns of these phrases all have the other number."""
    for index, head in enumerate(HEADS):
        for phrases in range(5):
            chosen = [PLACES[(index + step) % len(PLACES)] for step in range(phrases)]
            singular, plural = VERBS[index % len(VERBS)]
            for many in (0, 1):
                behind = " ".join(place.format(nouns[1 - many]) for place, nouns in chosen)
                subject = f"{head[many]} {behind}".strip()
                right, wrong = (plural, singular) if many else (singular, plural)
                pair = f"number {head[0]} {phrases}"
                yield Probe("number of the verb", f"The {subject}", right, wrong, distance_of(subject), pair=pair)


def _marks() -> Iterator[Probe]:
    """Yield asides opened by a bracket or a quotation mark; they must be closed by the same kind of mark."""
    for (opening, right), (_, wrong) in MARKS:
        for filler in _growing(FILLERS):
            text = f"The place{opening}we came here {filler}".rstrip()
            yield Probe("closing mark", text, right, wrong, distance_of(filler) + 4, pair=f"mark {filler}")


def _recalled(kind: str, pairs: Sequence[tuple[str, str]], begin: str, end: str) -> Iterator[Probe]:
    """Yield sentences whose last word follows from a word at the beginning, for example a dish from a cuisine."""
    for (first, right), (_, wrong) in permutations(pairs, 2):
        for filler in _growing(FILLERS):
            behind = " ".join(end.format(filler).split())
            pair = f"{kind} {sorted((right, wrong))} {filler}"
            yield Probe(kind, f"{begin} {first} {behind}", f" {right}", f" {wrong}", 1 + distance_of(behind), pair=pair)


def _ratings() -> Iterator[Probe]:
    """Yield reviews of one and of five stars; the star token comes right before the text."""
    for good, bad in MOODS:
        for stars, right, wrong in ((5, good, bad), (1, bad, good)):
            for filler in _growing(SENTENCES):
                text = f"{filler} The food was".strip()
                pair = f"rating {good} {filler}"
                yield Probe("rating", text, f" {right}", f" {wrong}", 1 + distance_of(text), stars, pair)


def _growing(fillers: Sequence[str]) -> Iterator[str]:
    """Yield an empty string, one filler, two fillers …, starting at every second filler in turn."""
    yield ""
    for count in range(1, len(fillers) + 1):
        for first in range(0, len(fillers), 2):
            yield " ".join(fillers[(first + step) % len(fillers)] for step in range(count))
