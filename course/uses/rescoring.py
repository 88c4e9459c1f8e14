"""Choose among the hypotheses of a recogniser with a language model: speech, handwriting, OCR, translation.

A recogniser gives the n best texts t with scores of its own. What it has not heard, a language model knows: that "the
steak was rare" is likelier than "the stake was rare". The text is chosen by the log-linear sum (Ostendorf et al. 1991;
Jurafsky and Martin, chapter on speech recognition)

    score(t) + α log p(t) + β words(t)

α weighs the model, and β repays what each further word costs it. Both are chosen on lists whose right text is known, so
that the word error rate (WER: substitutions, insertions and deletions per right word) is least. The model is only a
part here; this is no recogniser and no translator.

    python -m reviewlm.course.uses.rescoring --text reviews.txt                    # simulated lists, all models side by side
    python -m reviewlm.course.uses.rescoring --lists tune.jsonl --weights w.json   # lists with "reference": choose α and β
    python -m reviewlm.course.uses.rescoring --lists new.jsonl --use w.json        # the chosen text of each list

A list is a line of JSON: {"id": …, "hypotheses": [{"text": …, "score": …}, …], "reference": …}.

The simulation confuses each word of a held-out sentence with words that look alike (OCR: "rn" and "m", "cl" and "d") or
sound alike (the same consonants). The scores of the right word and of the others are drawn so that the recogniser alone
gets a stated share of words wrong.
"""

from __future__ import annotations

import heapq
import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.stats import norm

from reviewlm.course.inputs import learnt_and_held_out, open_models, program, show
from reviewlm.models.bundles.bundle import Bundle

HYPOTHESES = 30
"""Texts of a simulated list."""
SIMILAR = 4
"""Words that a word is confused with."""
DRAWS = 2_000
LOOKS = (("rn", "m"), ("cl", "d"), ("vv", "w"), ("ii", "u"), ("li", "h"), ("i", "l"), ("e", "c"))


class NBest(NamedTuple):
    """A list of hypotheses.

    Attributes:
        id: Its name.
        texts: The hypotheses.
        scores: Log-scores of the recogniser.
        reference: The right text, if it is known.
    """

    id: str
    texts: list[str]
    scores: list[float]
    reference: str | None = None


class Weights(NamedTuple):
    """Weight of the model's log-probability, and what each word adds."""

    model: float = 0.0
    word: float = 0.0


def errors(reference: Sequence[str], words: Sequence[str]) -> int:
    """Return the least number of words to replace, insert and delete (Levenshtein)."""
    row = list(range(len(words) + 1))
    for place, right in enumerate(reference, 1):
        before, row[0] = row[0], place
        for column, word in enumerate(words, 1):
            before, row[column] = (
                row[column],
                min(row[column] + 1, row[column - 1] + 1, before + (word != right)),
            )
    return row[-1]


class ScoredLists:
    """Lists with the scores of one language model.

    Args:
        lists: The lists.
        log_p: Returns log p of texts; None: the model is left out.
    """

    def __init__(
        self, lists: Sequence[NBest], log_p: Callable[[list[str]], np.ndarray] | None
    ) -> None:
        self.lists = lists
        ends = np.cumsum([len(one.texts) for one in lists])[:-1]
        every = [text for one in lists for text in one.texts]
        if log_p is not None:
            model = log_p(every)
        else:
            model = np.zeros(len(every))

        self.model = np.split(model, ends)
        self.words = np.split(np.array([len(text.split()) for text in every], float), ends)

    def choose(self, weights: Weights) -> list[int]:
        """Return the number of the chosen text of each list; of equal ones the first."""
        return [
            int(np.argmax(np.array(one.scores) + weights.model * model + weights.word * words))
            for one, model, words in zip(self.lists, self.model, self.words, strict=True)
        ]


def tune_weights(scored: ScoredLists) -> Weights:
    """Return the weights with the fewest errors on lists with a right text."""
    wrong = errors_of(scored.lists)

    def rate(point: Iterable[float]) -> float:
        chosen = scored.choose(Weights(*point))
        return float(sum(each[place] for each, place in zip(wrong, chosen, strict=True)))

    starts = [(alpha, beta) for alpha in (0.0, 0.1, 0.3, 0.6, 1.0, 2.0) for beta in (0.0, 1.0, 3.0)]
    ends = [
        minimize(
            rate, start, method="Nelder-Mead", options={"initial_simplex": _weights_near(start)}
        )
        for start in sorted(starts, key=rate)[:3]
    ]
    return Weights(*map(float, min(ends, key=lambda end: end.fun).x))


def _weights_near(start: tuple[float, float]) -> list[tuple[float, float]]:
    alpha, beta = start
    return [start, (alpha + 0.2, beta), (alpha, beta + 0.5)]


def errors_of(lists: Sequence[NBest]) -> list[list[int]]:
    """Return the errors of each hypothesis of each list."""
    found = []
    for one in lists:
        reference = (one.reference or "").split()
        found.append([errors(reference, text.split()) for text in one.texts])

    return found


def log_probabilities(bundle: Bundle) -> Callable[[list[str]], np.ndarray]:
    """Return the function from texts to log p, unknown words and spaces included."""
    return lambda texts: (
        -np.array([score.nats + score.spelling_nats for score in bundle.score_texts(texts, 0)])
    )


def sentences(texts: Iterable[str]) -> list[str]:
    """Return the sentences of 4 to 20 words, in lower case and without marks."""
    cut = [
        re.sub(r"[^a-z' ]+", " ", part.lower()).split()
        for text in texts
        for part in re.split(r"[.!?\n]+", text)
    ]
    return [" ".join(words) for words in cut if 4 <= len(words) <= 20]


def looks(word: str) -> str:
    """Return a word as it looks: what OCR confuses is the same."""
    for one, other in LOOKS:
        word = word.replace(one, other)
    return word


def sounds(word: str) -> str:
    """Return the consonants of a word by groups that sound alike, without repeats (after Soundex)."""
    groups = str.maketrans("bfpvcgjkqsxzdtlmnr", "111122222222334556", "aeiouyhw'")
    return re.sub(r"(.)\1+", r"\1", word.translate(groups)) or word


def confusions(words: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    """Return the words that each word is confused with: their keys are the same, or differ in one letter."""
    counts = defaultdict[str, int](int)
    for word in words:
        counts[word] += 1

    groups = defaultdict[str, list[str]](list)
    forms = {
        word: _forms(key(word)) for word in sorted(counts, key=lambda each: (-counts[each], each))
    }
    for word, keys in forms.items():
        for form in keys:
            groups[form].append(word)

    similar = {}
    for word, keys in forms.items():
        others: list[str] = []
        for form in keys:
            others += [other for other in groups[form][: SIMILAR + 1] if other != word]
        similar[word] = list(dict.fromkeys(others))

    return similar


def _forms(key: str) -> list[str]:
    """Return a key, and the key with each of its letters left open."""
    return [key, *(f"{key[:at]}_{key[at + 1 :]}" for at in range(len(key)))]


def simulate_lists(
    texts: Sequence[str],
    similar: dict[str, list[str]],
    rate: float,
    seed: int,
) -> list[NBest]:
    """Return a list for each sentence, whose first hypotheses have about this share of words wrong.

    A word with k similar ones has scores that are normal with deviation 1; that of the right word is higher by as much
    as makes it the highest with probability 1 − rate.
    """
    draws = np.random.default_rng(seed)
    ahead = {k: _ahead(k, rate) for k in range(1, SIMILAR + 1)}
    lists = []
    for number, text in enumerate(texts):
        columns = []
        for word in text.split():
            options = [word, *similar.get(word, [])[:SIMILAR]]
            scores = draws.normal(size=len(options))
            if len(options) > 1:
                scores[0] += ahead[len(options) - 1]
                # The log-ratio of the two densities: what such a recogniser knows.
                scores *= ahead[len(options) - 1]
            order = np.argsort(-scores)
            columns.append([(float(scores[at]), options[at]) for at in order])
        best = _best(columns, HYPOTHESES)
        lists.append(
            NBest(
                str(number),
                [" ".join(words) for _, words in best],
                [score for score, _ in best],
                text,
            )
        )

    return lists


def _ahead(others: int, rate: float) -> float:
    """Return how far ahead a normal score must be to be the highest with probability 1 − rate."""
    grid = np.linspace(0.0, 8.0, 801)
    points = np.linspace(-6.0, 12.0, 1_801)
    wins = [
        np.trapezoid(norm.pdf(points - far) * norm.cdf(points) ** others, points) for far in grid
    ]
    return float(np.interp(1 - rate, wins, grid))


def _best(columns: list[list[tuple[float, str]]], count: int) -> list[tuple[float, list[str]]]:
    """Return the paths through columns of scored words with the highest sums, the highest first.

    Args:
        columns: The words of each position with their scores, the highest first.
        count: Maximum number of paths.
    """
    top = (0,) * len(columns)
    heap = [(-sum(column[0][0] for column in columns), top)]
    seen = {top}
    found: list[tuple[float, list[str]]] = []
    while heap and len(found) < count:
        negative, places = heapq.heappop(heap)
        found.append(
            (-negative, [column[place][1] for column, place in zip(columns, places, strict=True)])
        )
        # The next best paths after this one take the next word of one column.
        for number, place in enumerate(places):
            following = (*places[:number], place + 1, *places[number + 1 :])
            if place + 1 < len(columns[number]) and following not in seen:
                seen.add(following)
                loss = columns[number][place][0] - columns[number][place + 1][0]
                heapq.heappush(heap, (negative + loss, following))

    return found


def compare_models(
    tune: list[NBest],
    test: list[NBest],
    bundles: dict[str, Bundle],
    seed: int,
) -> list[dict[str, Any]]:
    """Return a row for the recogniser, each model, and the best hypothesis: WER, and its fall with a 95 % interval."""
    wrong = errors_of(test)
    right = np.array([len((one.reference or "").split()) for one in test])
    first = np.array([each[0] for each in wrong])
    rows = [
        {
            "chosen by": "recogniser alone",
            "α": "",
            "β": "",
            "WER": first.sum() / right.sum(),
            "falls by": "",
        }
    ]
    for name, bundle in bundles.items():
        log_p = log_probabilities(bundle)
        weights = tune_weights(ScoredLists(tune, log_p))
        chosen = ScoredLists(test, log_p).choose(weights)
        after = np.array([each[place] for each, place in zip(wrong, chosen, strict=True)])
        rows.append(
            {
                "chosen by": name,
                "α": f"{weights.model:.2f}",
                "β": f"{weights.word:.2f}",
                "WER": after.sum() / right.sum(),
                "falls by": _falls(first, after, right, seed),
            }
        )

    oracle = np.array([min(each) for each in wrong])
    return [
        *rows,
        {
            "chosen by": "oracle",
            "α": "",
            "β": "",
            "WER": oracle.sum() / right.sum(),
            "falls by": "",
        },
    ]


def _falls(
    before: np.ndarray,
    after: np.ndarray,
    right: np.ndarray,
    seed: int,
) -> str:
    """Return the fall of the WER with its interval: a paired bootstrap of sentences (Bisani and Ney 2004)."""
    rows = np.random.default_rng(seed).integers(0, len(right), (DRAWS, len(right)))
    if len(right):
        falls = (before - after)[rows].sum(1) / right[rows].sum(1)
    else:
        falls = np.zeros(1)

    low, high = np.quantile(falls, [0.025, 0.975])
    return f"{(before - after).sum() / right.sum():.4f} ({low:.4f} to {high:.4f})"


def read_lists(file: Path) -> list[NBest]:
    """Return the n-best lists of a JSON Lines file, one a line; raise ValueError that names the line of a wrong one."""
    lists = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            pairs = [(str(one["text"]), float(one["score"])) for one in row["hypotheses"]]
            texts, scores = map(list, zip(*pairs, strict=True))
            lists.append(NBest(str(row.get("id", number)), texts, scores, row.get("reference")))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"line {number} is no list of hypotheses with text and score: {error!r}"
            ) from error

    return lists


def _of_files(options: Any, bundle: Bundle) -> None:
    scored = ScoredLists(read_lists(options.lists), log_probabilities(bundle))
    if options.use is None:
        if missing := [one.id for one in scored.lists if one.reference is None]:
            raise ValueError(
                f'list {missing[0]} has no "reference", by which the weights are chosen'
            )
        weights = tune_weights(scored)
        Path(options.weights).write_text(json.dumps(weights._asdict()), encoding="utf-8")
        print(f"α {weights.model:.3f}, β {weights.word:.3f}, written to {options.weights}")
        return

    weights = Weights(**json.loads(options.use.read_text(encoding="utf-8")))
    for one, place in zip(scored.lists, scored.choose(weights), strict=True):
        print(json.dumps({"id": one.id, "text": one.texts[place]}, ensure_ascii=False))


def main() -> None:
    """Compare models on simulated lists, or choose weights, or use them."""
    parser = program(
        __doc__,
        models=True,
        rate=0.2,
        lists_of=300,
        weights="weights.json",
    )
    parser.add_argument("--lists", type=Path, help="lists of hypotheses")
    parser.add_argument("--use", type=Path, help="weights that were chosen before")
    options = parser.parse_args()
    parts = None
    if not options.lists:
        parts = [sentences(part["text"]) for part in learnt_and_held_out(options)]

    bundles, _ = open_models(options)
    if parts is None:
        try:
            _of_files(options, next(iter(bundles.values())))
        except (OSError, ValueError, TypeError) as error:
            sys.exit(f"{options.lists}: {error}")
        return

    texts, held_out = parts
    if len(held_out) < 2 * options.lists_of:
        sys.exit(
            f"{len(held_out)} held-out sentences are too few for two times {options.lists_of} lists: "
            f"--lists-of {len(held_out) // 2}, or a longer --text and more --reviews"
        )

    for name, key in (("OCR", looks), ("speech", sounds)):
        similar = confusions((word for text in texts for word in text.split()), key)
        lists = simulate_lists(
            held_out[: 2 * options.lists_of], similar, options.rate, options.seed
        )
        print(f"{name}, {options.rate:.0%} of the words that can be confused are wrong")
        show(
            compare_models(
                lists[: options.lists_of], lists[options.lists_of :], bundles, options.seed
            )
        )


if __name__ == "__main__":
    main()
