"""Correct typing errors by a noisy channel: choose the likeliest intended word, given the written one and its context.

Of all words c that a written word w may have meant, the one is taken that makes the sentence likeliest (Kernighan,
Church and Gale 1990, "A spelling correction program based on a noisy channel model"; Mays, Damerau and Mercer 1991 for
the context):

    log p(sentence with c) + log p(w | c),        p(w | c) = ε · Π p(edit),   p(w | w) = 1 − ε

The whole sentence is scored, so the words to the right count as much as those to the left, and a wrong word that exists
("I ate their") can be found. The edit model counts which letters are dropped, added, replaced and swapped in pairs of
wrong and right words. Candidates come from symspellpy. A word is changed only where the gain is above a margin, which
is chosen on other sentences: at most one right word of a thousand may change, then F₀.₅ is as large as possible.

    python -m reviewlm.course.uses.correction --text reviews.txt                # F0.5 on injected typos, and the peers
    python -m reviewlm.course.uses.correction --text reviews.txt --correct "teh fodo was graet and teh staff freindly"

Typos are injected into held-out sentences: real ones, from the list of the package codespell if it is installed (half
of it teaches the edit model, the other half is injected), else those of the embedded grammar. Needs symspellpy.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module, resources
from math import log
from random import Random
from typing import Any, NamedTuple

import numpy as np

from reviewlm.core.errors import ReviewLMError
from reviewlm.corpus.synthetic.automaton import corrupt, eligible
from reviewlm.course.inputs import learnt_and_held_out, open_models, program, show
from reviewlm.course.uses.rescoring import sentences
from reviewlm.models.bundles.bundle import Bundle

RATE = 0.05
"""Share of words that are mistyped: ε, and of injected ones."""
CANDIDATES = 8
"""Words that an unknown word may have meant."""
OF_KNOWN = 3
"""Words that a known word may have meant, only one edit away."""
DISTANCE = 2
"""Maximum number of edits to a candidate."""
MARGINS = (0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0, 30.0)
MOST_WRONG = 0.001
"""Share of right words that may change on the sentences by which the margin is chosen."""
TUNED = 3
"""Sentences by which the margin is chosen, for each on which it is measured: changed right words are rare."""
Change = Callable[[list[str]], list[list[str]]]
"""Returns the words of sentences, corrected."""


class Quality(NamedTuple):
    """Precision, recall and F₀.₅ of changes, and the share of right words that were changed."""

    precision: float
    recall: float
    f05: float
    spoilt: float


def edits(written: str, meant: str) -> list[tuple[str, str]]:
    """Return the edits that lead from the word that was meant to the written one, the fewest (Damerau 1964)."""
    n = len(meant)
    m = len(written)
    cost = [[max(i, j) if not i or not j else 0 for j in range(m + 1)] for i in range(n + 1)]
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            replaced = cost[i - 1][j - 1] + (meant[i - 1] != written[j - 1])
            cost[i][j] = min(cost[i - 1][j] + 1, cost[i][j - 1] + 1, replaced)
            if _swap(meant, written, i, j):
                cost[i][j] = min(cost[i][j], cost[i - 2][j - 2] + 1)

    made: list[tuple[str, str]] = []
    i = n
    j = m
    while i or j:
        if i and j and meant[i - 1] == written[j - 1] and cost[i][j] == cost[i - 1][j - 1]:
            i -= 1
            j -= 1
        elif _swap(meant, written, i, j) and cost[i][j] == cost[i - 2][j - 2] + 1:
            made.append((meant[i - 2 : i], written[j - 2 : j]))
            i -= 2
            j -= 2
        elif i and j and cost[i][j] == cost[i - 1][j - 1] + 1:
            made.append((meant[i - 1], written[j - 1]))
            i -= 1
            j -= 1
        elif i and cost[i][j] == cost[i - 1][j] + 1:
            # A dropped letter, after the letter before it.
            made.append((meant[max(0, i - 2) : i], meant[max(0, i - 2) : i - 1]))
            i -= 1
        else:
            made.append((meant[max(0, i - 1) : i], meant[max(0, i - 1) : i] + written[j - 1]))
            j -= 1

    return made


def _swap(
    meant: str,
    written: str,
    i: int,
    j: int,
) -> bool:
    return i > 1 and j > 1 and meant[i - 2 : i] == written[j - 2 : j][::-1]


class EditModel:
    """How probable edits are.

    Args:
        pairs: Written and meant words.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._counts = Counter(edit for written, meant in pairs for edit in edits(written, meant))
        self._total = self._counts.total() + 0.5 * len(self._counts) + 1

    def log_p(self, written: str, meant: str) -> float:
        """Return log p(written | meant), given that it was mistyped."""
        return sum(log((self._counts[edit] + 0.5) / self._total) for edit in edits(written, meant))


class Corrector:
    """A noisy channel.

    Args:
        bundle: Scores sentences.
        candidates: Returns words that a written one may have meant.
        edit_model: Scores what was written.
        margin: Least gain, in nats, for which a word is changed.
    """

    def __init__(
        self,
        bundle: Bundle,
        candidates: Callable[[str], list[str]],
        edit_model: EditModel,
        margin: float = 0.0,
    ) -> None:
        self._bundle = bundle
        self._candidates = candidates
        self._edits = edit_model
        self.margin = margin

    def gains(self, texts: list[str]) -> list[list[tuple[float, str]]]:
        """Return for each word of each sentence the best other word, and how many nats it gains; −inf: none."""
        tried: list[tuple[int, int, str]] = []
        variants = list(texts)
        for row, text in enumerate(texts):
            words = text.split()
            for at, word in enumerate(words):
                for other in self._candidates(word):
                    tried.append((row, at, other))
                    variants.append(" ".join([*words[:at], other, *words[at + 1 :]]))

        scores = self._bundle.score_texts(variants, 0)
        log_p = -np.array([score.nats + score.spelling_nats for score in scores])
        best = []
        for text in texts:
            best.append([(-np.inf, word) for word in text.split()])

        for (row, at, other), changed in zip(tried, log_p[len(texts) :].tolist(), strict=True):
            written = texts[row].split()[at]
            gain = (
                changed - log_p[row] + log(RATE) + self._edits.log_p(written, other) - log(1 - RATE)
            )
            best[row][at] = max(best[row][at], (gain, other))

        return best

    def __call__(self, texts: list[str]) -> list[list[str]]:
        """Return the words of the sentences, corrected."""
        return apply_changes(texts, self.gains(texts), self.margin)


def apply_changes(
    texts: list[str],
    gains: list[list[tuple[float, str]]],
    margin: float,
) -> list[list[str]]:
    """Return the words of sentences, with those changed whose gain is above a margin."""
    changed = []
    for text, row in zip(texts, gains, strict=True):
        words = text.split()
        for place, (gain, other) in enumerate(row):
            if gain > margin:
                words[place] = other
        changed.append(words)

    return changed


def quality(
    written: list[str],
    meant: list[str],
    made: list[list[str]],
) -> Quality:
    """Return how well sentences were corrected; a wrong word that became another wrong one counts as a wrong change."""
    right_changes = changes = wrong = spoilt = right = 0
    for before, goal, after in zip(written, meant, made, strict=True):
        for word, target, result in zip(before.split(), goal.split(), after, strict=True):
            wrong += word != target
            right += word == target
            changes += result != word
            right_changes += result != word and result == target
            spoilt += word == target and result != target

    precision = right_changes / max(1, changes)
    recall = right_changes / max(1, wrong)
    f05 = 1.25 * precision * recall / max(1e-12, 0.25 * precision + recall)
    return Quality(precision, recall, f05, spoilt / max(1, right))


def with_margin(
    corrector: Corrector,
    written: list[str],
    meant: list[str],
) -> Corrector:
    """Choose the margin by sentences with a right form."""
    gains = corrector.gains(written)
    found = {
        margin: quality(written, meant, apply_changes(written, gains, margin)) for margin in MARGINS
    }
    safe = [margin for margin in MARGINS if found[margin].spoilt <= MOST_WRONG] or [MARGINS[-1]]
    corrector.margin = max(safe, key=lambda margin: found[margin].f05)
    return corrector


def dictionary(counts: Mapping[str, int]) -> Callable[[str], list[str]]:
    """Return the function from a word to those within two edits, the nearest and most frequent first (symspellpy)."""
    from symspellpy import SymSpell, Verbosity

    words = SymSpell(max_dictionary_edit_distance=DISTANCE)
    for word, count in counts.items():
        words.create_dictionary_entry(word, count)

    met: dict[str, list[str]] = {}

    def candidates(word: str) -> list[str]:
        if word not in met:
            if word in counts:
                most = OF_KNOWN
                distance = 1
            else:
                most = CANDIDATES
                distance = min(DISTANCE, len(word) // 3 + 1)

            near = [
                each.term for each in words.lookup(word, Verbosity.ALL, max_edit_distance=distance)
            ]
            met[word] = [each for each in near if each != word and len(word) > 1][:most]
        return met[word]

    return candidates


def english_counts() -> dict[str, int]:
    """Return the counts of English words that symspellpy has; end if it is not installed."""
    try:
        file = resources.files("symspellpy") / "frequency_dictionary_en_82_765.txt"
    except ImportError:
        sys.exit("candidates come from symspellpy: pip install symspellpy")
    pairs = (line.split() for line in file.read_text(encoding="utf-8-sig").splitlines())
    return {word: int(count) for word, count in pairs}


def unigram_peer(counts: Mapping[str, int]) -> Change:
    """Return the corrector that symspellpy alone is: an unknown word becomes the nearest, of these the most frequent."""
    near = dictionary(counts)

    def change_word(word: str) -> str:
        if word in counts:
            return word
        return next(iter(near(word)), word)

    def change(texts: list[str]) -> list[list[str]]:
        return [list(map(change_word, text.split())) for text in texts]

    return change


def real_typos() -> dict[str, list[str]]:
    """Return the misspellings by word that codespell lists; empty if it is not installed."""
    typos = defaultdict[str, list[str]](list)
    with suppress(ImportError):
        file = resources.files(import_module("codespell_lib")) / "data" / "dictionary.txt"
        for line in file.read_text(encoding="utf-8").splitlines():
            wrong, _, words = line.partition("->")
            if wrong.isalpha() and words.isalpha():
                typos[words.lower()].append(wrong.lower())
    return dict(typos)


def mistype(
    texts: Sequence[str],
    typos: Mapping[str, list[str]],
    seed: int,
) -> list[str]:
    """Return sentences with a share of their words mistyped, as listed or by the channel of the grammar."""
    draws = Random(seed)
    rows = []
    for text in texts:
        words = []
        for word in text.split():
            options = typos.get(word, ())
            if draws.random() < RATE and (options or (not typos and eligible(word))):
                if options:
                    word = draws.choice(options)
                else:
                    word = corrupt(word, draws.random())
            words.append(word)
        rows.append(" ".join(words))

    return rows


def halves(typos: Mapping[str, list[str]]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the misspellings in two halves."""
    first = {}
    second = {}
    for word, each in typos.items():
        if each:
            first[word] = each[::2]
        if len(each) > 1:
            second[word] = each[1::2]

    return first, second


def main() -> None:
    """Compare with dictionaries on held-out sentences, or correct a sentence."""
    parser = program(
        __doc__,
        models=True,
        sentences=400,
        correct="",
    )
    options = parser.parse_args()
    english = english_counts()
    texts, held_out = (sentences(part["text"]) for part in learnt_and_held_out(options))
    try:
        bundles, _ = open_models(options)
    except ReviewLMError as error:
        sys.exit(str(error))

    counts = Counter(word for text in texts for word in text.split())
    learnt, injected = halves(real_typos())
    pairs = [(wrong, word) for word, forms in learnt.items() for wrong in forms] or [
        (corrupt(word, Random(place).random()), word)
        for place, word in enumerate(counts)
        if eligible(word)
    ]
    edit_model = EditModel(pairs)
    candidates = dictionary({**dict.fromkeys(english, 1), **counts})
    tuned = max(0, min(TUNED * options.sentences, len(held_out) - options.sentences))
    tune = held_out[:tuned]
    test = held_out[tuned : tuned + options.sentences]
    correctors = {
        name: with_margin(
            Corrector(bundle, candidates, edit_model), mistype(tune, injected, options.seed), tune
        )
        for name, bundle in bundles.items()
    }
    if options.correct:
        text = " ".join(sentences([options.correct]) or [options.correct.lower()])
        for name, corrector in correctors.items():
            print(f"{name}: {' '.join(corrector([text])[0])}")
        return

    ways: dict[str, Change] = {**peers(counts), **correctors}
    written = mistype(test, injected, options.seed + 1)
    print(
        f"{len(test)} sentences, {RATE:.0%} of the words mistyped ({'codespell' if injected else 'grammar'})"
    )
    show(
        [
            {"corrected by": name, **quality(written, test, change(written))._asdict()}
            for name, change in ways.items()
        ]
    )


def peers(counts: Mapping[str, int]) -> dict[str, Change]:
    """Return dictionaries that correct: symspellpy with its own words, with these, and with both; pyspellchecker."""
    english = english_counts()
    both = Counter(english) + Counter({word: count * 10**6 for word, count in counts.items()})
    ways = {
        f"symspellpy, {name}": unigram_peer(each)
        for name, each in (("English words", english), ("these reviews", counts), ("both", both))
    }
    with suppress(ImportError):
        peer = import_module("spellchecker").SpellChecker()
        ways["pyspellchecker"] = lambda rows: [
            [_of_peer(peer, word) for word in text.split()] for text in rows
        ]

    return ways


def _of_peer(peer: Any, word: str) -> str:
    if peer.known([word]):
        return word
    return peer.correction(word) or word


if __name__ == "__main__":
    main()
