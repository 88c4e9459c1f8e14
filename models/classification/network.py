"""Classify by a neural network (`models/neural/labelling/`) that reads `<bos> text <eos>`.

The scores are the head's. With the loss "squared_error" the head answers a number f, such as stars, and the score of
the label with the number v is −(f − v)², so the answer is the nearest label. Such scores are not probabilities.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from ..atomic_files import save_tensors
from ..base import FitContext, ModelError, stored
from ..bundles.bundle import load_bundle
from ..neural.device import require_device
from training.labelling.fine_tuning import FineTuning
from training.labelling.fit import FittedLabeller, fit
from ..neural.labelling.labelled_sequences import LabelledSequences
from ..neural.labelling.labeller import Labeller, empty_network
from ..neural.labelling.rows import InputRows, Rows
from ..neural.recurrent import RecurrentNetwork
from training.neural.checkpoint import fill_network, network_tensors, prefixed, without_prefix
from .classifier import WEIGHTS, Classifier, ClassifierFit, prior
from .network_options import number_of
from .spec import NetworkSpec, RecurrentClassifierSpec, unlike_start
from .texts import framed, text_rows

if TYPE_CHECKING:
    from ..tokens.vocabulary import Vocabulary


class NetworkClassifier(Classifier):
    """A neural classifier.

    Args:
        labeller: Network and device.
        entries: V.
        prior_K: Share of each label in training.
    """

    def __init__(self, labeller: Labeller, entries: int, prior_K: np.ndarray) -> None:
        super().__init__(labeller.spec, entries, prior_K)
        self.labeller = labeller
        self.probabilistic = labeller.spec.loss == "cross_entropy"

    def scores_of_texts(self, texts: Rows) -> np.ndarray:
        """Return the scores of the head, or how near its number is to each label (N, K)."""
        found = self.labeller.scores(self.inputs(texts)).astype(np.float64)
        return -np.square(found - label_numbers(self.spec)) if self.spec.numbers else found

    def inputs(self, texts: Rows) -> InputRows:
        """Return what the network reads of texts without special tokens."""
        return framed(texts)

    def save(self, folder: Path) -> None:
        """Write all weights."""
        tensors = prefixed("network", network_tensors(self.labeller.network))
        save_tensors(save_file, {**tensors, "prior": torch.from_numpy(self.prior_K)}, folder / WEIGHTS)

    @classmethod
    def load(cls, folder: Path, spec: NetworkSpec, vocabulary: Vocabulary, device: str = "cpu") -> Self:
        """Open a saved classifier."""
        labeller, prior_K = open_network(folder, spec, vocabulary.size, device)
        return cls(labeller, vocabulary.size, prior_K)

    @classmethod
    def fit(
        cls, spec: NetworkSpec, vocabulary: Vocabulary, train: LabelledSequences, validation: LabelledSequences,
        context: FitContext,
    ) -> ClassifierFit:  # fmt: skip
        """Train; a killed fit resumes from the checkpoints in `context.work`."""
        data = [LabelledSequences(framed(text_rows(one.sequences)), one.targets) for one in (train, validation)]
        fitted = train_network(spec, vocabulary, vocabulary.size, data, context)
        model = cls(fitted.model, vocabulary.size, prior(train.targets, len(spec.labels)))
        return ClassifierFit(model, network_figures(fitted))


def label_numbers(spec: NetworkSpec) -> np.ndarray:
    """Return the number of each label (K), for the loss "squared_error"."""
    return np.array([number_of(label) for label in spec.labels])


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
        known = ", ".join(map(repr, context.parts)) or "none"
        raise ModelError(f"start is {spec.start!r}; there is no fitted model of this name (there is: {known})", "input")
    bundle = load_bundle(context.parts[spec.start], check_probes=False)
    network = getattr(bundle.model, "network", None)
    if not isinstance(network, RecurrentNetwork):
        what = f"start is {spec.start!r}, a model of the kind {bundle.spec.kind!r}"
        raise ModelError(f"{what}; a classifier can only start from a recurrent one", "input")
    if wanted := unlike_start(spec, bundle.spec):
        what = f"start is {spec.start!r}, whose network has other options; set for the classifier"
        raise ModelError(f"{what}: {wanted}", "input")
    if bundle.vocabulary.digest != vocabulary.digest:
        theirs, ours = bundle.vocabulary.digest[:12], vocabulary.digest[:12]
        what = f"the language model {spec.start!r} has another vocabulary ({theirs}) than the classifier ({ours})"
        raise ModelError(f"{what}: set vocabulary of both to the same name", "input")
    return network


def network_figures(fitted: FittedLabeller) -> dict[str, float]:
    """Return the figures of a training that are not those of the model."""
    names = ("parameters", "updates", "best_update", "seconds", "seconds_per_epoch")
    return {name: fitted.summary[name] for name in names}


def open_network(folder: Path, spec: NetworkSpec, entries: int, device: str) -> tuple[Labeller, np.ndarray]:
    """Open the weights of a spec; return the model and the share of each label in training."""
    require_device(device)
    with stored(f"the weights in {folder}"):
        tensors = load_file(folder / WEIGHTS)
        network = empty_network(spec, entries)
        fill_network(network, without_prefix("network", tensors))
        prior_K = tensors["prior"].numpy()
        if prior_K.shape != (len(spec.labels),):
            raise ValueError(f"there are shares of {prior_K.size} labels, not of {len(spec.labels)}")
        return Labeller(spec, network.to(device)), prior_K
