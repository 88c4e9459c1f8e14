"""Compare two registered classifiers on the same test reviews, without those that one of them has learnt from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from core.config.run_config import RunConfig
from core.errors import EmptyInput, InputError, converted_errors
from core.store import Artifact
from corpus.splitting.split import TABLE, scan_split
from evaluation.classification.compare import ClassifierComparison, compare
from evaluation.classification.figures import ClassifierFigures, Predicted, figures
from models.classification.bundle import load_classifier
from tasks.classification.compare import predicted, row_of
from tasks.classification.field_labels import labels_of_prepared
from tasks.classification.labelling import LABELLINGS
from tasks.classification.predict import predict_bundle, predictions_of
from tasks.data.documents import documents_of
from tasks.promotion.ancestry import learnt_data
from tasks.stage import stage
from tracking.registry.opening import find_classifier


@dataclass(frozen=True)
class ComparedClassifier:
    """A registered classifier with its answers.

    Args:
        letter: "A" or "B".
        name: Registered name, version and classifier.
        labels: Names of its labels.
        rows: Its answers on all test reviews.
        learnt: Ids of the test reviews that it was fitted or chosen on.
        problems: Sentences about what is not known of its training data.
    """

    letter: str
    name: str
    labels: tuple[str, ...]
    rows: pl.DataFrame
    learnt: frozenset[str]
    problems: tuple[str, ...]

    @property
    def notes(self) -> list[str]:
        """What a reader must know about the test reviews and this classifier."""
        share = f"{len(self.learnt):,} of the {self.rows.height:,} test reviews"
        left_out = [f"{self.letter} was fitted or chosen on {share}: they are left out"] if self.learnt else []
        unknown = f"it is not known whether {self.letter} learnt from these test reviews: "
        return [*left_out, *(unknown + problem for problem in self.problems)]


@stage("compare two classifiers")
def compare_two_classifiers(config: RunConfig, clean: Artifact, first: str, second: str) -> dict[str, Any]:
    """Let two registered classifiers answer the test reviews; return their figures and what to conclude.

    Reviews that either of them was fitted or chosen on are left out: the split of today need not be that of its run.

    Raises:
        BundleError: There is no such version, or it cannot be opened.
        InputError: A version predicts something else than `classification.label`.
        EmptyInput: The two have learnt from all of these test reviews.
    """
    labels = labels_of_prepared(config, clean)
    sides = [_side(config, clean, labels, letter, reference) for letter, reference in (("A", first), ("B", second))]
    if sides[0].labels != sides[1].labels:
        raise _something_else(config, sides[1].name, f"{sides[1].labels}, and the other {sides[0].labels}")
    left_out = sides[0].learnt | sides[1].learnt
    answers = _answers(clean, sides, left_out)
    drawn: dict[str, Any] = {
        name: getattr(config.evaluation, name) for name in ("confidence", "resamples", "seed")
    }
    gain = compare(answers["A"], answers["B"], **drawn)
    found_a: ClassifierFigures = figures(answers["A"])
    return {
        "a": sides[0].name, "b": sides[1].name, "label": config.classification.label, "reviews": found_a.reviews,
        "left_out": len(left_out), "notes": [note for side in sides for note in side.notes],
        "models": [
            {"name": side.name, "kind": side.letter,
             "test": row_of(config, side.letter, answers[side.letter], answers["A"])}
            for side in sides
        ],
        "majority": {"label": found_a.majority_label, "accuracy": found_a.majority_accuracy},
        "only_a": gain.only_a, "only_b": gain.only_b,
        "sentence": _sentence(gain, drawn["confidence"]),
    }  # fmt: skip


def learnt_reviews(config: RunConfig, bundle: Path, clean: Artifact) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return the ids of test reviews that a bundle, its parts or its start weights were fitted or chosen on.

    The second value has a sentence about each data set that cannot be looked at. The prepared data's own training
    reviews need no search: no text is in two of its splits.
    """
    data, problems = learnt_data(config, bundle)
    earlier = (then for digest, then in data.items() if digest != clean.digest)
    review_ids = set[str]().union(*(_test_reviews_known(then, clean) for then in earlier))
    return frozenset(review_ids), tuple(problems)


def _test_reviews_known(then: Artifact, clean: Artifact) -> set[str]:
    """Return the ids of the test reviews of *clean* whose id or text was in another split than "test" of *then*."""
    test = scan_split(clean.folder, "test")
    before = pl.scan_parquet(then.folder / TABLE).filter(pl.col("split") != "test")
    matches = [test.join(before, on=key, how="semi").select("review_id").collect() for key in ("review_id", "text")]
    return set(pl.concat(matches)["review_id"].to_list())


def _side(
    config: RunConfig, clean: Artifact, labels: Artifact | None, letter: str, reference: str
) -> ComparedClassifier:
    classifier = find_classifier(config, reference)
    with converted_errors(classifier.folder):
        bundle = load_classifier(classifier.folder)
    name = f"{classifier.version.name} version {classifier.version.version}"
    label = config.classification.label
    other_names = label in LABELLINGS and bundle.labels != LABELLINGS[label].names
    if other_names or bundle.facts.get("label", label) != label:
        raise _something_else(config, name, ", ".join(bundle.labels))
    name = f"{name} ({bundle.spec.name})"
    rows = predictions_of(predict_bundle(config, classifier.folder, clean, "test", name, labels).artifact)
    learnt, problems = learnt_reviews(config, classifier.folder, clean)
    return ComparedClassifier(letter, name, bundle.labels, rows, learnt & set(rows["review_id"]), problems)


def _something_else(config: RunConfig, name: str, labels: str) -> InputError:
    return InputError(
        "This version predicts other labels", where=name, value=labels,
        cause=f"the labels of this comparison are those of `classification.label={config.classification.label}`",
        remedy="compare versions with the same labels; with --preset, also say what they predict, e.g. --set "
        "classification.label=polarity",
    )


def _answers(clean: Artifact, sides: list[ComparedClassifier], left_out: frozenset[str]) -> dict[str, Predicted]:
    """Return the answers of both on the reviews that neither has learnt from."""
    documents, common = documents_of(clean), ~pl.col("review_id").is_in(list(left_out))
    rows = {side.letter: side.rows.filter(common) for side in sides}
    if rows["A"].is_empty():
        raise EmptyInput(
            "There is no test review that neither version has learnt from", where=str(clean.folder),
            value=f"{sides[0].rows.height:,} test reviews, {len(left_out):,} of them learnt",
            cause="the versions were fitted on other splits of the same reviews, or no test review has a label",
            remedy="give reviews that neither version knows: --input FILES",
        )
    return {side.letter: predicted(side.labels, rows[side.letter], documents) for side in sides}


def _sentence(gain: ClassifierComparison, confidence: float) -> str:
    points = gain.macro_f1
    return (
        f"B is right and A wrong on {gain.only_b} reviews, A right and B wrong on {gain.only_a}. "
        f"Macro-F1 of B is {100 * points.estimate:+.2f} points from "
        f"A's, {confidence:.0%} interval {100 * points.low:+.2f} to {100 * points.high:+.2f}."
    )
