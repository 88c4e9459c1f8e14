"""The embedded corpus: reviews from our own seeded stochastic grammar, whose exact probability is known.

    from corpus.grammar import log_probability, sample_review
    text = sample_review(stars=5, seed=1)
    log_probability(text, stars=5)      # nats, the end of the review included; no model can do better on average

The grammar's parts: words (`lexicon.py`), sentences (`grammar_rules*.py`), typing errors (`typos.py`), the engine
(`automaton.py`) and the forward algorithm (`grammar_probability.py`). Files in Yelp's schema: `synth.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from math import exp, fsum, log, sqrt
from random import Random

import numpy as np

from corpus.automaton import Automaton, Domain
from corpus.grammar_probability import Forward
from corpus.grammar_rules import FRAME, RECALL, TOPICS
from corpus.grammar_rules_body import FILLERS, ITEMS, SERVICE
from corpus.lexicon import (
    CATEGORIES,
    CITIES,
    CITY_ENDS,
    CITY_STEMS,
    COMPANY,
    MEN,
    PERSON_SYLLABLES,
    WOMEN,
    made_up,
    rare_items,
    split,
    zipf,
)
from corpus.typos import TOKEN, corrupt, eligible

STARS = {"1": 0.15, "2": 0.09, "3": 0.12, "4": 0.22, "5": 0.42}
"""Share of each rating, about that of Yelp's open dataset."""
TYPO_RATE = 0.004
RARE_ITEMS, RARE_PLACES, RARE_PEOPLE = 150, 140, 700
_FOOD = {"1": (6, 20, 74), "2": (15, 40, 45), "3": (35, 50, 15), "4": (72, 24, 4), "5": (93, 6, 1)}
_SERVICE = {"1": (6, 14, 80), "2": (20, 30, 50), "3": (40, 40, 20), "4": (70, 22, 8), "5": (94, 5, 1)}


@cache
def automaton() -> Automaton:
    """Return the compiled grammar (built once per process)."""
    return Automaton({**FRAME, **RECALL, **ITEMS, **SERVICE, **FILLERS}, _domains(), TYPO_RATE)


@cache
def _forward() -> Forward:
    return Forward(automaton())


def write_review(stars: int, uniform: Callable[[], float]) -> tuple[str, tuple[str, ...], float]:
    """Draw one review.

    Args:
        stars: 1 to 5.
        uniform: Gives the next number from [0, 1).

    Returns:
        The text, the values of all variables, and log P(this derivation | stars) in nats, typing errors included.
    """
    made = automaton().sample({"stars": str(stars)}, uniform)
    text, mistyped = made.text, 0
    gap = int(log(1.0 - uniform()) / log(1.0 - TYPO_RATE))
    logp = made.log_probability
    if gap < made.eligible:
        text, mistyped, chosen = _mistype(text, gap, uniform)
        logp += chosen
    return text, made.values, logp + mistyped * log(TYPO_RATE) + (made.eligible - mistyped) * log(1.0 - TYPO_RATE)


def _mistype(text: str, gap: int, uniform: Callable[[], float]) -> tuple[str, int, float]:
    """Mistype the word after *gap* eligible ones, and further ones at the known rate."""
    from corpus.typos import corruptions

    tokens, mistyped, logp = TOKEN.findall(text), 0, 0.0
    for index, token in enumerate(tokens):
        if not eligible(token):
            continue
        if gap == 0:
            tokens[index] = corrupt(token, uniform())
            logp += log(corruptions(token)[tokens[index]])
            mistyped += 1
            gap = int(log(1.0 - uniform()) / log(1.0 - TYPO_RATE))
        else:
            gap -= 1
    return "".join(tokens), mistyped, logp


def sample_review(stars: int, seed: int) -> str:
    """Return one review with the given rating; the same for the same seed."""
    return write_review(stars, Random(f"{stars} {seed}").random)[0]


def log_probability(text: str, stars: int) -> float | None:
    """Return log P(text, end | stars) in nats, exactly, or None where the grammar cannot write the text.

    Args:
        text: A review in normal form (`models/text.py`).
        stars: 1 to 5, or 0 where the rating is unknown: then the ratings' shares weigh P(text, end | rating).
    """
    if stars:
        return _forward().log_probability(text, {"stars": str(stars)})
    known = {star: _forward().log_probability(text, {"stars": star}) for star in STARS}
    terms = [logp + log(STARS[star]) for star, logp in known.items() if logp is not None]
    return max(terms) + log(fsum(exp(term - max(terms)) for term in terms)) if terms else None


def floor(texts: Sequence[str], stars: Sequence[int]) -> dict[str, float]:
    """Return what the grammar itself needs for these reviews: the floor under every model's figures.

    Returns:
        nats (sum of -log P), bytes (UTF-8 length + 1 per review), bits_per_byte, reviews (that count in these), and
        missing (that the grammar cannot write; they count in nothing else).
    """
    rows = [(log_probability(text, star), len(text.encode()) + 1) for text, star in zip(texts, stars, strict=True)]
    known = [(-logp, size) for logp, size in rows if logp is not None]
    nats, size = fsum(nats for nats, _ in known), sum(size for _, size in known)
    bits = nats / size / log(2) if size else float("nan")
    return {"nats": nats, "bytes": size, "bits_per_byte": bits, "reviews": len(known), "missing": len(rows) - len(known)}


def describe(reviews: int = 1_000, seed: int = 1) -> dict[str, float]:
    """Measure the grammar by Monte Carlo: sizes, and the mean of -log P of sampled reviews with its standard error.

    Returns:
        words_per_review, bytes_per_review, types (in this sample), states, and entropy: bits_per_review with
        bits_per_review_error, bits_per_word (whitespace words) and bits_per_byte.
    """
    draw = Random(seed)
    pairs = list(_draw_reviews(reviews, draw))
    bits = np.array([-(log_probability(text, stars) or 0.0) / log(2) for text, stars in pairs])
    words = sum(len(text.split()) for text, _ in pairs)
    size = sum(len(text.encode()) + 1 for text, _ in pairs)
    return {
        "reviews": reviews,
        "words_per_review": words / reviews,
        "bytes_per_review": size / reviews,
        "types": len({token.lower() for text, _ in pairs for token in TOKEN.findall(text)}),
        "states": len(automaton().ops),
        "bits_per_review": float(bits.mean()),
        "bits_per_review_error": float(bits.std(ddof=1)) / sqrt(reviews),
        "bits_per_word": float(bits.sum()) / words,
        "bits_per_byte": float(bits.sum()) / size,
    }


def _draw_reviews(count: int, draw: Random) -> Iterator[tuple[str, int]]:
    for _ in range(count):
        stars = int(draw.choices(list(STARS), list(STARS.values()))[0])
        yield write_review(stars, draw.random)[0], stars


def _domains() -> dict[str, Domain]:
    flags = ("place", "who", "size", "person", "side", "wait", "price", "city", "event", "day")
    return {
        "stars": Domain({"": STARS}),
        **{f"has_{name}": Domain({"": {"yes": 1.0, "no": 1.0}}, initial="no") for name in flags},
        **{f"said_{topic}": Domain({"": {"yes": 1.0, "no": 1.0}}, initial="no") for topic in TOPICS},
        "kind": Domain({"": {"food": 0.76, "care": 0.24}}),
        "category": _categories(),
        "food": Domain({star: dict(zip(("love", "fine", "bad"), row, strict=True)) for star, row in _FOOD.items()}, key="stars"),
        "service": Domain(
            {star: dict(zip(("love", "fine", "bad"), row, strict=True)) for star, row in _SERVICE.items()}, key="stars"
        ),
        "dish": _items("dishes", RARE_ITEMS), "side": _items("sides", 0), "other": _items("dishes", RARE_ITEMS),
        "place": _places(), "person": _people(), "who": _company(), "city": _cities(), **_small(),
        "role": Domain(
            {name: zipf(split(category.roles)) for name, category in CATEGORIES.items()},
            _named(role for category in CATEGORIES.values() for role in split(category.roles)), "category", lazy=True,
        ),
    }


def _named(values: Iterator[str] | Sequence[str]) -> dict[str, dict[str, str]]:
    return {"name": {value: value for value in values}}


def _small() -> dict[str, Domain]:
    tables = {
        "size": zipf(["four", "five", "six", "eight", "seven", "ten", "twelve", "nine", "three", "fifteen", "eleven", "twenty"]),
        "minutes": zipf(["20", "30", "15", "45", "10", "40", "25", "5", "35", "50", "90", "55", "75", "65", "80"]),
        "price": zipf([f"${amount}" for amount in (20, 15, 12, 30, 25, 10, 40, 18, 50, 35, 14, 60, 9, 45, 22, 100, 16, 28, 80, 75,
                                                   11, 13, 17, 19, 23, 24, 26, 32, 38, 55, 65, 70, 85, 90, 95, 120, 150)]),
        "event": zipf(["birthday", "anniversary", "graduation", "promotion", "retirement party", "baby shower", "bachelorette party", "housewarming", "engagement", "going away party", "reunion", "bridal shower"]),
        "day": zipf(["Friday", "Saturday", "Sunday", "Friday night", "Saturday night", "Tuesday", "Monday", "Thursday", "Wednesday", "Sunday morning", "weeknight", "Saturday afternoon", "Thursday evening", "holiday weekend"]),
    }
    return {name: Domain({"": table}, _named(list(table)), lazy=True) for name, table in tables.items()}


def _categories() -> Domain:
    kinds = sorted({category.kind for category in CATEGORIES.values()})
    tables = {kind: {name: c.weight for name, c in CATEGORIES.items() if c.kind == kind} for kind in kinds}
    forms = {form: {name: getattr(c, form) for name, c in CATEGORIES.items()} for form in ("spot", "cuisine", "craving")}
    return Domain(tables, {**forms, "spots": {name: f"{c.spot}s" for name, c in CATEGORIES.items()}}, key="kind")


def _items(block: str, rare: int) -> Domain:
    """Return what can be had in each category, with the forms that agree in number."""
    tables = {
        name: zipf([entry.rstrip("+") for entry in split(getattr(category, block)) + (rare_items(name, rare) if rare else [])])
        for name, category in CATEGORIES.items()
    }
    plural = {
        entry.rstrip("+"): entry.endswith("+")
        for name, category in CATEGORIES.items()
        for entry in split(getattr(category, block)) + (rare_items(name, rare) if rare else [])
    }
    singular = {"was": "was", "is": "is", "it": "it", "It": "It"}
    several = {"was": "were", "is": "are", "it": "they", "It": "They"}
    forms = {form: {item: (several if many else singular)[form] for item, many in plural.items()} for form in singular}
    makers: dict[str, Callable[[str, bool], str]] = {
        "name": lambda item, many: item,
        "bare": lambda item, many: item,
        "the": lambda item, many: f"the {item}",
        "The": lambda item, many: f"The {item}",
        "that": lambda item, many: f"{'those' if many else 'that'} {item}",
        "some": lambda item, many: f"{'some' if many else 'a good'} {item}",
        "a": lambda item, many: item if many else f"{'an' if item[0] in 'aeiou' else 'a'} {item}",
    }
    forms |= {form: {item: make(item, many) for item, many in plural.items()} for form, make in makers.items()}
    return Domain(tables, forms, key="category", lazy=True)


def _places() -> Domain:
    tables = {name: zipf(_place_names(name)) for name in CATEGORIES}
    return Domain(tables, _named([place for table in tables.values() for place in table]), key="category", lazy=True)


def _place_names(name: str) -> list[str]:
    category, draw = CATEGORIES[name], Random(f"places of {name}")
    houses, people = split(category.houses), [*WOMEN, *MEN]
    names = []
    for word in made_up(category.syllables, RARE_PLACES, f"places {name}"):
        owner = people[int(draw.random() * len(people))]
        house = houses[int(draw.random() * len(houses))]
        kind = draw.random()
        names.append(f"{owner}'s {house}" if kind < 0.25 else f"{word.title()}'s" if kind < 0.4 else f"{word.title()} {house}")
    return names


def _people() -> Domain:
    common = [name for pair in zip(WOMEN, MEN, strict=False) for name in pair]
    names = list(dict.fromkeys(common + [word.title() for word in made_up(PERSON_SYLLABLES, RARE_PEOPLE, "people", (2, 3))]))
    she = {name for name in names if name in WOMEN or (name not in MEN and name[-1] in "aeiy")}
    forms = {
        "name": {name: name for name in names},
        "He": {name: "She" if name in she else "He" for name in names},
        "his": {name: "her" if name in she else "his" for name in names},
    }
    return Domain({"": zipf(names)}, forms, lazy=True)


def _company() -> Domain:
    forms = {
        "name": {who: who for who in COMPANY},
        "cap": {who: who[0].upper() + who[1:] for who in COMPANY},
        "poss": {who: f"{who}'s" for who in COMPANY},
        "he": dict(COMPANY),
    }
    return Domain({"": zipf(list(COMPANY))}, forms, lazy=True)


def _cities() -> Domain:
    draw, stems, ends = Random("cities"), CITY_STEMS.split(), CITY_ENDS.split()
    rare = [stems[int(draw.random() * len(stems))] + ends[int(draw.random() * len(ends))] for _ in range(400)]
    table = zipf(CITIES + rare)
    return Domain({"": table}, _named(list(table)), lazy=True)
