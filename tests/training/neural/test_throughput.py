"""What a training makes of its machine: weights that products use, the peak of products, memory, times of updates."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from models.neural.nplm import NPLMNetwork
from models.neural.recurrent import RecurrentNetwork
from models.specs import NPLMSpec, ObjectiveSpec, RecurrentSpec
from tests.models.neural.made_trainings import journal, run
from training.neural import throughput
from training.neural.throughput import Meter, product_peak, weights_used
from training.neural.training_metrics import MEASURED, TrainingMetrics

V, E, H = 40, 6, 10
COUNTS = torch.ones(V)
CPU = torch.device("cpu")


def network(**options: object) -> RecurrentNetwork:
    return RecurrentNetwork(RecurrentSpec(**{"embedding": E, "hidden": H, **options}), COUNTS).train()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"kind": "lstm"}, 4 * H * (E + H) + H * E + V * E),
        ({"kind": "gru", "layers": 2}, 3 * H * (E + H) + 3 * H * 2 * H + H * E + V * E),
        ({"kind": "rnn", "tied": False}, H * (E + H) + V * H),
        ({"kind": "rnn", "embedding": H}, H * 2 * H + V * H),
    ],
    ids=["tied, projected", "two layers", "rows of its own", "no projection"],
)
def test_every_matrix_that_is_multiplied_counts_and_a_look_up_does_not(
    options: dict[str, object], expected: int
) -> None:
    assert weights_used(network(objective=ObjectiveSpec("softmax"), **options)) == expected


def test_a_tail_counts_for_its_share_of_the_tokens() -> None:
    """All entries were counted once, so the tail's share of the tokens is its share of the entries."""
    objective = ObjectiveSpec("two_level", head=10)
    own = weights_used(network(objective=objective)) - weights_used(network(objective=ObjectiveSpec("softmax")))
    predicted = int((~network().output.given_V).sum())
    tail = predicted - 10
    assert own + V * E == pytest.approx(E * (11 + tail * tail / predicted), rel=1e-5)


def test_an_estimator_counts_its_samples_and_a_tree_no_products() -> None:
    plain = 4 * H * (E + H)
    sampled = network(objective=ObjectiveSpec("softmax", estimator="nce", samples=7))
    assert weights_used(sampled) == plain + H * E + 8 * E
    assert weights_used(network(tied=False, objective=ObjectiveSpec("hierarchical"))) == plain


def test_the_feed_forward_network_counts_its_hidden_layer_and_the_direct_connection() -> None:
    spec = NPLMSpec(context=3, embedding=E, hidden=H, objective=ObjectiveSpec("softmax"))
    assert weights_used(NPLMNetwork(spec, COUNTS).train()) == 3 * E * H + V * (3 * E + H)


def test_the_peak_is_the_best_of_growing_products_and_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {256: 1e-4, 512: 4e-4, 1024: 2e-2, 2048: 1e9}
    asked: list[int] = []

    def product(side: int, *_: object) -> float:
        asked.append(side)
        return seconds[side]

    monkeypatch.setattr(throughput, "_seconds_of_product", product)
    product_peak.cache_clear()
    assert [product_peak(CPU, torch.float32, 1) for _ in range(2)] == [2 * 512**3 / 4e-4] * 2
    assert asked == [256, 512, 1024]
    product_peak.cache_clear()


def test_the_peak_takes_tens_of_milliseconds_and_leaves_the_random_stream_alone() -> None:
    """Two processor seconds would be many products too many, 10⁸ operations a second no processor at all."""
    product_peak.cache_clear()
    before = torch.get_rng_state()
    began = time.process_time()
    assert product_peak(CPU, torch.float32, torch.get_num_threads()) > 1e8
    assert time.process_time() - began < 2
    assert torch.equal(torch.get_rng_state(), before)


def test_share_is_operations_made_over_operations_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: 1,000 weights take 6,000 operations a token; two ranks of 3 million a second do 1,000 tokens."""
    monkeypatch.setattr(throughput, "weights_used", lambda network: 1000.0)
    monkeypatch.setattr(throughput, "product_peak", lambda *_: 3e6)
    highest = Meter(network(), ranks=2).highest_tokens_per_second()
    assert highest == 1000
    course = TrainingMetrics(tokens=500, seconds=2.0)
    assert course.machine_figures({}, highest)["product_peak_share"] == 0.25


def test_quantiles_of_times_are_those_of_all_updates_to_one_percent() -> None:
    course, seconds = TrainingMetrics(), np.random.default_rng(0).lognormal(-3, 1, 5_000)
    for one in seconds:
        course.clock(float(one), 0.0)
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        found = course.machine_figures({}, 1.0)[f"step_seconds/{name}"]
        assert found == pytest.approx(np.quantile(seconds, share, method="inverted_cdf"), rel=0.011)
    assert len(course.times) < 500


def test_times_and_peaks_survive_a_checkpoint() -> None:
    course = TrainingMetrics(tokens=8)
    for one in (0.1, 0.1, 0.4):
        course.clock(one, 0.0)
    course.machine_figures({"peak_memory_megabytes": 700.0}, 1.0)
    again = TrainingMetrics(**json.loads(json.dumps(asdict(course))))
    again.clock(0.4, 0.0)
    again.clock(0.4, 0.0)
    found = again.machine_figures({"peak_memory_megabytes": 300.0}, 1.0)
    assert found["step_seconds/p50"] == pytest.approx(0.4, rel=0.011), "three of five, two of them before"
    assert found["peak_memory_megabytes"] == 700


def test_every_fit_tells_these_figures_in_its_journal_once_an_epoch_and_in_its_summary(tmp_path: Path) -> None:
    _, summary = run(tmp_path)
    told = [line for line in journal(tmp_path) if "step_seconds/p50" in line]
    expected = set(MEASURED) - {"peak_gpu_memory_megabytes"}
    assert len(told) == 2
    assert expected <= set(summary)
    assert expected - {"tokens_per_second"} <= set(told[-1])
    assert 0 < summary["step_seconds/p50"] <= summary["step_seconds/p90"] <= summary["step_seconds/p99"]
    assert summary["peak_memory_megabytes"] > 50
    assert 0 < summary["product_peak_share"] < 1
    assert all(math.isfinite(summary[name]) for name in expected)
