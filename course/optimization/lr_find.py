"""Find a learning rate by a range test: train briefly with a rising rate until the loss explodes.

Smith 2017, "Cyclical learning rates for training neural networks", section 3.3. The rate rises by the same factor at
every update, from the initial weights, over the windows and with the optimiser and clipping of a fit. Three rates are
read from the curve of the loss against the logarithm of the rate:

    steepest     where the smoothed loss falls fastest; none if it hardly falls: plain SGD learns too slowly for that
    diverged     where the loss is half a nat above its lowest value, or the losses end: too high
    suggestion   a tenth of `diverged`, the peak for a schedule that warms up and cools down; `steepest` where the
                 sweep ended without divergence

    python -m reviewlm.course.optimization.lr_find --optimizer adamw [--text reviews.txt]

Shapes: N losses.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from reviewlm.course.inputs import data_of, program, show, small_lstm
from reviewlm.models.neural.device import limited_threads
from reviewlm.models.neural.network import detach
from reviewlm.models.specs import RecurrentSpec, TrainingSpec, model_class
from reviewlm.models.streams import unigram_counts
from reviewlm.training.neural.batches import Window, make_batches
from reviewlm.training.neural.gradient_clipping import scale_and_clip
from reviewlm.training.neural.optimizers import make_optimizer

if TYPE_CHECKING:
    from reviewlm.models.streams import TokenStream

RANGES = {
    "sgd": (1e-3, 1e3),
    "momentum": (1e-3, 1e2),
    "nesterov": (1e-3, 1e2),
    "adagrad": (1e-5, 1e1),
}
USUAL_RANGE = 1e-5, 1.0
"""Lowest and highest rate, for optimisers that divide by the size of the gradient (RMSprop, Adam …)."""
SMOOTHING = 0.8
"""Weight of a loss in the smoothed curve, per update of distance, in both directions: no lag."""
RISE = 0.5
"""Nats above the lowest loss that count as divergence."""
FALL = 0.1
"""Smallest fall of the loss, in nats, that is no chance."""
ENOUGH = 2.0
"""Nats above the lowest loss at which the sweep stops."""
LEAST = 20
"""Number of losses that a curve needs."""


class RateSweep(NamedTuple):
    """Learning rates read from a curve; `steepest` and `diverged` may not exist."""

    steepest: float | None
    diverged: float | None

    @property
    def suggestion(self) -> float:
        """A peak rate to try first, with two digits."""
        if self.diverged is None:
            rate = self.steepest
        else:
            rate = self.diverged / 10

        assert rate is not None  # `read_curve` refuses a curve that has neither
        return float(f"{rate:.2g}")


def read_curve(rates: list[float], nats: list[float]) -> RateSweep:
    """Read the three rates from a curve of losses.

    Args:
        rates: Of each update, rising.
        nats: Losses; fewer than rates if the sweep stopped early.

    Raises:
        ValueError: It diverged so early that there is no curve, or it neither fell nor rose.
    """
    if len(nats) < LEAST:
        raise ValueError(
            f"the loss exploded after {len(nats)} updates, at a rate of {rates[len(nats)]:g}: begin lower"
        )

    # Else an explosion raises the losses long before it.
    capped_N = np.minimum(nats, max(nats[0], min(nats) + ENOUGH))
    weights_NN = SMOOTHING ** np.abs(np.arange(len(nats))[:, None] - np.arange(len(nats)))
    smoothed_N = weights_NN @ capped_N / weights_NN.sum(1)
    lowest = int(np.argmin(smoothed_N))
    slope_N = np.gradient(smoothed_N, np.log(rates[: len(nats)]))
    falls = smoothed_N[: lowest + 1].max() - smoothed_N[lowest] > FALL
    beyond = np.flatnonzero(smoothed_N[lowest:] > smoothed_N[lowest] + RISE)
    steepest = None
    if falls:
        steepest = rates[int(np.argmin(slope_N[: lowest + 1]))]

    diverged: float | None
    if len(beyond):
        diverged = rates[lowest + int(beyond[0])]
    else:
        diverged = rates[len(nats)] if len(nats) < len(rates) else None

    if steepest is None and diverged is None:
        raise ValueError(
            f"the loss neither fell nor rose from {rates[0]:g} to {rates[-1]:g}: sweep higher, or longer"
        )

    return RateSweep(steepest, diverged)


def sweep_losses(
    spec: RecurrentSpec,
    stream: TokenStream,
    rates: list[float],
) -> list[float]:
    """Return the loss of each window, in nats per token, before the step with its rate; fewer if they exploded."""
    counts_V = torch.from_numpy(unigram_counts(stream, stream.vocabulary_size))
    losses: list[float] = []
    with limited_threads(1), torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.training.seed)
        network = model_class(spec.kind).build(spec, counts_V).train()
        optimizer = make_optimizer(network, spec.training)
        state = network.start(spec.training.batch, "cpu")
        for rate, window in zip(rates, _windows(stream, spec.training), strict=False):
            ids_BT = torch.from_numpy(window.x_BT)
            targets_BT = torch.from_numpy(window.y_BT)
            if window.index == 0:
                state = network.start(len(ids_BT), "cpu")
            features_BTE, state = network(ids_BT, detach(state))
            nats, tokens = network.output.loss(features_BTE.flatten(0, 1), targets_BT.flatten())
            optimizer.zero_grad(set_to_none=True)
            nats.backward()
            norm = scale_and_clip(
                network.parameters(), 1 / targets_BT.numel(), spec.training.clip
            ).norm
            loss = float(nats.detach()) / tokens
            if not math.isfinite(norm + loss) or (
                len(losses) >= LEAST and loss > min(losses) + 2 * ENOUGH
            ):
                break
            losses.append(loss)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()

    return losses


def _windows(stream: TokenStream, training: TrainingSpec) -> Iterator[Window]:
    batches = make_batches(stream, training)
    for epoch in count():
        yield from (window for window in batches.epoch(epoch) if (window.y_BT >= 0).any())


def main() -> None:
    """Sweep the rate of a small LSTM and show the curve and what it says."""
    options = program(__doc__, optimizer="adamw", updates=150).parse_args()
    spec = small_lstm(options.seed)
    changed: dict[str, Any] = {"optimizer": options.optimizer, "weight_decay": 0.0}
    spec = replace(spec, training=replace(spec.training, **changed))
    lowest, highest = RANGES.get(options.optimizer, USUAL_RANGE)
    rates = [float(rate) for rate in np.geomspace(lowest, highest, options.updates)]
    losses = sweep_losses(spec, data_of(options).train, rates)
    step = max(1, len(losses) // 15)
    show(
        [
            {
                "rate": f"{rate:.2g}",
                "nats": nats,
                "": "#" * round(8 * min(nats, 12)),
            }
            for rate, nats in list(zip(rates, losses, strict=False))[::step]
        ]
    )
    found = read_curve(rates, losses)
    print(
        f"steepest {found.steepest or math.nan:.2g}, diverged {found.diverged or math.nan:.2g}, "
        f"suggestion {found.suggestion:g}"
    )


if __name__ == "__main__":
    main()
