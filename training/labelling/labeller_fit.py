"""Fit a classifier or tagger.

Optimiser, schedule, clipping and number format are those of the language models' recipe (`TrainingSpec`). An update
uses the gradient of the mean loss over the batch: over its sequences, or over its positions that have a target. The
gradient flows through whole sequences.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from models.base import ModelError
from models.neural.device import first_line, is_out_of_memory, limited_threads, require_device
from models.neural.labelling.labelled_sequences import LabelledSequences
from models.neural.labelling.labeller import Labeller
from models.neural.labelling.network import LabellingNetwork
from models.neural.labelling.spec import LabellingOptions
from models.neural.recurrent import RecurrentNetwork
from training.context import FitProgress
from training.labelling.fine_tuning import FineTuning
from training.labelling.labeller_trainer import Trainer
from training.neural.embedding_start import start_embedding
from training.neural.fused.chosen_layers import train_with_own_layers


class FittedLabeller(NamedTuple):
    """The model of the best evaluation, and numbers.

    These are parameters, updates, best_update, seconds, seconds_per_epoch, and the result of `Labeller.measure`.
    """

    model: Labeller
    summary: dict[str, float]


def fit(
    spec: LabellingOptions, entries: int, train: LabelledSequences, validation: LabelledSequences, *,
    start: RecurrentNetwork | None = None, tuning: FineTuning | None = None, device: str = "cpu", threads: int = 1,
    report: Callable[[FitProgress], None] = lambda progress: None,
    work: Path | None = None, vectors: Path | None = None,
) -> FittedLabeller:  # fmt: skip
    """Train on some examples, choose the best state on others.

    Equal arguments give equal weights on the CPU of the same machine with the same number of threads; on a GPU the
    weights are equal up to rounding (see `determinism_class`). Torch's random streams stay as they are.

    Args:
        spec: Task, architecture, recipe.
        entries: V of the vocabulary that made the ids.
        train: Training examples; every one is read once in an epoch.
        validation: Examples for choosing the state, `training.evaluations` times, evenly spaced over the updates: the
            one with the lowest mean loss or, with `choose_by` "macro_f1", the highest macro-F1.
        start: A language model's network; training starts from its embedding and recurrent layers.
        tuning: Rates of the parts of a network that starts from a language model; None: the same rate for all.
        device: "cpu" or "cuda".
        threads: For matrix products.
        report: Called after each evaluation with its figures; steps are tokens read.
        work: Folder of checkpoints and journal, from which a killed training resumes; None: neither is written.
        vectors: Folder of the word vectors that the embedding of a spec with `vectors` starts from.

    Raises:
        ModelError: kind "input": see `LabelledSequences.require`, `LabellingNetwork.take_over`, `start_embedding` and
            `require_device`; "diverged": a loss or gradient is not a finite number; "memory".
    """
    require_device(device)
    train.require(spec, entries)
    validation.require(spec, entries)
    if work:
        work.mkdir(parents=True, exist_ok=True)
    try:
        gpus = [torch.device(device)] if device.startswith("cuda") else []
        with limited_threads(threads), torch.random.fork_rng(devices=gpus):
            torch.manual_seed(spec.training.seed)
            network = LabellingNetwork(spec, entries, train.targets[train.asked()])
            if getattr(spec, "vectors", ""):
                start_embedding(network.embedding, spec, vectors)
            if start is not None:
                network.take_over(start)
            train_with_own_layers(network)
            model = Labeller(spec, network.to(device))
            return FittedLabeller(model, Trainer(model, train, validation, work, report, tuning).run())
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        what = f"not enough memory on {device}: {first_line(error)}; a smaller batch or hidden size needs less"
        raise ModelError(what, "memory") from error
