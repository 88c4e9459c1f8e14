"""The range test: what is read from a curve of known shape, and a real sweep of a small network."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from reviewlm.course.networks.forecast import (
    LINEAR,
    RECIPE,
    TODAY,
    ForecastOptions,
    forecast,
    noisy_cycle,
)
from reviewlm.course.optimization.lr_find import read_curve, sweep_losses
from reviewlm.course.optimization.scaling import Law, foretell
from reviewlm.models.base import ModelError
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
from reviewlm.models.streams import unigram_counts
from tests.marked_cases import long_but
from tests.models.neural.made_streams import walks

V = 30


def rates_of(
    lowest,
    highest,
    updates,
):
    return np.geomspace(lowest, highest, updates).tolist()


def curve(
    rates,
    falls_at,
    explodes_at,
    noise=0.0,
):
    """Six nats, a smooth fall of two centred on one rate, and a rise by a power law that passes 0.5 at another."""
    rates = np.array(rates)
    nats = 6 - 2 / (1 + (falls_at / rates) ** 2) + 0.5 * (rates / explodes_at) ** 3
    return (nats + noise * np.random.default_rng(0).standard_normal(len(rates))).tolist()


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("falls_at", [1e-4, 1e-3])
def test_marks_of_a_curve_are_found_where_they_were_put(falls_at, noise):
    rates = rates_of(1e-6, 1.0, 400)
    sweep = read_curve(rates, curve(rates, falls_at, 0.1, noise))
    assert sweep.steepest == pytest.approx(falls_at, rel=0.35)
    assert 0.05 < sweep.diverged <= 0.11  # what comes after weighs in, so it is seen a little early
    assert sweep.suggestion == pytest.approx(sweep.diverged / 10, rel=0.05)


@pytest.mark.slow
def test_a_sweep_ends_where_the_loss_explodes():
    training = TrainingSpec(
        batch=8,
        bptt_len=10,
        precision="float32",
        seed=5,
        weight_decay=0.0,
    )
    spec = RecurrentSpec(
        kind="gru",
        hidden=16,
        embedding=12,
        objective=ObjectiveSpec(head=10),
        training=training,
    )
    rates, stream = rates_of(1e-5, 1e3, 120), walks(120, V, 1)
    first, again = (sweep_losses(spec, stream, rates) for _ in range(2))
    assert first == again
    counts = unigram_counts(stream, V)
    shares = counts[counts > 0] / counts.sum()
    # The bias says the unigram.
    assert first[0] == pytest.approx(-(shares * np.log(shares)).sum(), abs=0.15)
    assert min(first) < first[0] - 0.3
    found = read_curve(rates, first)
    assert 1e-2 < found.diverged < 1e3
    sgd = sweep_losses(
        replace(spec, training=replace(training, optimizer="sgd")), stream, rates_of(1e-3, 1e3, 120)
    )
    assert math.isfinite(max(sgd))


# --- A scaling fit foretells what it should: exactly without noise, with the stated coverage under a known truth

SHARES = (1 / 32, 1 / 16, 1 / 8, 1 / 4)


def test_without_noise_the_law_itself_comes_back() -> None:
    law = Law(2.0, 40.0, 0.3, 0.0)
    sizes = [1e4, 2e4, 4e4, 8e4, 1.6e5]
    found = foretell(
        sizes,
        [law(size) for size in sizes],
        2.56e6,
        0.8,
        seed=1,
    )
    assert found.law.exponent == pytest.approx(0.3, abs=0.011)  # one step of the grid
    assert found.law.floor == pytest.approx(2.0, abs=0.1)
    assert found.nats == pytest.approx(law(2.56e6), abs=0.02)
    assert found.holds(law(2.56e6))


@pytest.mark.long
@pytest.mark.parametrize("seeds", long_but([1, 2], {2}))
def test_intervals_of_80_percent_hold_about_as_often(seeds: int) -> None:
    """Learning curves with known E, A, α and noise, drawn anew each time; the whole fit is 4 times the largest."""
    generator = np.random.default_rng(11)
    held = []
    for number in range(150):
        floor, exponent = generator.uniform(1.5, 4), generator.uniform(0.1, 0.7)
        size, gap = 10 ** generator.uniform(5.5, 8), generator.uniform(0.5, 2.5)
        noise = 10 ** generator.uniform(-2.5, -1.5)
        sizes = np.repeat(np.array(SHARES) * size, seeds)
        law = Law(floor, gap / sizes[0] ** -exponent, exponent, noise)
        losses = [law(one) + noise * generator.standard_normal() for one in sizes]
        found = foretell(
            sizes,
            losses,
            size,
            0.8,
            seed=number,
        )
        held.append(found.holds(law(size) + noise * generator.standard_normal()))
    assert 0.7 <= np.mean(held) <= 0.9


@pytest.mark.parametrize(
    ("sizes", "losses", "said"),
    [
        ([1e4, 2e4, 4e4], [5, 4.8, 4.7], "at least 4 fits of 3 sizes"),
        ([1e4, 1e4, 2e4, 2e4], [5, 5.1, 4.8, 4.9], "4 of 2"),
        ([1e4, 2e4, 4e4, 8e4], [5, 5.1, 5.2, 5.3], "do not fall"),
        ([1e4, 2e4, 4e4, 8e4], [5, 4.8, float("nan"), 4.6], "positive and finite"),
        (
            [1e4, 1.01e4, 2e4, 2.02e4, 4e4, 4.04e4],
            [5.61, 5.53, 5.13, 5.16, 4.02, 4.11],
            "use larger shares",
        ),
    ],
)
def test_what_no_law_can_be_had_from_is_refused(
    sizes: list[float],
    losses: list[float],
    said: str,
) -> None:
    with pytest.raises(ValueError, match=said):
        foretell(
            sizes,
            losses,
            1e6,
            0.8,
            seed=1,
        )


# --- A network predicts changes of a series, and is refused where nothing can

QUICK = ForecastOptions(
    window=12,
    hidden=12,
    training=replace(RECIPE, epochs=6.0),
)


def test_the_errors_are_those_of_the_definition() -> None:
    values = noisy_cycle(1_000, seed=3)
    changes = np.diff(values)
    test = np.arange(QUICK.window, len(changes)) >= round(0.85 * len(changes))
    naive = np.sqrt(np.mean(changes[QUICK.window :][test] ** 2))
    found = forecast(values, replace(QUICK, training=replace(QUICK.training, epochs=1.0)))
    assert found.errors[TODAY] == pytest.approx(naive, rel=1e-12)


def test_a_linear_series_is_predicted_by_the_linear_way_exactly() -> None:
    changes = [1.0, -0.5]
    for _ in range(800):  # d_t = 0.5 d_{t-1} − 0.9 d_{t-2}, which is driven by nothing else
        changes.append(0.5 * changes[-1] - 0.999 * changes[-2])
    found = forecast(
        np.cumsum(changes), replace(QUICK, window=4, training=replace(QUICK.training, epochs=1.0))
    )
    assert found.errors[LINEAR] < 1e-5 * found.errors[TODAY]


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        (np.arange(300.0), QUICK, "345|values"),
        (np.full(1_000, 3.0), QUICK, "does not change"),
        (np.r_[np.arange(500.0), np.nan, np.arange(500.0)], QUICK, "value 501"),
        (np.arange(-5.0, 995.0), replace(QUICK, relative=True), "value 1 is -5"),
    ],
)
def test_a_series_that_cannot_be_used_is_refused(
    values: np.ndarray,
    options: ForecastOptions,
    said: str,
) -> None:
    with pytest.raises(ModelError, match=said):
        forecast(values, options)
