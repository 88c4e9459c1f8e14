"""Define the variables of the embedded corpus: their values, the probabilities of these, and their written forms.

The usual values stand in `lexicon.yaml`; rare names and items, with a Zipf tail, are composed here. Ranks follow Zipf's
law with Mandelbrot's shift, weight(r) = 1 / (r + 2)^1.05.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

import yaml

from reviewlm.corpus.synthetic.automaton import Domain

EXPONENT = 1.05
SHIFT = 2.0
STARS = {
    "1": 0.15,
    "2": 0.09,
    "3": 0.12,
    "4": 0.22,
    "5": 0.42,
}
"""Share of each rating, close to that of Yelp's open dataset."""
RARE_ITEMS = 150
RARE_PLACES = 140
RARE_PEOPLE = 700
RARE_CITIES = 400
FLAGS = ("place", "who", "size", "person", "side", "wait", "price", "city", "event", "day")
"""Names x for which a variable `has_x` records whether x was mentioned; only then a later sentence may refer to x."""
FOOD = {
    "1": (6, 20, 74),
    "2": (15, 40, 45),
    "3": (35, 50, 15),
    "4": (72, 24, 4),
    "5": (93, 6, 1),
}
SERVICE = {
    "1": (6, 14, 80),
    "2": (20, 30, 50),
    "3": (40, 40, 20),
    "4": (70, 22, 8),
    "5": (94, 5, 1),
}
TONES = ("love", "fine", "bad")


@cache
def lexicon() -> dict[str, Any]:
    """Return the usual values, and for each category its words."""
    return dict(yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")))


def zipf(values: Iterable[str]) -> dict[str, float]:
    """Return weights by rank, with the most popular value first."""
    weights: dict[str, float] = {}
    for value in values:
        if value not in weights:
            rank = len(weights) + 1
            weights[value] = (rank + SHIFT) ** -EXPONENT

    return weights


def made_up(
    syllables: list[str],
    count: int,
    seed: str,
    lengths: tuple[int, ...] = (2, 3, 3, 4),
) -> list[str]:
    """Return distinct pronounceable words; equal arguments give equal words on every platform."""
    draw = Random(seed)
    words: dict[str, None] = {}
    while len(words) < count:
        length = lengths[int(draw.random() * len(lengths))]
        word = "".join(_one_of(syllables, draw) for _ in range(length))
        if len(word) >= 4 and not _has_triple(word):
            words[word] = None

    return list(words)


def _has_triple(word: str) -> bool:
    """Return whether a word has the same letter three times in a row."""
    return any(letter * 3 in word for letter in word)


def rare_items(name: str, count: int) -> list[str]:
    """Return composed items of a category, e.g. "khapra curry"."""
    category = lexicon()["categories"][name]
    draw = Random(f"items of {name}")
    words = made_up(category["syllables"], count, name)
    return [f"{word} {_one_of(category['nouns'], draw)}" for word in words]


def _one_of(words: list[str], draw: Random) -> str:
    return words[int(draw.random() * len(words))]


def domains() -> dict[str, Domain]:
    """Return all variables in the order of their registers."""
    variables = {"stars": Domain({"": STARS})}
    for name in FLAGS:
        variables[f"has_{name}"] = Domain({"": {"yes": 1.0, "no": 1.0}}, initial="no")

    variables["kind"] = Domain({"": {"food": 0.76, "care": 0.24}})
    variables["category"] = _categories()
    variables["food"] = _tones(FOOD)
    variables["service"] = _tones(SERVICE)
    variables["dish"] = _items("dishes", RARE_ITEMS)
    variables["side"] = _items("sides", 0)
    variables["other"] = _items("dishes", RARE_ITEMS)
    variables["place"] = _by_category(_place_names)
    variables["role"] = _by_category(lambda name: lexicon()["categories"][name]["roles"])
    variables["person"] = _people()
    variables["who"] = _company()
    variables["city"] = _simple(lexicon()["cities"] + _rare_cities())
    for name in ("size", "minutes", "price", "event", "day"):
        variables[name] = _simple(lexicon()[name])

    return variables


def _tones(shares: Mapping[str, Sequence[float]]) -> Domain:
    """Return the variable of a tone, whose shares depend on the rating."""
    tables = {star: dict(zip(TONES, row, strict=True)) for star, row in shares.items()}
    return Domain(tables, key="stars")


def _simple(values: Iterable[str]) -> Domain:
    table = zipf(values)
    return Domain({"": table}, _names_of(table), lazy=True)


def _names_of(values: Iterable[str]) -> dict[str, dict[str, str]]:
    return {"name": {value: value for value in values}}


def _by_category(values: Callable[[str], list[str]]) -> Domain:
    tables = {name: zipf(values(name)) for name in lexicon()["categories"]}
    return Domain(
        tables,
        _names_of(chain.from_iterable(tables.values())),
        key="category",
        lazy=True,
    )


def _categories() -> Domain:
    categories = lexicon()["categories"]
    kinds = sorted({category["kind"] for category in categories.values()})
    tables: dict[str, dict[str, float]] = {kind: {} for kind in kinds}
    for name, category in categories.items():
        tables[category["kind"]][name] = category["weight"]

    forms = {}
    for form in ("spot", "cuisine", "craving"):
        forms[form] = {name: category[form] for name, category in categories.items()}

    forms["spots"] = {name: f"{spot}s" for name, spot in forms["spot"].items()}
    return Domain(tables, forms, key="kind")


def _items(block: str, rare: int) -> Domain:
    """Return the items of each category, with forms that agree in number; a plus in the lexicon marks plurals."""
    entries = {}
    for name, category in lexicon()["categories"].items():
        entries[name] = category[block] + (rare_items(name, rare) if rare else [])

    tables = {}
    for name, marked in entries.items():
        tables[name] = zipf([entry.rstrip("+") for entry in marked])

    plural = {}
    for entry in chain.from_iterable(entries.values()):
        plural[entry.rstrip("+")] = entry.endswith("+")

    def with_article(item: str, many: bool) -> str:
        if many:
            return item
        if item[0] in "aeiou":
            return f"an {item}"
        return f"a {item}"

    makers: dict[str, Callable[[str, bool], str]] = {
        "name": lambda item, many: item,
        "the": lambda item, many: f"the {item}",
        "The": lambda item, many: f"The {item}",
        "that": lambda item, many: f"{'those' if many else 'that'} {item}",
        "some": lambda item, many: f"{'some' if many else 'a good'} {item}",
        "a": with_article,
        "was": lambda item, many: "were" if many else "was",
        "is": lambda item, many: "are" if many else "is",
        "it": lambda item, many: "they" if many else "it",
        "it_object": lambda item, many: "them" if many else "it",
        "It": lambda item, many: "They" if many else "It",
    }
    forms = {}
    for form, make in makers.items():
        forms[form] = {item: make(item, many) for item, many in plural.items()}

    return Domain(tables, forms, key="category", lazy=True)


def _place_names(name: str) -> list[str]:
    category = lexicon()["categories"][name]
    draw = Random(f"places of {name}")
    people = lexicon()["women"] + lexicon()["men"]
    names = []
    for word in made_up(category["syllables"], RARE_PLACES, f"places {name}"):
        owner = _one_of(people, draw)
        house = _one_of(category["houses"], draw)
        kind = draw.random()
        if kind < 0.6:
            plain = f"{word.title()} {house}"
        else:
            plain = f"{word.title()}'s"

        names.append(f"{owner}'s {house}" if kind > 0.75 else plain)

    return names


def _people() -> Domain:
    women = lexicon()["women"]
    men = lexicon()["men"]
    rare = [
        word.title()
        for word in made_up(lexicon()["person_syllables"], RARE_PEOPLE, "people", (2, 3))
    ]
    pairs = zip(women, men, strict=False)
    names = list(dict.fromkeys([*chain.from_iterable(pairs), *rare]))
    she = set(women)
    for name in names:
        if name not in men and name[-1] in "aeiy":
            she.add(name)

    forms = {"name": {name: name for name in names}}
    forms["He"] = {name: "She" if name in she else "He" for name in names}
    forms["his"] = {name: "her" if name in she else "his" for name in names}
    return Domain({"": zipf(names)}, forms, lazy=True)


def _company() -> Domain:
    company = lexicon()["company"]
    forms = {"name": {who: who for who in company}}
    forms["cap"] = {who: who[0].upper() + who[1:] for who in company}
    forms["poss"] = {who: f"{who}'s" for who in company}
    forms["he"] = company
    return Domain({"": zipf(company)}, forms, lazy=True)


def _rare_cities() -> list[str]:
    draw = Random("cities")
    cities = []
    for _ in range(RARE_CITIES):
        stem = _one_of(lexicon()["city_stems"], draw)
        end = _one_of(lexicon()["city_ends"], draw)
        cities.append(stem + end)

    return cities
