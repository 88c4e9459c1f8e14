"""The peer of the benchmark of fused layers learns, sees every token once, and computes what ours computes."""

from __future__ import annotations

import pytest
import torch

from benchmarks.processes import Run
from benchmarks.training.fused import OURS, PEERS, FusedLM, _windows, ours, peer, rows_and_ratios
from benchmarks.training.parallel import made_up
from models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec

TINY = RecurrentSpec(
    hidden=8, embedding=8, dropout=0.0, condition_on_stars=False, objective=ObjectiveSpec(output="softmax"),
    training=TrainingSpec(batch=4, bptt_len=10, evaluations=1, precision="float32"),
)  # fmt: skip


def test_targets_are_the_inputs_one_word_later() -> None:
    inputs, targets = zip(*_windows(8, TINY.training), strict=True)
    read, wanted = torch.cat(inputs).T, torch.cat(targets).T
    assert torch.equal(read[:, 1:], wanted[:, :-1])
    ids = made_up(8 * 4 * 10, 1).ids
    assert read[0].tolist() == ids[: read.shape[1]].tolist()


def test_both_sides_have_as_many_weights() -> None:
    from models.neural.recurrent import RecurrentLM

    network = RecurrentLM.build(TINY, torch.ones(12_000))
    own = sum(parameter.numel() for parameter in network.parameters())
    theirs = sum(parameter.numel() for parameter in FusedLM(TINY).parameters())
    assert own == pytest.approx(theirs, rel=0.001)  # torch has two bias vectors per layer


@pytest.mark.long
def test_both_sides_learn_from_the_same_start() -> None:
    found = ours(TINY, 40, 1), peer(TINY, 40, 1, bf16=False)
    assert min(each["words_per_s"] for each in found) > 0
    assert all(7.5 < each["train_nats"] < 9.4 for each in found)  # ln 12,000 = 9.39 at the start


def test_a_ratio_is_our_speed_with_the_same_function_over_that_of_the_peer() -> None:
    speeds = dict(zip([*OURS, *PEERS], ([100, 300], [900, 900], [50, 100], [20, 20]), strict=True))
    runs = {
        name: [Run(1.0, 1.0, 1.0, 1.0, {"words_per_s": speed, "train_nats": 5.0}) for speed in of_name]
        for name, of_name in speeds.items()
    }
    rows, ratios = rows_and_ratios("2 × 640", 1, runs)
    assert ratios["fused.2x640.1.bf16"].value == pytest.approx(2.5)
    assert ratios["fused.2x640.1.float32"].spread == (5.0, 15.0)
    assert rows["2 × 640, 1 thread: torch in bf16"]["words_per_s"] == 75
