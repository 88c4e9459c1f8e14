"""Train a classifier or tagger with the trainer of the language models, in shuffled batches of whole sequences.

The order of an epoch follows from the seed and the epoch, and rates from the number of the update: all else is as in
`training/neural/trainer.py`, which gives the same bits after a kill.

The gradient of an update is that of the mean loss over all targets of its batch: that of the sum of all losses, divided
by the number of targets. So a batch can be read in pieces whose gradients are added up: only rounding and the draws of
dropout change. A piece has at most `micro_batch` sequences and `PIECE_POSITIONS` positions. Curves and progress count
targets: reviews of a classifier, words of a tagger.

A network that starts from a language model is fine-tuned (Howard & Ruder 2018, ULMFiT, sections 3.2 and 3.3):

    discriminative rates          η^{l−1} = η^l / rate_decay               the head has η, each part below it less
    slanted triangular rates      cut = ⌊T · share⌋                         eq. 3
                                  p   = t / cut                 for t < cut
                                  p   = 1 − (t − cut)/(T − cut) from then on
                                  η_t = η (1 + p (ratio − 1)) / ratio
    gradual unfreezing            the head is trained from the start, the part d below it from epoch d · epochs_apart

Eq. 3 has cut (1/share − 1) in place of T − cut. Both are the same where T · share is a whole number; elsewhere that
denominator is too small, and η_t could fall below 0.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reviewlm.models.base import ModelError
from reviewlm.models.classification.spec import RecurrentClassifierSpec
from reviewlm.models.neural.architectures import RecurrentNetwork
from reviewlm.models.neural.device import limited_threads, out_of_memory, require_device, to_device
from reviewlm.models.neural.labelling.labeller import Labeller, input_tensors
from reviewlm.models.neural.labelling.network import LabellingNetwork
from reviewlm.models.neural.labelling.rows import PaddedBatch
from reviewlm.models.neural.labelling.spec import LabellingOptions
from reviewlm.models.neural.network import network_tensors
from reviewlm.models.neural.output import NOT_SCORED
from reviewlm.models.neural.spec import TrainingSpec
from reviewlm.models.options import identity
from reviewlm.training.context import CHECKPOINTS, FitContext, FitProgress, ModelFit
from reviewlm.training.labelling.examples import LOSS, LabelledSequences, measure, shuffle_rows
from reviewlm.training.neural.callbacks import ValidationResult
from reviewlm.training.neural.checkpoint import Checkpoints, Journal
from reviewlm.training.neural.checkpointing import BackOff, Checkpointing
from reviewlm.training.neural.fused.chosen_layers import train_with_own_layers
from reviewlm.training.neural.optimizers import make_rule
from reviewlm.training.neural.progress import Curves, ProgressReport
from reviewlm.training.neural.state import TrainingState
from reviewlm.training.neural.step import Divergence, UpdateStep
from reviewlm.training.neural.tbptt import Memory, Sums
from reviewlm.training.neural.trainer import BestWeights, make_updates
from reviewlm.training.vectors.stored_rows import start_embedding

PIECE_POSITIONS = 131_072
"""Padded positions that are read at a time, unless a single sequence is longer."""


def slanted_triangular(
    update: int,
    updates: int,
    peak: float,
    share: float,
    ratio: float,
) -> float:
    """Return the rate η_t of an update (t, from 0) of all *updates* (T); the other arguments as in the equations."""
    cut = math.floor(updates * share)
    if update < cut:
        p = update / cut
    else:
        p = 1 - (update - cut) / (updates - cut)

    return peak * (1 + p * (ratio - 1)) / ratio


def fit(
    spec: LabellingOptions,
    entries: int,
    train: LabelledSequences,
    validation: LabelledSequences,
    context: FitContext,
    *,
    start: RecurrentNetwork | None = None,
    tuning: RecurrentClassifierSpec | None = None,
) -> ModelFit[Labeller]:
    """Train on some examples, choose the best state on others.

    Equal arguments give equal weights on the CPU of the same machine with the same number of threads; on a GPU the
    weights are equal up to rounding (`checkpointing.determinism_class`). Torch's random streams stay as they are.

    Args:
        spec: Task, architecture, recipe.
        entries: V of the vocabulary that made the ids.
        train: Training examples; every one is read once in an epoch.
        validation: Examples for choosing the state, `training.evaluations` times, evenly spaced over the updates: the
            one with the lowest mean loss or, with `choose_by` "macro_f1", the highest macro-F1.
        context: Work folder of checkpoints and journal, from which a killed training resumes; device, threads,
            listener; `vectors` for a spec that names some.
        start: A language model's network; training starts from its embedding and recurrent layers.
        tuning: The spec, of a network that starts from a language model: rates of its parts; None: one rate for all.

    Returns:
        The model of the best evaluation; parameters, updates, seconds, seconds_per_epoch, divergences, and the result
        of `measure`.

    Raises:
        ModelError: kind "input": see `LabelledSequences.require`, `take_over`, `start_embedding` and
            `require_device`; "diverged": a loss or gradient is not a finite number, even at an eighth of the rate;
            "memory".
    """
    require_device(context.device)
    train.require(spec, entries)
    validation.require(spec, entries)
    context.work.mkdir(parents=True, exist_ok=True)
    gpus = []
    if context.device.startswith("cuda"):
        gpus = [torch.device(context.device)]

    name = getattr(spec, "name", spec.task)
    with (
        limited_threads(context.threads),
        out_of_memory(name, context.device),
        torch.random.fork_rng(devices=gpus),
    ):
        torch.manual_seed(spec.training.seed)
        network = LabellingNetwork(spec, entries, train.targets[train.with_target()])
        if getattr(spec, "vectors", ""):
            start_embedding(network.embedding, spec, context.vectors)
        if start is not None:
            take_over(network, start)
        train_with_own_layers(network)
        model = Labeller(spec, network.to(context.device))
        summary = train_labeller(
            model,
            train,
            validation,
            context,
            tuning,
        )
        return ModelFit(model, {**summary, **measure(model, validation)})


def train_labeller(
    model: Labeller,
    train: LabelledSequences,
    validation: LabelledSequences,
    context: FitContext,
    tuning: RecurrentClassifierSpec | None,
) -> dict[str, float]:
    """Train the network of a model in place; afterwards it holds the best weights. See `fit`, also for the result."""
    network = model.network
    training = model.spec.training
    plan = SequencePlan(train, model.spec.training)
    state = LabellerState(network.train(), plan, tuning)
    same = _identity(model, train, validation)
    journal = Journal(context.work)
    checkpointing = Checkpointing(state, Checkpoints(context.work / CHECKPOINTS), journal, same)
    curves = Curves(state, journal)
    total = round(training.epochs * len(train.with_target()))
    report = ProgressReport(state, total, context.report, None)
    callbacks = (BestWeights(state), curves, checkpointing, BackOff(state, checkpointing), report)
    step = LabellerStep(state, curves.write, model.spec, train)
    make_updates(
        plan,
        state,
        step,
        callbacks,
        lambda: _evaluate(state, model, validation),
    )
    network.requires_grad_(True)
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "updates": plan.updates,
        "seconds": state.metrics.seconds,
        "seconds_per_epoch": state.metrics.seconds * plan.per_epoch / plan.updates,
        "divergences": state.metrics.divergences,
    }


@dataclass(frozen=True)
class SequenceBatch:
    """The numbers of the sequences of an update, which is number `index` of `of` in its epoch."""

    rows_B: np.ndarray
    index: int
    of: int


class SequencePlan:
    """The updates of a training on whole sequences; attributes as those of `reviewlm.training.neural.batches.Plan`."""

    def __init__(self, examples: LabelledSequences, training: TrainingSpec) -> None:
        self.sequences = examples.sequences
        self.training = training
        self.per_epoch = math.ceil(len(self.sequences) / training.batch)
        self.updates = max(1, math.ceil(training.epochs * self.per_epoch))
        count = training.evaluations
        self.evaluations = {math.ceil((index + 1) * self.updates / count) for index in range(count)}

    def rest_of_epoch(self, done: int) -> Iterator[tuple[SequenceBatch, None]]:
        """Yield the sequences of each update that is left of this epoch, or of the training."""
        epoch, first = divmod(done, self.per_epoch)
        draw = np.random.default_rng([self.training.seed, 2, epoch])
        groups = list(shuffle_rows(self.sequences, draw, self.training.batch))
        for index in range(first, min(self.per_epoch, first + self.updates - done)):
            yield SequenceBatch(groups[index], index, self.per_epoch), None


class LabellerState(TrainingState):
    """The state of a training on whole sequences: nothing is remembered from batch to batch.

    Args:
        network: With its initial weights, in training mode.
        plan: Its updates, and the recipe: optimiser, rate, and without *tuning* the schedule.
        tuning: See `fit`.

    Attributes:
        figures: Those of the latest evaluation.
    """

    def __init__(
        self,
        network: LabellingNetwork,
        plan: SequencePlan,
        tuning: RecurrentClassifierSpec | None,
    ) -> None:
        training = plan.training
        self.per_epoch = plan.per_epoch
        self.tuning = tuning
        self.figures: dict[str, float] = {}
        parts: list[nn.Module] = [network]
        if tuning:  # from the answer to the input
            parts = [network.head, *reversed(network.encoder.layers), network.embedding]

        self.parts: list[list[nn.Parameter]] = []
        groups: list[dict[str, Any]] = []
        for depth, part in enumerate(parts):
            parameters = [weight for weight in part.parameters() if weight.requires_grad]
            self.parts.append(parameters)
            matrices = [weight for weight in parameters if weight.ndim >= 2]
            others = [weight for weight in parameters if weight.ndim < 2]
            for chosen, decay in ((matrices, training.weight_decay), (others, 0.0)):
                if chosen:
                    groups.append(
                        {
                            "params": chosen,
                            "weight_decay": decay,
                            "depth": depth,
                        }
                    )

        super().__init__(network, training, plan.updates, optimizer=make_rule(groups, training))  # type: ignore[arg-type]

    def forget(self) -> None:
        """Hold a memory of nothing."""
        self.memory = Memory(
            (), torch.zeros(self.training.batch, 0, dtype=torch.int64, device=self.device)
        )

    def rate(self, update: int) -> float:
        """Return the highest rate of all parts, the head's, at an update."""
        if self.tuning is None:
            return super().rate(update)

        training = self.training
        ratio = self.tuning.rate_ratio
        peak = slanted_triangular(
            update,
            self.total_updates,
            training.learning_rate,
            training.warmup,
            ratio,
        )
        return peak * self.metrics.rate_factor

    def set_rates(self, share: float = 1.0) -> None:
        """Set the rates of all parts for the next update, and freeze those that it does not train."""
        super().set_rates(share)
        if self.tuning is None:
            return

        for group in self.optimizer.param_groups:
            group["lr"] /= self.tuning.rate_decay ** group["depth"]

        for depth, parameters in enumerate(self.parts):
            trained = self.metrics.updates >= math.ceil(
                depth * self.tuning.unfreeze_epochs * self.per_epoch
            )
            for parameter in parameters:
                parameter.requires_grad_(trained)

    def progress(self, updates: int, total_tokens: int) -> FitProgress:
        """See `TrainingState.progress`."""
        return FitProgress(self.metrics.tokens, total_tokens, self.figures)


class LabellerStep(UpdateStep):
    """One update by some sequences.

    Args:
        state, record: See `UpdateStep`.
        spec: Of the network.
        examples: Training examples.
    """

    def __init__(
        self,
        state: TrainingState,
        record: Callable[[Mapping[str, float]], None],
        spec: LabellingOptions,
        examples: LabelledSequences,
    ) -> None:
        super().__init__(state, record)
        self.spec = spec
        self.examples = examples

    def __call__(self, rows: SequenceBatch, keep: None = None) -> None:
        """Take one step along the mean gradient over all targets of some sequences; without targets take none."""
        sums = self.gradient(rows.rows_B)
        if sums.tokens:
            self.apply(sums, sums.tokens)

    def gradient(self, rows_B: np.ndarray) -> Sums:
        """Add up the gradient of the summed loss; see `UpdateStep.add_up`."""
        state = self.state
        state.set_rates()  # parts that are frozen at this update get no gradient

        def add() -> tuple[Sums, Memory]:
            network: Any = state.network
            return add_gradients(
                network,
                self.examples,
                rows_B,
                self.spec,
                state.metrics.micro_batch,
            ), state.memory

        return self.add_up(add, len(rows_B))[0]


def add_gradients(
    network: LabellingNetwork,
    examples: LabelledSequences,
    rows_B: np.ndarray,
    spec: LabellingOptions,
    micro_batch: int,
) -> Sums:
    """Add the gradient of the summed loss of some sequences to that of the parameters, *micro_batch* at a time."""
    nats = torch.zeros((), dtype=torch.float64, device=network.device)
    targets = 0
    for piece in pieces(examples.sequences.lengths[rows_B], micro_batch):
        batch = examples.sequences.batch(rows_B[piece])
        features_NF, targets_N = asked_features(
            network, batch, examples.of_rows(spec, rows_B[piece])
        )
        if len(targets_N):
            loss = F.cross_entropy(network.head(features_NF), targets_N, reduction="sum")
            loss.backward()
            nats = nats + loss.detach()
            targets += len(targets_N)

    return Sums(nats if nats.is_cuda else float(nats), targets)


def pieces(lengths_B: np.ndarray, most: int) -> Iterator[slice]:
    """Yield the sequences of a batch in their order, *most* or fewer at a time; see `PIECE_POSITIONS`."""
    first = 0
    while first < len(lengths_B):
        longest_R = np.maximum.accumulate(lengths_B[first : first + most])
        fits_R = longest_R * np.arange(1, len(longest_R) + 1) <= PIECE_POSITIONS
        last = first + max(1, int(fits_R.sum()))
        yield slice(first, last)
        first = last


def asked_features(
    network: LabellingNetwork,
    batch: PaddedBatch,
    targets: np.ndarray,
) -> tuple[Tensor, Tensor]:
    """Return the features that have a target, and the targets (int64)."""
    features_NF = network(*input_tensors(batch, network.device))
    # Chosen here: a mask on a GPU would make the host wait for it.
    scored = np.flatnonzero(targets != NOT_SCORED)
    targets_N = to_device(torch.from_numpy(targets[scored].astype(np.int64)), network.device)
    if len(scored) < len(targets):
        features_NF = features_NF[to_device(torch.from_numpy(scored), network.device)]
    return features_NF, targets_N


def _evaluate(
    state: LabellerState,
    model: Labeller,
    validation: LabelledSequences,
) -> ValidationResult:
    """Measure on validation, with the averaged weights if there is an average.

    Raises:
        Divergence: The loss is not finite.
    """
    state.settle()
    with state.use_average():
        model.network.eval()
        state.figures = figures = measure(model, validation)
        model.network.train()

    if not math.isfinite(figures[LOSS]):
        raise Divergence(f"validation loss {figures[LOSS]}")

    rank = figures[LOSS]
    if model.spec.choose_by == "macro_f1":
        rank = 1e-9 * rank - figures["macro_f1"]  # the loss decides between equal ones

    return ValidationResult(rank, rank < state.metrics.best_nats, True, figures)


def _identity(model: Labeller, *data: LabelledSequences) -> dict[str, Any]:
    """Return the values that must be equal in a checkpoint and this training on these examples (JSON values)."""
    content = hashlib.sha256()
    for _, tensor in sorted(network_tensors(model.network).items()):
        content.update(tensor.numpy().tobytes())
    for one in data:
        for array in (one.sequences.ids_P, one.sequences.offsets, one.targets):
            content.update(
                f"{array.dtype} {array.shape} ".encode() + np.ascontiguousarray(array).data
            )
    return json.loads(json.dumps({"spec": identity(model.spec), "content": content.hexdigest()}))  # type: ignore[no-any-return]


def take_over(network: LabellingNetwork, trained: RecurrentNetwork) -> None:
    """Copy embedding and recurrent layers of a language model, which was trained on more text than has labels.

    Raises:
        ModelError: kind "input": the network also reads from the end, which no language model does; or a shape differs.
    """
    if network.encoder.backwards:
        raise ModelError(
            "a language model reads from the beginning only: bidirectional must be false", "input"
        )

    for ours, theirs in (
        (network.embedding, trained.embedding),
        (network.encoder.layers, trained.layers),
    ):
        try:
            ours.load_state_dict(theirs.state_dict())
        except RuntimeError as error:
            raise ModelError(f"the language model has another form: {error}", "input") from error
