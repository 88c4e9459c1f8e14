"""Predict the next value of a series of numbers, such as a stock price, by a recurrent network: many-to-one regression.

The network reads the last W changes and predicts the next one. Changes, not values: a price wanders away from where it
was in training, its changes do not (Box and Jenkins 1970 call it differencing). With d_t = (v_t − v_{t−1}) / s, where s
is the root mean square of the changes in training,

    h_t = cell(d_t, h_{t−1})        d̂_{t+1} = w · h_t + b        v̂_{t+1} = v_t + s d̂_{t+1}

and the loss is (d̂ − d)². With `relative`, the same is done with logarithms of the values.

The forecast to beat is d̂ = 0, "tomorrow is like today". Nothing beats it on a random walk, and a curve of forecasts
beside the values looks right even then, because it is the curve of the values one step late. So a network is accepted
only if its squared errors on the last part of the series are smaller by more than chance. That part is drawn again in
blocks, because neighbouring errors resemble each other (Künsch 1989). A linear autoregression on the same W changes
stands beside it.

    python -m reviewlm.course.networks.forecast --made cycle                              # or walk: series that are made up
    python -m reviewlm.course.networks.forecast --csv prices.csv --column close --relative

Shapes: N values, B windows, T = W changes.
"""

from __future__ import annotations

from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
import torch
from torch import nn

from reviewlm.course.inputs import CourseParser, show
from reviewlm.models.base import ModelError
from reviewlm.models.neural.device import limited_threads
from reviewlm.models.neural.labelling.network import SequenceEncoder
from reviewlm.models.specs import TrainingSpec
from reviewlm.training.neural.gradient_clipping import scale_and_clip
from reviewlm.training.neural.learning_rates import learning_rate
from reviewlm.training.neural.optimizers import make_optimizer

PARTS = (0.7, 0.85)
"""The network is trained on the changes before the first share of the series, chosen before the second, then tested."""
LEAST_TEST = 50
"""Fewer test values decide nothing."""
DRAWS = 2_000
CONFIDENCE = 0.95
RECIPE = TrainingSpec(
    epochs=30,
    batch=32,
    learning_rate=5e-3,
    weight_decay=0.0,
    precision="float32",
)
NETWORK = "network"
LINEAR = "linear"
TODAY = "tomorrow is like today"


@dataclass(frozen=True)
class ForecastOptions:
    """Options of a forecast.

    Args:
        window: W, changes that are read before each prediction.
        relative: Take logarithms first: changes are relative. The values must be above 0.
        kind: The cell: "lstm", "gru" or "rnn".
        hidden: Units.
        training: Batch of windows, epochs, rate, seed.
    """

    window: int = 20
    relative: bool = False
    kind: Literal["lstm", "gru", "rnn"] = "lstm"
    hidden: int = 32
    training: TrainingSpec = RECIPE


class Forecast(NamedTuple):
    """Result of a forecast.

    Attributes:
        errors: Root mean square error of each way on the test values, in the unit of the series.
        gain: Share of the mean squared error of "tomorrow is like today" that the network saves, with its ends.
        accepted: Whether the whole interval of the gain is above 0.
        next: The value after the last one: the network's if it is accepted, otherwise the last value itself.
        tested: Number of test values.
    """

    errors: dict[str, float]
    gain: tuple[float, float, float]
    accepted: bool
    next: float
    tested: int


class ChangeNetwork(nn.Module):
    """A recurrent layer over changes, and a linear answer: (B, T) to (B)."""

    def __init__(self, kind: str, hidden: int) -> None:
        super().__init__()
        self.encoder = SequenceEncoder(kind, 1, hidden)
        self.answer = nn.Linear(hidden, 1)
        nn.init.zeros_(self.answer.weight)  # the first prediction is "tomorrow is like today"
        nn.init.zeros_(self.answer.bias)

    def forward(self, d_BT: torch.Tensor) -> torch.Tensor:
        """Return the predicted next change of each window."""
        lengths_B = torch.full((len(d_BT),), d_BT.shape[1])
        _, last_BH = self.encoder(d_BT[..., None], lengths_B)
        predicted_B: torch.Tensor = self.answer(last_BH)[:, 0]
        return predicted_B


def forecast(
    values_N: np.ndarray,
    options: ForecastOptions,
    report: Callable[[int, float], None] = lambda epoch, error: None,
) -> Forecast:
    """Train on the first part of a series, choose on the second, and compare on the last.

    Args:
        values_N: The series, oldest first.
        options: See `ForecastOptions`.
        report: Called after each epoch with its number and the mean squared error on the second part, of d.

    Raises:
        ModelError: kind "input": too few values, a value that is not finite, a series without changes, or with
            `relative` a value that is not above 0; "diverged".
    """
    values_N = np.asarray(values_N, np.float64)
    _require(values_N, options)
    with limited_threads(1):  # the network is so small that more threads only wait for each other
        return _forecast(values_N, options, report)


def _forecast(
    values_N: np.ndarray,
    options: ForecastOptions,
    report: Callable[[int, float], None],
) -> Forecast:
    level_N = values_N
    if options.relative:
        level_N = np.log(values_N)

    changes_N = np.diff(level_N)
    bounds = [round(share * len(changes_N)) for share in PARTS]
    scale = float(np.sqrt(np.mean(changes_N[: bounds[0]] ** 2)))
    if scale == 0:
        raise ModelError(
            "the series does not change in its first part, so there is nothing to learn", "input"
        )

    windows_BT = np.lib.stride_tricks.sliding_window_view(changes_N / scale, options.window)
    inputs = windows_BT[:-1].astype(np.float32)
    wanted = (changes_N[options.window :] / scale).astype(np.float32)
    # Place of the change that each window predicts.
    ends = np.arange(options.window, len(changes_N))
    train = ends < bounds[0]
    choose = (ends >= bounds[0]) & (ends < bounds[1])
    test = ends >= bounds[1]
    network = _train_network(
        options,
        inputs[train],
        wanted[train],
        inputs[choose],
        wanted[choose],
        report,
    )
    predicted = {
        NETWORK: _predict(network, inputs[test]),
        LINEAR: _linear(inputs, wanted, train, test),
        TODAY: np.zeros(int(test.sum())),
    }
    before = values_N[:-1][ends[test]]
    after = values_N[1:][ends[test]]
    said = {name: _value(before, scale * d, options) for name, d in predicted.items()}
    squared = {name: (value - after) ** 2 for name, value in said.items()}
    gain = _gain(squared[NETWORK], squared[TODAY], options)
    coming = _value(
        values_N[-1:], scale * _predict(network, windows_BT[-1:].astype(np.float32)), options
    )
    return Forecast(
        {name: float(np.sqrt(errors.mean())) for name, errors in squared.items()},
        gain,
        gain[1] > 0,
        float(coming[0]) if gain[1] > 0 else float(values_N[-1]),
        int(test.sum()),
    )


def _require(values_N: np.ndarray, options: ForecastOptions) -> None:
    least = options.window + 1 + round(LEAST_TEST / (1 - PARTS[1]))
    if len(values_N) < least:
        raise ModelError(
            f"the series has {len(values_N)} values; {least} are needed for a window of "
            f"{options.window} and a fair test",
            "input",
        )

    wrong = np.flatnonzero(~np.isfinite(values_N))
    if len(wrong):
        raise ModelError(
            f"value {wrong[0] + 1} of the series is {values_N[wrong[0]]}, not a number", "input"
        )
    if options.relative and values_N.min() <= 0:
        place = int(np.flatnonzero(values_N <= 0)[0])
        raise ModelError(
            f"value {place + 1} is {values_N[place]:g}; relative changes need values above 0",
            "input",
        )


def _value(
    before: np.ndarray,
    change: np.ndarray,
    options: ForecastOptions,
) -> np.ndarray:
    if options.relative:
        return before * np.exp(change)
    return before + change


def _train_network(
    options: ForecastOptions,
    inputs: np.ndarray,
    wanted: np.ndarray,
    held_inputs: np.ndarray,
    held_wanted: np.ndarray,
    report: Callable[[int, float], None],
) -> ChangeNetwork:
    """Return the network of the epoch that is best on held-out windows; before the first, it predicts no change."""
    training = options.training
    draw = np.random.default_rng(training.seed)
    batches = -(-len(inputs) // training.batch)
    total = max(1, round(training.epochs * batches))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        network = ChangeNetwork(options.kind, options.hidden)
        optimizer = make_optimizer(network, training)
        best = _state(network)
        least = float(np.mean(held_wanted**2))
        for update in range(total):
            if update % batches == 0:
                order = draw.permutation(len(inputs))
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(training, update, total)
            rows = order[(update % batches) * training.batch :][: training.batch]
            loss = (
                (network(torch.from_numpy(inputs[rows])) - torch.from_numpy(wanted[rows])) ** 2
            ).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = scale_and_clip(network.parameters(), 1.0, training.clip).norm
            if not np.isfinite(norm):
                raise ModelError(f"the gradient is not finite at update {update + 1}", "diverged")
            optimizer.step()
            if (update + 1) % batches == 0 or update + 1 == total:
                error = float(np.mean((_predict(network, held_inputs) - held_wanted) ** 2))
                report((update + 1) // batches, error)
                if error < least:
                    best = _state(network)
                    least = error

    network.load_state_dict(best)
    return network.eval()


def _state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


@torch.no_grad()
def _predict(network: ChangeNetwork, inputs: np.ndarray) -> np.ndarray:
    parts = [
        network(torch.from_numpy(inputs[first : first + 4_096]))
        for first in range(0, len(inputs), 4_096)
    ]
    return torch.cat(parts).double().numpy()


def _linear(
    inputs: np.ndarray,
    wanted: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
) -> np.ndarray:
    """Return the predictions of a linear autoregression, by least squares on the training windows."""
    with_one = np.hstack([inputs.astype(np.float64), np.ones((len(inputs), 1))])
    weights, *_ = np.linalg.lstsq(with_one[train], wanted[train].astype(np.float64), rcond=None)
    predicted: np.ndarray = with_one[test] @ weights
    return predicted


def _gain(
    network_M: np.ndarray,
    today_M: np.ndarray,
    options: ForecastOptions,
) -> tuple[float, float, float]:
    """Return 1 − network / today of the mean squared errors, with its interval by a moving block bootstrap."""
    count = len(today_M)
    length = min(max(options.window, round(count ** (1 / 3))), count)
    draw = np.random.default_rng(options.training.seed)
    starts = draw.integers(0, count - length + 1, (DRAWS, -(-count // length)))
    rows = (starts[..., None] + np.arange(length)).reshape(DRAWS, -1)[:, :count]
    drawn = 1 - network_M[rows].sum(1) / np.maximum(today_M[rows].sum(1), np.finfo(float).tiny)
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return (
        1 - float(network_M.sum() / max(today_M.sum(), np.finfo(float).tiny)),
        float(low),
        float(high),
    )


def random_walk(count: int, seed: int) -> np.ndarray:
    """Return a series whose changes cannot be predicted: a price of an ideal market."""
    return 100 * np.exp(np.cumsum(0.01 * np.random.default_rng(seed).standard_normal(count)))


def noisy_cycle(count: int, seed: int) -> np.ndarray:
    """Return a series with a cycle of 40 steps whose height changes slowly, and noise: its changes can be predicted."""
    draw = np.random.default_rng(seed)
    step = np.arange(count)
    height = 5 + np.sin(step / 300)
    return 100 + height * np.sin(2 * np.pi * step / 40) + 0.3 * draw.standard_normal(count)


def main() -> None:
    """Show the errors of all ways on the last part of a series, the verdict and the next value."""
    parser = CourseParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, help="a row for each step, the oldest first")
    parser.add_argument("--column", help="its column of numbers")
    parser.add_argument(
        "--made",
        choices=["walk", "cycle"],
        default="walk",
        help="without --csv, a series made up",
    )
    parser.add_argument(
        "--relative", action="store_true", help="relative changes, as is usual for prices"
    )
    for name, default in (("window", 20), ("hidden", 32), ("epochs", 30), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)

    parser.add_argument("--cell", choices=["lstm", "gru", "rnn"], default="lstm")
    options = parser.parse_args()
    if options.csv:
        values_N = (
            pl.read_csv(options.csv, infer_schema_length=None)[options.column]
            .cast(pl.Float64)
            .to_numpy()
        )
    else:
        values_N = {"walk": random_walk, "cycle": noisy_cycle}[options.made](3_000, options.seed)

    recipe = replace(RECIPE, epochs=float(options.epochs), seed=options.seed)
    found = forecast(
        values_N,
        ForecastOptions(
            options.window,
            options.relative,
            options.cell,
            options.hidden,
            recipe,
        ),
    )
    show(
        [
            {"forecast": name, "root mean square error": error}
            for name, error in found.errors.items()
        ]
    )
    gain, low, high = found.gain
    print(
        f"{'accepted' if found.accepted else 'refused'}: {gain:+.1%} of the squared error saved ({low:+.1%} to "
        f"{high:+.1%}) on {found.tested:,} values; next value: {found.next:.6g}"
    )
    if found.accepted and found.errors[LINEAR] < found.errors[NETWORK]:
        print("but the linear model's error is smaller than the network's: use the linear model")


if __name__ == "__main__":
    main()
