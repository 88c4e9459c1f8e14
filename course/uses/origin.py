"""Tell the language, the author or the genre of a text: one character model for each, and Bayes' rule.

    argmax_k p(k | x) = argmax_k p(k) p(x | k)

The classifier `bayes` on n-grams of characters does it (`models/classification/features.py`): complement naive Bayes,
the label whose other labels are the least likely to have the text (Rennie et al. 2003). It needs no words, so
languages without spaces can be told, too, and it is fitted in seconds.

    python -m reviewlm.course.uses.origin --train known.jsonl --test others.jsonl  # how often it is right, and its peers
    python -m reviewlm.course.uses.origin --train known.jsonl --text texts.txt     # the label of each line

Each line of --train and --test is JSON: {"text": …, "label": …}. Without --test, every fifth text of --train is held
out. Without --train, reviews of the embedded grammar are told apart by their stars. Beside it answers py3langid, if it
is installed and all labels are codes of languages that it knows, else logistic regression on words.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reviewlm.course.inputs import program, review_table, show
from reviewlm.models.classification.bundle import ClassifierBundle
from reviewlm.models.classification.spec import BayesSpec
from reviewlm.models.specs import VocabularySpec
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.training.context import FitContext
from reviewlm.training.labelling.examples import LabelledSequences
from reviewlm.training.labelling.fitting import fit_classifier
from reviewlm.training.vocabularies.learn import learn_vocabulary

ORDERS = (1, 2, 3, 4, 5)
"""Lengths of the n-grams of characters."""
CHARACTERS = 4_000
"""Maximum number of different characters; rarer ones are bytes."""
MIXED_UP = 5
DRAWS = 1_000
Answers = Callable[[list[str]], list[str]]
"""Returns the labels of texts."""


class LabelledTexts(NamedTuple):
    """Texts and their labels."""

    texts: list[str]
    labels: list[str]

    def every(self, step: int, of_it: bool) -> LabelledTexts:
        """Return every so many-th text, or all others."""
        rows = [row for row in range(len(self.texts)) if (row % step == 0) == of_it]
        return LabelledTexts([self.texts[row] for row in rows], [self.labels[row] for row in rows])


def bayes(known: LabelledTexts) -> Answers:
    """Fit the classifier `bayes` on characters; a tenth of the texts chooses the temperature of its probabilities."""
    names = tuple(sorted(set(known.labels)))
    normal = NormalForm()
    spec = BayesSpec(
        labels=names,
        orders=ORDERS,
        features=1_000_000,
    )
    texts = [normal.apply(text) for text in known.texts]
    vocabulary = learn_vocabulary(
        texts,
        VocabularySpec(
            unit="char",
            size=CHARACTERS,
            min_count=2,
        ),
        normal,
    )
    ids = vocabulary.encode_batch(texts)
    parts = []
    for validation in (False, True):
        rows = [row for row in range(len(texts)) if (row % 10 == 9) == validation]
        targets = np.array([names.index(known.labels[row]) for row in rows])
        parts.append(LabelledSequences.of([ids[row] for row in rows], targets))

    with tempfile.TemporaryDirectory() as work:
        model = fit_classifier(
            spec,
            vocabulary,
            parts[0],
            parts[1],
            FitContext(Path(work)),
        ).model

    bundle = ClassifierBundle(spec, vocabulary, model)
    return lambda texts: [names[answer] for answer in bundle.classify(texts).answers_N]


def logistic_regression(known: LabelledTexts) -> Answers:
    """Fit scikit-learn's logistic regression on tf-idf of words and pairs of words."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    features = TfidfVectorizer(
        sublinear_tf=True,
        ngram_range=(1, 2),
        min_df=2,
    )
    return make_pipeline(features, LogisticRegression(C=10, max_iter=300)).fit(*known).predict  # type: ignore[no-any-return]


def langid(labels: set[str]) -> Answers | None:
    """Return the answers of py3langid among these languages; None if it is not installed or does not know one."""
    with suppress(ImportError, ValueError):
        peer = import_module("py3langid")
        peer.set_languages(sorted(labels))
        return lambda texts: [peer.classify(text)[0] for text in texts]
    return None


def right_share(right_N: np.ndarray, seed: int) -> str:
    """Return the share of right answers with its 95 % interval (bootstrap of texts)."""
    draws = np.random.default_rng(seed).integers(0, len(right_N), (DRAWS, len(right_N)))
    low, high = np.quantile(right_N[draws].mean(1), [0.025, 0.975])
    return f"{right_N.mean():.3f} ({low:.3f} to {high:.3f})"


def confusions(labels: Sequence[str], answers: Sequence[str]) -> list[dict[str, str | int]]:
    """Return the pairs of labels that are mixed up most often, with the number of texts."""
    pairs = Counter(
        (label, answer) for label, answer in zip(labels, answers, strict=True) if label != answer
    )
    return [
        {
            "is": label,
            "was taken for": answer,
            "texts": count,
        }
        for (label, answer), count in pairs.most_common(MIXED_UP)
    ]


def read_labelled(file: Path) -> LabelledTexts:
    """Read texts with labels; raise ValueError that names the line of a wrong one."""
    rows = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            rows.append((str(row["text"]), str(row["label"])))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"line {number} is no object with text and label: {error!r}"
            ) from error

    if len({label for _, label in rows}) < 2:
        raise ValueError("it has texts of fewer than two labels")

    return LabelledTexts(*map(list, zip(*rows, strict=True)))


def main() -> None:
    """Measure on texts whose label is known, or answer for others."""
    parser = program(__doc__)
    for name in ("--train", "--test"):
        parser.add_argument(name, type=Path, help="JSON lines with text and label")

    options = parser.parse_args()
    try:
        if options.train is None:
            table = review_table(None, options.reviews, options.seed)
            known = LabelledTexts(
                table["text"].to_list(), [f"{star} stars" for star in table["stars"]]
            )
        else:
            known = read_labelled(options.train)
        if options.test:
            test = read_labelled(options.test)
        else:
            test = known.every(5, of_it=True)
    except (OSError, ValueError) as error:
        sys.exit(f"{options.train}: {error}")

    if options.text is not None:
        lines = [
            line for line in options.text.read_text(encoding="utf-8").splitlines() if line.strip()
        ]
        for label, line in zip(bayes(known)(lines), lines, strict=True):
            print(f"{label}\t{line}")
        return

    train = known
    if not options.test:
        train = known.every(5, of_it=False)

    ways = {"bayes, characters": bayes(train)}
    if peer := langid(set(train.labels)):
        ways["py3langid"] = peer
    else:
        ways["logistic regression, words"] = logistic_regression(train)

    answers = {name: way(test.texts) for name, way in ways.items()}
    print(
        f"{len(train.texts):,} texts of {len(set(train.labels))} labels; {len(test.texts):,} others are answered"
    )
    show(
        [
            {"answered by": name, "right": right_share(np.equal(test.labels, given), options.seed)}
            for name, given in answers.items()
        ]
    )
    show(confusions(test.labels, answers["bayes, characters"]))


if __name__ == "__main__":
    main()
