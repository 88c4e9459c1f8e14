"""Probe whether a model prefers the right word to a wrong one when the deciding words are d words back.

A probe is a beginning and two words that may follow: a right one and a wrong one. The model's preference is

    log p(right | beginning) − log p(wrong | beginning)        in nats, above 0 if the model answers right.

Probes come in pairs that differ in the deciding words alone: the right word of one is wrong for the other. A model that
does not look back far enough answers one of the two, and its preferences cancel out. Half their sum is the shift: the
nats by which the deciding words change the odds, even if one answer is always likelier. (Linzen, Dupoux & Goldberg
2016, Marvin & Linzen 2018 and Gulordava et al. 2018 measure agreement by accuracy.)

    number, gender       The street tacos "were" / was; Maria … "She" / He checked on us often   drawn from the embedded
    dish again           I ordered the pad thai … would come back just for the "pad" / boat     grammar, and proven: it
                         writes the review and its twin with another name, and neither with the other's word
    number of the verb   "The waiters near the table" were; the nouns in between have the other number (attractors)
    closing mark         "The place (we came here on a busy Friday night" )         or " where a quotation was opened
    rating               five stars: "… the food was" delicious, one star: terrible

    python -m reviewlm.course.context.probes [--model champion]
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reviewlm.corpus.synthetic.grammar import load_automaton, log_probability, write_review
from reviewlm.course.inputs import open_models, program, show
from reviewlm.models.tokens.special import BOS, UNK

if TYPE_CHECKING:
    from reviewlm.models.bundles.bundle import Bundle

HEADS = ("waiter", "server", "table", "drink", "burger", "room", "cook", "place")
PLACES = (("near the", "window"), ("behind the", "bar"), ("by the", "door"), ("with the", "plate"))
FILLERS = (
    "on a busy Friday night",
    "after a long day at work",
    "with a few friends of ours",
    "for the first time",
)
SENTENCES = (
    "We came here last night.",
    "We sat outside.",
    "It was my first visit.",
    "There were six of us.",
)
MOODS = (
    ("delicious", "terrible"),
    ("amazing", "horrible"),
    ("excellent", "awful"),
    ("perfect", "disgusting"),
)
AGREEMENT: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("number", "dish", r"(?<=[Tt]he {name} ){word}\b", ("was", "were")),
    (
        "number",
        "dish",
        r"(?<=[.!] ){word}(?= (?:was|were) (?!my|our|not worth|even))",
        ("It", "They"),
    ),
    ("gender", "who", r"(?<= said ){word}\b", ("he", "she")),
    (
        "gender",
        "person",
        r"(?<=[.!] ){word}(?= (?:checked|explained|made|seemed|had|never) )",
        ("He", "She"),
    ),
    ("dish again", "dish", r"(?<= ){word}\b", ()),
)
"""Kind, variable of the grammar, pattern of the places, and the two words it can be; none: names of that variable."""
NAMES_TRIED = 4
"""Other names tried at a place before it is given up."""
BINS = (1, 3, 5, 8, 12, 18, 25)
"""Lower ends of the bins of distances; the last is open."""


class Side(NamedTuple):
    """A beginning, its rating (0: unknown), the word that should follow, and the one that should not."""

    beginning: str
    stars: int
    right: str
    wrong: str


class ProbePair(NamedTuple):
    """Two probes whose answers are swapped, and the words from the deciding word to the choice (1: right before)."""

    kind: str
    distance: int
    sides: tuple[Side, Side]


def pair(
    kind: str,
    distance: int,
    one: str,
    other: str,
    right: str,
    wrong: str,
    stars: tuple[int, int] = (0, 0),
) -> ProbePair:
    """Return the pair of two beginnings: *right* follows the one, *wrong* the other."""
    return ProbePair(
        kind, distance, (Side(one, stars[0], right, wrong), Side(other, stars[1], wrong, right))
    )


def english_pairs() -> Iterator[ProbePair]:
    """Yield the pairs of English sentences; fillers, which say nothing about the answer, increase the distance."""
    for number, (head, phrases) in enumerate(product(HEADS, range(4))):
        between = [PLACES[(number + step) % len(PLACES)] for step in range(phrases)]
        one, other = (
            " ".join(f"{words} {noun}{plural}" for words, noun in between) for plural in ("s", "")
        )
        one = f"The {head} {one}".strip()
        other = f"The {head}s {other}".strip()
        yield pair(
            "number of the verb",
            len(one.split()) - 1,
            one,
            other,
            "was",
            "were",
        )

    for first, count in product(range(len(FILLERS)), range(len(FILLERS))):
        filler = " ".join(FILLERS[(first + step) % len(FILLERS)] for step in range(count))
        one, other = (f"The place {mark}we came here {filler}".strip() for mark in ("(", '"'))
        yield pair(
            "closing mark",
            4 + len(filler.split()),
            one,
            other,
            ")",
            '"',
        )

    for (good, bad), count in product(MOODS, range(len(SENTENCES) + 1)):
        beginning = f"{' '.join(SENTENCES[:count])} The food was".strip()
        yield pair(
            "rating",
            1 + len(beginning.split()),
            beginning,
            beginning,
            good,
            bad,
            (5, 1),
        )


def grammar_pairs(reviews: int, seed: int) -> Iterator[ProbePair]:
    """Yield pairs from drawn reviews: a later word agrees with a name, or is that name; only proven ones.

    In the twin another drawn name of the same kind stands in every place of the first.
    """
    draw = Random(f"probes {seed}")
    variables = list(load_automaton().variables)
    drawn = []
    for _ in range(reviews):
        stars = draw.randint(1, 5)
        text, chosen = write_review(stars, draw.random)
        drawn.append((text, dict(zip(variables, chosen, strict=True)), stars))

    for (text, values, stars), (kind, variable, pattern, words) in product(drawn, AGREEMENT):
        name = values[variable]
        others = []
        if name:
            others = sorted({other for _, more, _ in drawn if (other := more[variable])} - {name})

        for right in words or (name,) if others else ():
            for place in re.finditer(
                pattern.format(name=re.escape(name), word=re.escape(right)), text
            ):
                before = text[: place.start()].lower().rfind(name.lower())
                for other in (
                    draw.sample(others, min(NAMES_TRIED, len(others))) if before >= 0 else ()
                ):
                    wrong = next((word for word in words if word != right), other)
                    one = text[: place.start()].rstrip()
                    rest = text[place.end() :]
                    renamed = re.compile(rf"\b{re.escape(name)}\b", re.IGNORECASE)
                    twin, twin_rest = (
                        renamed.sub(lambda m: _match_case(other, m.group()), part)  # noqa: B023
                        for part in (one, rest)
                    )
                    if _is_proven(
                        (one, rest),
                        (twin, twin_rest),
                        right,
                        wrong,
                        stars,
                    ):
                        back = 1 + len(one[before + len(name) :].split())
                        yield pair(
                            kind,
                            back,
                            one,
                            twin,
                            right.split()[0],
                            wrong.split()[0],
                            (stars, stars),
                        )
                        break


def _match_case(name: str, like: str) -> str:
    if like[0].isupper():
        return name[0].upper() + name[1:]
    return name


def _is_proven(
    one: tuple[str, str],
    twin: tuple[str, str],
    right: str,
    wrong: str,
    stars: int,
) -> bool:
    """Return whether the grammar writes both reviews, neither of them with the other's word, and the words differ."""
    possible = []
    for (beginning, end), word in product((one, twin), (right, wrong)):
        possible.append(log_probability(f"{beginning} {word}{end}", stars) is not None)

    return possible == [True, False, False, True] and right.split()[0] != wrong.split()[0]


def preferences(bundle: Bundle, one: ProbePair) -> tuple[float, float] | None:
    """Return the model's preference for the right word on both sides; None if the vocabulary lacks what differs."""
    texts = [f"{side.beginning} {word}" for side in one.sides for word in (side.right, side.wrong)]
    ids = [bundle.vocabulary.encode(bundle.vocabulary.normal_form.apply(text)) for text in texts]
    alike = one.sides[0].stars == one.sides[1].stars and np.array_equal(ids[0], ids[3])
    if alike or any(row[-1] == UNK for row in ids):
        return None

    prefixes = [bundle.vocabulary.prefix(side.stars) for side in one.sides for _ in range(2)]
    ids_BT = np.full((len(ids), max(map(len, ids)) + 2), BOS)
    for row_T, prefix, row in zip(ids_BT, prefixes, ids, strict=True):
        row_T[: len(row) + 2] = [*prefix, *row]

    # Both words follow the same beginning.
    nats_B = bundle.model.score(ids_BT, bundle.model.start(len(ids)))[0].sum(1)
    return float(nats_B[1] - nats_B[0]), float(nats_B[3] - nats_B[2])


def main() -> None:
    """Show accuracy and shift of each model by kind and distance."""
    options = program(__doc__, models=True, reviews=1_500).parse_args()
    bundles, _ = open_models(options)
    pairs = [*english_pairs(), *grammar_pairs(options.reviews // 5, options.seed)]
    rows: list[dict[str, Any]] = []
    for kind, low in sorted({(one.kind, _bin(one.distance)) for one in pairs}):
        some = [one for one in pairs if (one.kind, _bin(one.distance)) == (kind, low)]
        row = {
            "kind": kind,
            "words back": f"{low}+",
            "pairs": len(some),
        }
        for name, bundle in bundles.items():
            answers_N2 = np.array([answer for one in some if (answer := preferences(bundle, one))])
            if len(answers_N2):
                share = float((answers_N2 > 0).mean())
                shift = float(answers_N2.mean())
                row |= {
                    "asked": len(answers_N2),
                    f"{name}: right": f"{share:.0%}",
                    f"{name}: shift": f"{shift:.2f}",
                }
        rows += [row] if "asked" in row else []

    show(rows)


def _bin(distance: int) -> int:
    return max(low for low in BINS if low <= distance)


if __name__ == "__main__":
    main()
