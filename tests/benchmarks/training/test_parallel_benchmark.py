"""The benchmark of ways to use all cores: ranks train one model, and ratios are against one thread."""

from __future__ import annotations

import pytest

from benchmarks.processes import Run
from benchmarks.training.parallel import contenders, made_up, rows_and_ratios, together
from models.specs import RecurrentSpec, TrainingSpec

TINY = RecurrentSpec(
    hidden=8, embedding=8, dropout=0.0,
    training=TrainingSpec(batch=4, bptt_len=10, evaluations=1, precision="float32"),
)  # fmt: skip


def test_made_up_tokens_are_all_scored_but_the_given_ones() -> None:
    stream = made_up(1_000, 1)
    assert stream.tokens == 101 * len(stream)
    assert len(stream.ids) == stream.tokens + 2 * len(stream)


@pytest.mark.long
def test_ranks_train_one_model_and_fits_at_once_as_many_as_there_are() -> None:
    ranks = together(TINY, 2, 1, 2, 8)
    fits = together(TINY, 2, 1, 1, 8)
    assert ranks["models"] == 1
    assert fits["models"] == 2
    assert ranks["train_nats"] == pytest.approx(fits["train_nats"], abs=1e-4)
    assert min(ranks["words_per_s"], fits["words_per_s"]) > 0


def test_ratios_are_medians_of_rounds_against_one_thread() -> None:
    names = list(contenders("1 × 320", 2, 5))
    speeds = dict(zip(names, ([100, 200], [150, 300], [180, 400], [190, 380]), strict=True))
    runs = {
        name: [Run(1.0, 1.0, 1.0, 1.0, {"words_per_s": speed, "models": 1, "train_nats": 5.0}) for speed in of_name]
        for name, of_name in speeds.items()
    }
    rows, ratios = rows_and_ratios("1 × 320", runs, 2)
    assert rows[names[0]]["words_per_s"] == 150
    assert ratios["parallel.1x320.threads"].value == pytest.approx(1.5)
    assert ratios["parallel.1x320.ranks"].value == pytest.approx(1.9)
    assert ratios["parallel.1x320.ranks"].spread == (1.8, 2.0)
    assert ratios["parallel.1x320.fits"].goal == 1.8
