"""Write reviews of the embedded corpus from a seeded stochastic grammar, and compute their exact probability.

    from corpus.synthetic.grammar import log_probability, sample_review
    text = sample_review(stars=5, seed=1)
    log_probability(text, stars=5)      # nats, with the end of the review; on average no model can do better

All modules are in `corpus/synthetic`: words (`lexicon.py`), variables (`grammar_domains.py`), sentences
(`grammar_rules.py`, `grammar_rules_body.py`), typing errors (`typos.py`), the engine (`automaton.py`), the forward
algorithm (`grammar_probability.py`), and files in Yelp's schema (`synth.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import exp, fsum, log
from random import Random

from corpus.synthetic.automaton import Automaton
from corpus.synthetic.grammar_domains import STARS, domains
from corpus.synthetic.grammar_probability import Forward
from corpus.synthetic.grammar_rules import FRAME, RECALL
from corpus.synthetic.grammar_rules_body import FILLERS, ITEMS, SERVICE
from corpus.synthetic.typos import TOKEN, corrupt, corruptions, eligible

TYPO_RATE = 0.004
"""Probability that a word is mistyped, for words that can be mistyped."""


@cache
def automaton() -> Automaton:
    """Return the compiled grammar (built once per process)."""
    return Automaton({**FRAME, **RECALL, **ITEMS, **SERVICE, **FILLERS}, domains(), TYPO_RATE)


@cache
def _forward() -> Forward:
    return Forward(automaton())


def write_review(stars: int, uniform: Callable[[], float]) -> tuple[str, tuple[str, ...], float]:
    """Draw one review.

    Args:
        stars: 1 to 5.
        uniform: Returns the next number from [0, 1).

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
    """Mistype the word after *gap* eligible words, and further words at the known rate."""
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
    """Return one review with the given rating; equal seeds give equal reviews."""
    return write_review(stars, Random(f"{stars} {seed}").random)[0]


def log_probability(text: str, stars: int) -> float | None:
    """Return the exact log P(text, end | stars) in nats, or None if the grammar cannot write the text.

    Args:
        text: A review in normal form (`models/text/normal_form.py`).
        stars: 1 to 5, or 0 if the rating is unknown: then P(text, end | rating) is averaged with the rating shares.
    """
    if stars:
        return _forward().log_probability(text, {"stars": str(stars)})
    known = {star: _forward().log_probability(text, {"stars": star}) for star in STARS}
    terms = [logp + log(STARS[star]) for star, logp in known.items() if logp is not None]
    return max(terms) + log(fsum(exp(term - max(terms)) for term in terms)) if terms else None
