"""What a training makes of its machine: weights that products use, the peak of products, memory, times of updates."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from models.neural.recurrent import RecurrentNetwork
from models.specs import ObjectiveSpec, RecurrentSpec
from tests.models.neural.made_trainings import journal, run
from training.neural import throughput
from training.neural.throughput import Meter, weights_used
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


def test_an_estimator_counts_its_samples_and_a_tree_no_products() -> None:
    plain = 4 * H * (E + H)
    sampled = network(objective=ObjectiveSpec("softmax", estimator="nce", samples=7))
    assert weights_used(sampled) == plain + H * E + 8 * E
    assert weights_used(network(tied=False, objective=ObjectiveSpec("hierarchical"))) == plain


def test_share_is_operations_made_over_operations_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: 1,000 weights take 6,000 operations a token; two ranks of 3 million a second do 1,000 tokens."""
    monkeypatch.setattr(throughput, "weights_used", lambda network: 1000.0)
    monkeypatch.setattr(throughput, "product_peak", lambda *_: 3e6)
    highest = Meter(network(), ranks=2).highest_tokens_per_second()
    assert highest == 1000
    course = TrainingMetrics(tokens=500, seconds=2.0)
    assert course.machine_figures({}, highest)["product_peak_share"] == 0.25


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
