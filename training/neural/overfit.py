"""Overfit one small batch as a sanity check: a faulty network, loss or optimiser cannot bring the loss near zero."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from models.neural.device import limited_threads
from models.specs import NPLMSpec, RecurrentSpec, TrainingSpec, model_class
from training.neural.batches import Plan
from training.neural.state import TrainingState
from training.neural.step import TrainingStep

if TYPE_CHECKING:
    from models.streams import TokenStream

GOAL = 0.1
"""Nats per token. Two streams that begin alike and go on differently cost at least 0.03 of it."""
STREAMS, POSITIONS, UPDATES, WIDTH = 2, 24, 400, 64


def overfit_one_batch(spec: RecurrentSpec | NPLMSpec, vocabulary_size: int, stream: TokenStream) -> tuple[float, int]:
    """Train a small network of these options on the first window of a stream until its loss is below `GOAL`.

    The step is that of a real training; dropout and other noise are off, the loss is exact, the optimiser is AdamW.

    Returns:
        The last loss in nats per token, and the number of updates, at most `UPDATES`.
    """
    from models.streams import unigram_counts

    training = TrainingSpec(
        epochs=1, batch=STREAMS, bptt_len=POSITIONS, learning_rate=1e-2, warmup=0.0, weight_decay=0.0,
        state_reset_prob=0.0, evaluations=1, precision="float32", schedule="constant", seed=spec.training.seed,
    )
    counts_V = torch.from_numpy(np.asarray(unigram_counts(stream, vocabulary_size), dtype=np.int64))
    with torch.random.fork_rng(devices=[]), limited_threads(1):
        torch.manual_seed(spec.training.seed)
        network = model_class(spec.kind).build(_without_noise(spec, training), counts_V)
        window, _ = next(Plan(stream, training).rest_of_epoch(0))
        x_BT, y_BT = torch.from_numpy(window.x_BT), torch.from_numpy(window.y_BT)
        state = TrainingState(network.train(), training, UPDATES)
        step = TrainingStep(state, lambda figures: None)
        for update in range(UPDATES + 1):
            sums, _ = step.gradient(x_BT, y_BT, None)
            loss = float(sums.nats) / max(sums.tokens, 1)
            if loss < GOAL or update == UPDATES:
                return loss, update
            step.apply(sums, *y_BT.shape)
    raise AssertionError("unreachable")


def _without_noise(spec: RecurrentSpec | NPLMSpec, training: TrainingSpec) -> Any:
    width, objective = {"hidden": WIDTH, "embedding": WIDTH}, replace(spec.objective, estimator="exact", samples=1_024)
    common: dict[str, Any] = {**width, "objective": objective, "training": training, "dropout": 0.0}
    if isinstance(spec, NPLMSpec):
        return replace(spec, context=POSITIONS, **common)
    common |= {"embedding_dropout": 0.0, "weight_drop": 0.0, "input_dropout": None, "output_dropout": None}
    return replace(spec, layers=min(spec.layers, 2), variational=False, **common)
