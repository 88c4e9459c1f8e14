"""Compare two registered classifiers on the same test reviews."""

from __future__ import annotations

from typing import Any

from core.config.run_config import RunConfig
from core.errors import InputError
from core.model_errors import converted_errors
from core.store import Artifact
from evaluation.classification.compare import compare
from evaluation.classification.figures import ClassifierFigures, figures
from models.classification.bundle import load_classifier
from tasks.classification.compare import predicted, row_of
from tasks.classification.labels import LABELLINGS
from tasks.classification.predict import predict_bundle, predictions_of
from tasks.data.documents import documents_of
from tasks.stage import stage
from tracking.logged_models.lookup import find_version
from tracking.logged_models.opening import locate, nothing_registered
from tracking.registry.versions import Reference


@stage("compare two classifiers")
def compare_two_classifiers(config: RunConfig, clean: Artifact, first: str, second: str) -> dict[str, Any]:
    """Let two registered classifiers answer the test reviews; return their figures and what to conclude.

    Raises:
        BundleError: There is no such version, or it cannot be opened.
        InputError: A version predicts something else than `classification.label`.
    """
    documents, answers, named = documents_of(clean), {}, {}
    for letter, reference in (("A", first), ("B", second)):
        tracker, address = locate(config.asking(config.classification.model_name), reference)
        found = find_version(tracker, Reference.parse(address))
        if found is None:
            raise nothing_registered(tracker, address, "no champion: run `reviewlm classify fit` first")
        with converted_errors(found.folder):
            bundle = load_classifier(found.folder)
        if bundle.labels != LABELLINGS[config.classification.label].names:
            raise InputError(
                "This version predicts something else", where=address, value=", ".join(bundle.labels),
                remedy="say what it predicts, e.g. --set classification.label=polarity",
            )
        named[letter] = f"{found.version.name} version {found.version.version} ({bundle.spec.name})"
        rows = predictions_of(predict_bundle(config, found.folder, clean, "test", named[letter]).artifact)
        answers[letter] = predicted(bundle.labels, rows, documents)
    drawn: dict[str, Any] = config.evaluation.model_dump(include={"confidence", "resamples", "seed"})
    gain = compare(answers["A"], answers["B"], **drawn)
    found_a: ClassifierFigures = figures(answers["A"])
    return {
        "a": named["A"], "b": named["B"], "label": config.classification.label, "reviews": found_a.reviews,
        "models": [
            {"name": named[letter], "kind": letter, "test": row_of(config, letter, rows, answers["A"])}
            for letter, rows in answers.items()
        ],
        "majority": {"label": found_a.majority_label, "accuracy": found_a.majority_accuracy},
        "only_a": gain.only_a, "only_b": gain.only_b, "p_value": gain.p_value,
        "sentence": (
            f"B is right and A wrong on {gain.only_b} reviews, A right and B wrong on {gain.only_a} "
            f"(McNemar's exact test p = {gain.p_value:.2g}). Macro-F1 of B is {100 * gain.macro_f1.estimate:+.2f} "
            f"points from A's, {drawn['confidence']:.0%} interval {100 * gain.macro_f1.low:+.2f} to "
            f"{100 * gain.macro_f1.high:+.2f}."
        ),
    }  # fmt: skip
