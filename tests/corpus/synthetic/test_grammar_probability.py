"""The grammar writes sound text, and its probabilities are exact."""

from functools import cache
from itertools import product
from math import exp, fsum, log
from random import Random

import pytest

from reviewlm.corpus.synthetic import grammar
from reviewlm.corpus.synthetic.automaton import (
    BIND,
    BY,
    PICK,
    SET,
    SLOT,
    TEXT,
    TOKEN,
    Automaton,
    Domain,
    corruptions,
    eligible,
    intended_words,
)
from reviewlm.corpus.synthetic.grammar import Forward
from reviewlm.models.text.normal_form import NormalForm
from tests.marked_cases import slow_but

NAMES = {
    "name": {
        "hot tea": "hot tea",
        "hot teas": "hot teas",
        "soup": "soup",
        "stews": "stews",
    }
}
AGREE = {
    "was": {
        "hot tea": "was",
        "hot teas": "were",
        "soup": "was",
        "stews": "were",
    }
}
DOMAINS = {
    "stars": Domain({"": {"1": 1, "5": 1}}),
    "told": Domain({"": {"yes": 1, "no": 1}}, initial="no"),
    "where": Domain({"": {"bar": 2, "den": 1}}, {"name": {"bar": "bar", "den": "den"}}),
    "mood": Domain({"1": {"bad": 3, "good": 1}, "5": {"good": 1}}, key="stars"),
    "dish": Domain(
        {
            "bar": {
                "hot tea": 3,
                "hot teas": 1,
                "soup": 2,
            },
            "den": {"soup": 1, "stews": 5},
        },
        {**NAMES, **AGREE},
        key="where",
        lazy=True,
    ),
}
RULES = {
    "start": [
        [2, "{!where}{first}{last}"],
        "{!where}{!mood}A {where}.{last}",
        "{!where}The {+dish}{told=yes}, the {+dish}.{last}",
    ],
    "first": [
        "Their {+dish}{told=yes} {dish.was} ok.",
        [0.5, "Their [soup*3|stews] was[|*2] ok."],
        "{!mood}{judged}",
    ],
    "judged": {
        "by": "mood",
        "good": "[Good|Fine].",
        "bad": ["Bad.", "Fine."],
    },
    "last": {
        "by": "told",
        "yes": " That {dish}[!|]",
        "no": ["", " {+dish}!"],
    },
}


def derivations(
    automaton,
    given,
    state=None,
    values=None,
):
    """Yield (intended text, probability) of every derivation, by walking the table one choice at a time."""
    state = automaton.start if state is None else state
    values = list(automaton.initial(given)) if values is None else values
    op = automaton.ops[state]
    if op[0] in (TEXT, SLOT):
        text = op[1] if op[0] == TEXT else op[2][values[op[1]]][0]
        for rest, share in derivations(automaton, given, op[3], values):
            yield text + rest, share
    elif op[0] == PICK:
        for target, logp in zip(op[2], op[3], strict=True):
            for text, share in derivations(automaton, given, target, values):
                yield text, share * exp(logp)
    elif op[0] == BIND:
        _, names, logs = op[2][values[op[3]] if op[3] >= 0 else ""]
        for name, logp in zip(names, logs, strict=True):
            bound = [*values[: op[1]], name, *values[op[1] + 1 :]]
            for text, share in derivations(automaton, given, op[4], bound):
                yield text, share * exp(logp)
    elif op[0] == BY:
        yield from derivations(automaton, given, op[2][values[op[1]]], values)
    elif op[0] == SET:
        bound = [*values[: op[1]], op[2], *values[op[1] + 1 :]]
        yield from derivations(automaton, given, op[3], bound)
    else:
        yield "", 1.0


def typed(text, rate):
    """Yield (written text, probability) for every way of mistyping a text."""
    ways = [
        [(token, 1 - rate), *((wrong, rate * share) for wrong, share in corruptions(token).items())]
        if rate and eligible(token)
        else [(token, 1.0)]
        for token in TOKEN.findall(text)
    ]
    for way in product(*ways):
        probability = 1.0
        for _, share in way:
            probability *= share
        yield "".join(token for token, _ in way), probability


def all_texts(automaton, given):
    shares: dict[str, list[float]] = {}
    for text, share in derivations(automaton, given):
        for written, chance in typed(text, automaton.typo_rate):
            shares.setdefault(written, []).append(share * chance)
    return {text: fsum(parts) for text, parts in shares.items()}


@pytest.mark.parametrize("rate", slow_but([0.0, 0.1], {0.0}))
@pytest.mark.parametrize("stars", ["1", "5"])
def test_forward_equals_the_sum_over_all_derivations(rate, stars):
    automaton = Automaton(RULES, DOMAINS, rate)
    forward, expected = Forward(automaton), all_texts(automaton, {"stars": stars})
    for text, probability in expected.items():
        assert forward.log_probability(text, {"stars": stars}) == pytest.approx(
            log(probability), abs=1e-12
        )


@pytest.mark.parametrize("rate", slow_but([0.0, 0.1], {0.0}))
def test_probabilities_of_all_texts_sum_to_one(rate):
    automaton = Automaton(RULES, DOMAINS, rate)
    forward, texts = Forward(automaton), all_texts(automaton, {"stars": "1"})
    assert fsum(
        exp(forward.log_probability(text, {"stars": "1"})) for text in texts
    ) == pytest.approx(1, abs=1e-12)


def test_long_texts_do_not_underflow():
    words = [f"w{number}" for number in range(50)]
    domain = Domain(
        {"": dict.fromkeys(words, 1.0)}, {"name": {word: word for word in words}}, lazy=True
    )
    forward = Forward(Automaton({"start": "{+v} " * 400 + "end"}, {"v": domain}))
    assert forward.log_probability("w7 " * 400 + "end", {}) == pytest.approx(-400 * log(50))


@cache
def sample(count=4_000):
    draw = Random(7)
    return [
        (stars, *grammar.write_review(stars, draw.random))
        for stars in (1 + i % 5 for i in range(count))
    ]


@pytest.mark.slow
def test_every_text_is_in_normal_form():
    normal = NormalForm()
    for _, text, _ in sample():
        assert normal.apply(text) == text


@pytest.mark.parametrize("word", ["food", "really", "noodles", "aaaa"])
def test_what_was_meant_is_found_from_what_was_written(word):
    for surface, share in corruptions(word).items():
        assert intended_words(surface, {word, "other"}) == {word: share}


@pytest.mark.parametrize("template", ["[a", "{nobody}", "a]", "{!x}"])
def test_bad_templates_are_refused(template):
    with pytest.raises((ValueError, KeyError)):
        Automaton({"start": template}, {})
