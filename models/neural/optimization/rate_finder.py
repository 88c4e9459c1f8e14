"""Run the learning-rate range test: train briefly with a rising rate, and find the rate at which the loss explodes.

Smith 2017, "Cyclical learning rates for training neural networks", section 3.3. The rate rises exponentially, by the
same factor at every update. The test uses the initial weights and options of the fit that it is for: same data,
windows, optimiser and clipping. It keeps only the losses.

It reads three rates from the curve of the loss against the logarithm of the rate:

    steepest     where the smoothed loss falls fastest, if it falls at all: plain SGD learns too slowly for that
    diverged     where the loss is half a nat above its lowest value, or the losses end: too high
    suggestion   a tenth of `diverged`, the peak for a schedule that warms up and cools down; `steepest` where the
                 sweep ended without divergence
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...base import ModelError
from ...batches import Window, make_batches
from ...specs import TrainingSpec, model_class
from ..device import limited_threads, require_device
from ..embedding_start import start_embedding
from ..lm import NeuralSpec
from ..network import Network
from ..out_of_memory import out_of_memory
from ..training.tbptt import Memory
from ..training.window_gradient import add_gradients
from .clipping import scale_and_clip
from .optimizers import make_optimizer

if TYPE_CHECKING:
    from ...streams import TokenStream

UPDATES = 150
SMOOTHING = 0.8
"""Weight of a loss in the smoothed curve, per update of distance, in both directions."""
RISE = 0.5
"""Nats per token above the lowest smoothed loss that count as divergence."""
FALL = 0.1
"""Nats per token that the smoothed loss must fall by; a smaller fall may be chance."""
ENOUGH = 2.0
"""Nats per token above the lowest loss so far; the sweep stops after `IN_A_ROW` losses in a row above that."""
IN_A_ROW = 5
WITHOUT_PART = (
    "epochs", "warmup", "schedule", "final_rate", "evaluations", "patience", "ema", "loss_spike_threshold", "start",
    "state_reset_prob",
)  # fmt: skip
"""Training options that a sweep ignores: its rate only rises, from initial weights, without validation."""
LEAST = 20
"""Number of losses that a curve needs."""
RANGES = {"gd": (1e-3, 1e3), "sgd": (1e-3, 1e3), "nt_asgd": (1e-3, 1e3), "momentum": (1e-3, 1e2),
          "nesterov": (1e-3, 1e2), "adadelta": (1e-3, 1e3), "adagrad": (1e-5, 1e1)}  # fmt: skip
USUAL_RANGE = 1e-5, 1.0
"""Lowest and highest rate of a sweep, for optimisers that divide by the size of the gradient (RMSprop, Adam …)."""


@dataclass(frozen=True)
class RateSweep:
    """A finished sweep; all losses are training losses per token, before the step with that rate.

    Args:
        rates: Of each update, rising.
        nats: Loss of each update's window.
        smoothed: The same, smoothed in both directions.
        steepest: Rate at which `smoothed` falls fastest; None where it does not fall.
        diverged: The lowest rate that is too high; None where the sweep ended before.
        in_nats: True if the losses are nats. False if the training loss is an estimator's; the limits of this module
            were chosen for nats but apply to it too.
    """

    rates: tuple[float, ...]
    nats: tuple[float, ...]
    smoothed: tuple[float, ...]
    steepest: float | None
    diverged: float | None
    in_nats: bool = True

    @property
    def suggestion(self) -> float:
        """A peak rate to try first, with two digits."""
        found = self.steepest if self.diverged is None else self.diverged / 10
        assert found is not None  # `read_curve` refuses a curve that has neither
        return float(f"{found:.2g}")


def swept_range(rule: str, lowest: float | None, highest: float | None) -> tuple[float, float]:
    """Return the first and the last rate of a sweep; None uses the optimiser's usual range."""
    usual = RANGES.get(rule, USUAL_RANGE)
    return usual[0] if lowest is None else lowest, usual[1] if highest is None else highest


def exponential_rates(lowest: float, highest: float, updates: int) -> list[float]:
    """Return rates from the lowest to the highest, each the same factor above the one before.

    Raises:
        ModelError: kind "input": not 0 < lowest < highest, or fewer updates than a curve needs.
    """
    if not 0 < lowest < highest < math.inf:
        raise ModelError(f"the rates go from {lowest:g} to {highest:g}; they must rise, from above 0", "input")
    if updates < LEAST:
        raise ModelError(f"{updates} updates are too few for a curve; at least {LEAST} are needed", "input")
    return [float(rate) for rate in np.geomspace(lowest, highest, updates)]


def read_curve(rates: list[float], nats: list[float]) -> RateSweep:
    """Read the rates of a `RateSweep` from a curve of losses.

    Args:
        rates: Of each update.
        nats: Measured losses; fewer than rates if the next one was not finite or the sweep stopped early.

    Raises:
        ModelError: kind "diverged": it diverged so early that there is no curve; "input": it neither fell nor rose.
    """
    if len(nats) < LEAST:
        raise ModelError(
            f"the loss exploded after {len(nats)} updates, at a rate of {rates[len(nats)]:g}; begin the sweep lower",
            "diverged",
        )
    hopeless = max(nats[0], min(nats) + ENOUGH)
    smoothed = _smoothed(np.minimum(nats, hopeless))  # else an explosion would raise the smoothed losses long before it
    lowest = int(np.argmin(smoothed))
    slope = np.gradient(smoothed, np.log(rates[: len(nats)]))
    falls = smoothed[: lowest + 1].max() - smoothed[lowest] > FALL
    beyond = np.flatnonzero(smoothed[lowest:] > smoothed[lowest] + RISE)
    steepest = rates[int(np.argmin(slope[: lowest + 1]))] if falls else None
    diverged = rates[lowest + int(beyond[0])] if len(beyond) else rates[len(nats)] if len(nats) < len(rates) else None
    if steepest is None and diverged is None:
        ends = f"{rates[0]:g} to {rates[-1]:g}"
        raise ModelError(f"the loss neither fell nor rose at rates from {ends}; sweep higher, or longer", "input")
    return RateSweep(tuple(rates[: len(nats)]), tuple(nats), tuple(smoothed.tolist()), steepest, diverged)


def _smoothed(nats_N: np.ndarray) -> np.ndarray:
    """Return at each place the mean of all losses, weighted by `SMOOTHING` to the power of the distance: no lag."""
    places = np.arange(len(nats_N))
    weights_NN = SMOOTHING ** np.abs(places[:, None] - places)
    return weights_NN @ nats_N / weights_NN.sum(1)


def find_rate(
    spec: NeuralSpec,
    stream: TokenStream,
    lowest: float | None = None,
    highest: float | None = None,
    updates: int = UPDATES,
    device: str = "cpu",
    threads: int = 1,
    report: Callable[[int, float], Any] = lambda done, nats: None,
    vectors: Path | None = None,
) -> RateSweep:
    """Sweep the learning rate of a model from the initial weights of its fit.

    Args:
        spec: Its `training` gives optimiser, batch, window, clipping, penalties and seed; the learning rate and
            the options in `WITHOUT_PART` are ignored.
        stream: Training reviews; read again from the start if there are too few.
        lowest: First rate; None uses the optimiser's usual range (`RANGES`).
        highest: Last rate.
        updates: Of the whole sweep.
        device: "cpu" or "cuda".
        threads: For matrix products.
        report: Called with the updates done and the last loss.
        vectors: Folder of the word vectors that the embedding of a spec with `vectors` starts from.

    Raises:
        ModelError: kind "input": no token to predict, rates that do not rise, a device that does not exist, or see
            `start_embedding`; "diverged": at once; "memory".
    """
    require_device(device)
    rates = exponential_rates(*swept_range(spec.training.optimizer, lowest, highest), updates)
    if stream.tokens == 0:
        raise ModelError("the training stream has no token to predict", "input")
    from ...streams import unigram_counts

    counts_V = torch.from_numpy(np.asarray(unigram_counts(stream, stream.vocabulary_size), dtype=np.int64))
    devices = [torch.device(device)] if device == "cuda" else []
    with limited_threads(threads), out_of_memory(spec, device), torch.random.fork_rng(devices=devices):
        torch.manual_seed(spec.training.seed)
        network = model_class(spec.kind).build(spec, counts_V)
        if spec.vectors:
            start_embedding(network.embedding, spec, vectors)
        network = network.to(device).train()
        torch.manual_seed(spec.training.seed)
        nats = _sweep(network, stream, spec.training, rates, report)
        in_nats = network.output.reports_nats
    return replace(read_curve(rates, nats), in_nats=in_nats)


def _sweep(
    network: Network,
    stream: TokenStream,
    training: TrainingSpec,
    rates: list[float],
    report: Callable[[int, float], Any],
) -> list[float]:
    """Return the losses: fewer than rates if they exploded."""
    optimizer, windows = make_optimizer(network, training), _windows(stream, training)
    device = network.output.weight.device
    memory, nats = Memory.empty(network, training.batch, device), list[float]()
    for rate, window in zip(rates, windows, strict=False):
        if window.index == 0:
            memory = Memory.empty(network, training.batch, device)
        loss, memory = _gradient(network, memory, window, training, device)
        if not math.isfinite(loss) or (len(nats) >= IN_A_ROW and min(nats[-IN_A_ROW:]) > min(nats) + ENOUGH):
            break
        nats.append(loss)
        scale = window.x_BT.shape[1] / training.bptt_len  # as in `TrainingStep.apply`
        for group in optimizer.param_groups:
            group["lr"] = rate * scale
        optimizer.step()
        report(len(nats), loss)
    return nats


def _windows(stream: TokenStream, training: TrainingSpec) -> Iterator[Window]:
    """Yield the windows that have something to predict, epoch after epoch."""
    batches = make_batches(stream, training)
    for epoch in count():
        yield from (window for window in batches.epoch(epoch) if (window.y_BT >= 0).any())


def _gradient(
    network: Network, memory: Memory, window: Window, training: TrainingSpec, device: torch.device
) -> tuple[float, Memory]:
    """Put the clipped gradient into the parameters' `.grad`; return the loss (NaN where the gradient is not finite)."""
    x_BT, y_BT = (torch.from_numpy(ids).to(device) for ids in (window.x_BT, window.y_BT))
    network.zero_grad(set_to_none=True)
    micro_batch = training.micro_batch or training.batch
    sums, memory = add_gradients(network, memory, x_BT, y_BT, None, training, micro_batch)
    clipped = scale_and_clip(network.parameters(), 1 / y_BT.numel(), training.clip, training.clip_value)
    return (float(sums.nats) / sums.tokens if math.isfinite(clipped.norm) else math.nan), memory
