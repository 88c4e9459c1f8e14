"""Estimate how many guesses a password resists, with a language model of the passwords that people choose.

An attacker tries strings from the most probable down. The number of guesses before a password of probability p is the
number of strings that are likelier. It is estimated from a sample of the model (Dell'Amico and Filippone 2015, "Monte
Carlo strength evaluation", equation 2): a string of probability pᵢ in a sample of n stands for 1 / (n pᵢ) strings, so

    guesses(p) ≈ Σ over pᵢ > p of 1 / (n pᵢ)

with the error of a mean. The model knows only habits that its passwords show. A number here is what an attacker with
such a list needs at most, and no promise: a leaked password is weak whatever its number. Nothing is stored or sent.

    python -m reviewlm.course.uses.strength --text passwords.txt --check "sunshine1987"
    python -m reviewlm.course.uses.strength

Without a file, the list of 30,000 frequent passwords in the package zxcvbn (Wheeler 2016) is used, if it is installed.
Every tenth is held out; a row says how many of them an attacker reaches with so many guesses.
"""

from __future__ import annotations

import getpass
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

import reviewlm
from reviewlm.course.inputs import program, show
from reviewlm.models.bundles.bundle import Bundle

WEAK = 1e8
FAIR = 1e12
"""Guesses: an online service is tried 10⁸ times by patient attackers, a stolen file of slow hashes 10¹² times."""
LONGEST = 64


class Guesses(NamedTuple):
    """How many guesses a password resists, with the ends of a 95 % interval; inf: no string of the sample is rarer."""

    number: float
    low: float
    high: float

    @property
    def word(self) -> str:
        """The strength in a word: "weak", "fair" or "strong"."""
        if self.low < WEAK:
            return "weak"
        return "fair" if self.low < FAIR else "strong"


class StrengthMeter:
    """A sample of a model's strings, by their probabilities.

    Args:
        bundle: A model of passwords; each is a text.
        size: Strings to draw.
        seed: Of the draw.
    """

    def __init__(
        self,
        bundle: Bundle,
        size: int = 20_000,
        seed: int = 1,
    ) -> None:
        from reviewlm.models.sampling import generate

        self._bundle = bundle
        strings = generate(
            bundle,
            size,
            0,
            max_tokens=LONGEST,
            seed=seed,
        )
        self._nats_N = np.sort(_nats(bundle, strings))

    def guesses(self, passwords: Sequence[str]) -> list[Guesses]:
        """Return the guesses that each password resists."""
        n = len(self._nats_N)
        stands_for_N = np.exp(self._nats_N) / n  # 1 / (n pᵢ), the likeliest first
        sums_N, squares_N = (
            np.concatenate([[0.0], np.cumsum(each)]) for each in (stands_for_N, stands_for_N**2)
        )
        errors_N = 1.96 * np.sqrt(np.maximum(0.0, squares_N - sums_N**2 / n))
        # A less likely string resists no fewer guesses.
        lows_N = np.maximum.accumulate(sums_N - errors_N)
        places = np.searchsorted(self._nats_N, _nats(self._bundle, passwords))
        guesses = []
        for place in places:
            if place < n:
                high = float(sums_N[place] + errors_N[place])
                guesses.append(Guesses(float(sums_N[place]), float(lows_N[place]), high))
            else:
                guesses.append(Guesses(float(sums_N[-1]), float(lows_N[-1]), float("inf")))

        return guesses


def _nats(bundle: Bundle, texts: Sequence[str]) -> np.ndarray:
    return np.array(
        [score.nats + score.spelling_nats for score in bundle.score_texts(list(texts), 0)]
    )


def fit_characters(passwords: list[str]) -> Bundle:
    """Return a model of their characters."""
    return reviewlm.ngram.fit(
        passwords,
        order=5,
        unit="char",
        smoothing="witten_bell",
    ).bundle


def compare_guesses(
    passwords: list[str],
    size: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Return a row for some numbers of guesses: which share of other passwords, and of random ones, they reach."""
    held_out = passwords[::10]
    train = [each for place, each in enumerate(passwords) if place % 10]
    meter = StrengthMeter(fit_characters(train), size, seed)
    draws = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"))
    random = ["".join(draws.choice(letters, 12)) for _ in held_out]
    reached = []
    for group in (held_out, random):
        reached.append(np.array([each.number for each in meter.guesses(group)]))

    return [
        {
            "guesses": f"10^{power}",
            "held-out passwords": float((reached[0] < 10.0**power).mean()),
            "12 random letters and digits": float((reached[1] < 10.0**power).mean()),
        }
        for power in (4, 6, 8, 10, 12, 14)
    ]


def passwords_of(options: Any) -> list[str]:
    """Return the passwords to learn from."""
    if options.text is not None:
        return [line for line in options.text.read_text(encoding="utf-8").splitlines() if line]
    try:
        return list(import_module("zxcvbn.frequency_lists").FREQUENCY_LISTS["passwords"])
    except ImportError:
        sys.exit(
            "name a file with one password a line (--text), or install zxcvbn, which has a list of frequent ones"
        )


def main() -> None:
    """Say how strong a password is, or how well the model finds passwords that it has not seen."""
    parser = program(__doc__, sample=20_000)
    parser.add_argument(
        "--check",
        nargs="?",
        const="",
        help="a password; without one it is asked for, and not shown",
    )
    options = parser.parse_args()
    passwords = passwords_of(options)
    if options.check is None:
        show(compare_guesses(passwords, options.sample, options.seed))
        return

    password = options.check or getpass.getpass("Password: ")
    [found] = StrengthMeter(fit_characters(passwords), options.sample, options.seed).guesses(
        [password]
    )
    about = f"about {found.number:.2g} guesses ({found.low:.2g} to {found.high:.2g})"
    print(
        f"{found.word}: {about if np.isfinite(found.high) else f'more than {found.low:.2g} guesses'}"
    )
    with suppress(ImportError):
        print(f"zxcvbn: {float(import_module('zxcvbn').zxcvbn(password)['guesses']):.2g} guesses")


if __name__ == "__main__":
    main()
