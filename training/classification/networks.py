"""Train the neural classifiers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.base import ModelError
from models.bundles.bundle import load_bundle
from models.classification.classifier import ClassifierFit, prior
from models.classification.features.review_features import ReviewFeatures
from models.classification.network import NetworkClassifier, label_numbers
from models.classification.spec import NetworkSpec, RecurrentClassifierSpec, TfidfSpec, unlike_start
from models.classification.texts import framed, text_rows
from models.classification.tfidf_network import TfidfNetworkClassifier
from models.neural.labelling.labelled_sequences import LabelledSequences
from models.neural.recurrent import RecurrentNetwork
from training.context import FitContext
from training.labelling.fine_tuning import FineTuning
from training.labelling.labeller_fit import FittedLabeller, fit

if TYPE_CHECKING:
    from models.tokens.vocabulary import Vocabulary


def fit_network_classifier(
    spec: NetworkSpec, vocabulary: Vocabulary, train: LabelledSequences, validation: LabelledSequences,
    context: FitContext,
) -> ClassifierFit:  # fmt: skip
    """Train; a killed fit resumes from the checkpoints in `context.work`."""
    data = [LabelledSequences(framed(text_rows(one.sequences)), one.targets) for one in (train, validation)]
    fitted = train_network(spec, vocabulary, vocabulary.size, data, context)
    model = NetworkClassifier(fitted.model, vocabulary.size, prior(train.targets, len(spec.labels)))
    return ClassifierFit(model, network_figures(fitted))


def fit_tfidf_network(
    spec: TfidfSpec, vocabulary: Vocabulary, train: LabelledSequences, validation: LabelledSequences,
    context: FitContext,
) -> ClassifierFit:  # fmt: skip
    """Learn the features, then train; a killed fit resumes from the checkpoints in `context.work`."""
    texts = text_rows(train.sequences)
    features = ReviewFeatures.learn(spec, texts, vocabulary.size, context.lexicons)
    held_out = features.transform(text_rows(validation.sequences))
    data = [
        LabelledSequences(features.transform(texts), train.targets),
        LabelledSequences(held_out, validation.targets),
    ]
    fitted = train_network(spec, vocabulary, len(features), data, context)
    model = TfidfNetworkClassifier(fitted.model, features, prior(train.targets, len(spec.labels)))
    return ClassifierFit(model, {**network_figures(fitted), "features": float(len(features))})


def train_network(
    spec: NetworkSpec, vocabulary: Vocabulary, entries: int, data: list[LabelledSequences], context: FitContext
) -> FittedLabeller:
    """Train the network of a spec.

    Args:
        spec: With its labels.
        vocabulary: Must be that of the language model that the network starts from, if any.
        entries: V, or the number of features.
        data: Training and validation examples as the network reads them; targets are label numbers.
        context: Work folder, device, threads, listener, and the bundle of that language model.

    Raises:
        ModelError: kind "input": there is no such language model, or it has another vocabulary, kind or size.
    """
    if spec.numbers:
        data = [LabelledSequences(one.sequences, label_numbers(spec)[one.targets]) for one in data]
    start, tuning = None, None
    if isinstance(spec, RecurrentClassifierSpec) and spec.start:
        start = _language_model(spec, vocabulary, context)
        tuning = FineTuning(spec.rate_decay, spec.rate_ratio, spec.unfreeze_epochs)
    return fit(
        spec, entries, *data, start=start, tuning=tuning, vocabulary_digest=vocabulary.digest, device=context.device,
        threads=context.threads, report=context.report, work=context.work, vectors=context.vectors,
    )  # fmt: skip


def _language_model(spec: RecurrentClassifierSpec, vocabulary: Vocabulary, context: FitContext) -> RecurrentNetwork:
    if spec.start not in context.parts:
        available = ", ".join(map(repr, context.parts)) or "none"
        what = f"start is {spec.start!r}; there is no fitted model of this name (there is: {available})"
        raise ModelError(what, "input")
    bundle = load_bundle(context.parts[spec.start], check_probes=False)
    network = getattr(bundle.model, "network", None)
    if not isinstance(network, RecurrentNetwork):
        what = f"start is {spec.start!r}, a model of the kind {bundle.spec.kind!r}"
        raise ModelError(f"{what}; a classifier can only start from a recurrent one", "input")
    if differences := unlike_start(spec, bundle.spec):
        what = f"start is {spec.start!r}, whose network has other options; set for the classifier"
        raise ModelError(f"{what}: {differences}", "input")
    if bundle.vocabulary.digest != vocabulary.digest:
        theirs, ours = bundle.vocabulary.digest[:12], vocabulary.digest[:12]
        what = f"the language model {spec.start!r} has another vocabulary ({theirs}) than the classifier ({ours})"
        raise ModelError(f"{what}: set vocabulary of both to the same name", "input")
    return network


def network_figures(fitted: FittedLabeller) -> dict[str, float]:
    """Return the figures of a training that are not those of the model."""
    names = ("parameters", "updates", "best_update", "seconds", "seconds_per_epoch")
    return {name: fitted.summary[name] for name in names}
