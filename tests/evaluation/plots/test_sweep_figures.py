"""Figures of a sweep show every trial by how it ended."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from evaluation.plots.sweep import sweep_history, sweep_importance, sweep_slices


@dataclass
class Trial:
    number: int
    state: str
    values: dict[str, Any] = field(default_factory=dict)
    nats: float | None = None
    reached: dict[int, float] = field(default_factory=dict)


TRIALS = [
    Trial(0, "complete", {"hidden": 10, "training.optimizer": "adamw", "tied": True}, 4.0),
    Trial(1, "failed", {"hidden": 90, "training.optimizer": "sgd", "tied": True}),
    Trial(2, "pruned", {"hidden": 40, "training.optimizer": "sgd", "tied": False}, None, {1: 5.0, 2: 4.5}),
    Trial(3, "complete", {"hidden": 30, "training.optimizer": "sgd", "tied": False}, 3.0),
]


def test_the_history_tells_complete_pruned_and_failed_trials_apart() -> None:
    [axes] = sweep_history(TRIALS).axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == [f"best so far: {math.exp(3):.4g}", "2 complete", "1 pruned", "failed"]
    assert list(axes.lines[0].get_ydata()) == [math.exp(4), math.exp(3)]


def test_a_history_without_a_finished_trial_is_drawn_all_the_same() -> None:
    [axes] = sweep_history([TRIALS[1]]).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["failed"]


def test_a_loss_whose_perplexity_is_no_number_is_drawn_too() -> None:
    """exp(800) is above the largest floating-point number."""
    hopeless = [*TRIALS, Trial(4, "complete", TRIALS[0].values, 800.0), Trial(5, "pruned", {}, None, {1: 900.0})]
    [axes] = sweep_history(hopeless).axes
    assert list(axes.lines[0].get_ydata()) == [math.exp(4), math.exp(3), math.exp(3)]
    sweep_slices(hopeless, ["hidden"])


def test_slices_have_a_panel_per_option_and_mark_the_best() -> None:
    figure = sweep_slices(TRIALS, ["hidden"], best=3)
    panels = {axes.get_xlabel(): axes for axes in figure.axes}
    assert set(panels) == {"hidden", "tied", "training.optimizer"}
    assert panels["hidden"].get_xscale() == "log"
    assert panels["hidden"].collections[-1].get_offsets().tolist() == [[30, math.exp(3)]]
    assert [text.get_text() for text in panels["tied"].get_xticklabels()] == ["true", "false"]


def test_the_most_important_option_stands_on_top() -> None:
    [axes] = sweep_importance({"hidden": 0.2, "dropout": 0.8}).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["hidden", "dropout"]
    assert [text.get_text() for text in axes.texts] == ["20%", "80%"]
