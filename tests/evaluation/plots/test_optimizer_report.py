"""Tables, JSON and pictures of range tests and comparisons: every rule is in them, also one that diverged."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation.plots.optimizers import SPOKEN, courses, final_by_rate, range_test
from evaluation.reports.optimizer_report import (
    comparison_as_json,
    comparison_figures,
    optimizer_table,
    write_comparison,
    write_rates,
    write_trials,
)
from models.neural.optimization.comparison import ALL, OptimizerComparison, OptimizerTrial
from models.neural.optimization.rate_finder import RateSweep, exponential_rates, read_curve

FOUND = OptimizerComparison(
    (
        OptimizerTrial("sgd", 1.0, (100, 200), (5.0, 4.5), updates=20, seconds=1.234),
        OptimizerTrial("sgd", 4.0, (100, 200), (4.8, 4.25), updates=20, seconds=1.0, divergences=1),
        OptimizerTrial("adamw", 0.01, (100, 200), (4.5, 4.0), updates=20, seconds=1.1),
        OptimizerTrial("gd", 16.0, (100,), (5.5,), diverged=True),
    ),
    train_tokens=100, validation_tokens=50, epochs=2.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def sweep() -> RateSweep:
    rates = exponential_rates(1e-5, 1.0, 100)
    return read_curve(rates, [6 - 2 / (1 + (1e-3 / rate) ** 2) + 0.5 * (rate / 0.1) ** 3 for rate in rates])


def legend(figure: object) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]  # type: ignore[attr-defined]


def test_the_table_has_a_row_per_rule_with_its_best_rate_best_rule_first() -> None:
    rows = optimizer_table(FOUND)
    assert [(row["optimizer"], row["rate"]) for row in rows] == [("adamw", 0.01), ("sgd", 4.0), ("gd", 16.0)]
    assert rows[1]["validation nats"] == 4.25
    assert rows[1]["perplexity"] == pytest.approx(math.exp(4.25))
    assert (rows[1]["rates tried"], rows[1]["set back"]) == ("1, 4", 1)
    assert rows[2]["validation nats"] is None
    assert rows[2]["perplexity"] is None


def test_files_hold_every_trial_and_nothing_that_is_no_json(tmp_path: Path) -> None:
    files = write_comparison(FOUND, tmp_path / "out")
    assert {path.name for path in files} == {
        "optimizers.csv", "optimizers.json", "optimizers.png", "optimizers_by_rate.png",
    }  # fmt: skip
    assert all(path.stat().st_size for path in files)
    assert [row["optimizer"] for row in csv.DictReader((tmp_path / "out" / "optimizers.csv").open())] == [
        "adamw", "sgd", "gd",
    ]  # fmt: skip
    text = (tmp_path / "out" / "optimizers.json").read_text()
    loaded = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert loaded == json.loads(json.dumps(comparison_as_json(FOUND)))
    assert [trial["final"] for trial in loaded["trials"]] == [4.5, 4.25, 4.0, None]


def test_courses_are_drawn_at_the_best_rate_and_say_where_they_end() -> None:
    figure = courses(FOUND)
    assert legend(figure) == ["AdamW, 0.01: 4.000", "SGD, 4: 4.250", "gradient descent, full batch, 16: diverged"]
    drawn = {line.get_label(): np.asarray(line.get_ydata()).tolist() for line in figure.axes[0].lines}
    assert drawn["SGD, 4: 4.250"] == [4.8, 4.25]


def test_the_picture_by_rate_leaves_out_what_diverged_and_says_so() -> None:
    figure = final_by_rate(FOUND)
    assert legend(figure)[-1] == "gradient descent, full batch (1 diverged)"
    sgd = next(line for line in figure.axes[0].lines if line.get_label() == "SGD")
    assert np.asarray(sgd.get_xydata()).tolist() == [[1.0, 4.5], [4.0, 4.25]]


def test_a_rule_whose_range_test_failed_is_in_table_json_and_pictures_without_a_rate() -> None:
    lost = OptimizerTrial("sgd", math.nan, (), (), failure="the loss neither fell nor rose")
    found = OptimizerComparison((FOUND.trials[2], FOUND.trials[0], lost), 100, 50, 2.0)
    (_, _, told) = comparison_as_json(found)["trials"]
    assert (told["rate"], told["final"], told["failure"]) == (None, None, "the loss neither fell nor rose")
    alone = OptimizerComparison((FOUND.trials[2], lost), 100, 50, 2.0)
    assert [(row["rate"], row["rates tried"]) for row in optimizer_table(alone)] == [(0.01, "0.01"), (None, "")]
    assert legend(courses(alone)) == ["AdamW, 0.01: 4.000", "SGD: failed"]
    assert legend(final_by_rate(found)) == ["AdamW", "SGD (1 failed)"]


def test_what_is_written_on_the_way_takes_the_place_of_an_earlier_comparison_and_its_pictures(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    write_comparison(FOUND, tmp_path)
    files = write_trials(OptimizerComparison(FOUND.trials[:1], 100, 50, 2.0), tmp_path)
    assert {path.name for path in files} == {"optimizers.csv", "optimizers.json"}
    assert {path.name for path in tmp_path.iterdir()} == {"optimizers.csv", "optimizers.json", "notes.txt"}
    assert len(json.loads((tmp_path / "optimizers.json").read_text())["trials"]) == 1


def test_with_one_rate_per_rule_there_is_no_picture_by_rate() -> None:
    one = OptimizerComparison(FOUND.trials[1:3], 100, 50, 2.0)
    assert set(comparison_figures(one)) == {"optimizers"}


def test_every_rule_has_a_name_to_be_spoken_of() -> None:
    assert set(SPOKEN) == set(ALL)


def test_a_range_test_is_drawn_with_what_was_read_from_it_and_the_rate_in_use(sweep: RateSweep) -> None:
    figure = range_test(sweep, "lstm, adamw", used=0.006)
    marks = {line.get_label(): np.asarray(line.get_xdata())[0] for line in figure.axes[0].lines[2:]}
    assert list(marks.values()) == [sweep.steepest, sweep.diverged, sweep.suggestion, 0.006]
    assert figure.axes[0].get_xscale() == "log"
    assert figure.axes[0].get_ylabel() == "training loss, nats per token"


def test_losses_of_an_estimator_are_nowhere_called_nats(sweep: RateSweep, tmp_path: Path) -> None:
    own = replace(sweep, in_nats=False)
    assert range_test(own, "lstm").axes[0].get_ylabel() == "training loss of the estimator (no nats)"
    loaded = json.loads(write_rates(own, tmp_path, "lstm")[0].read_text())
    assert loaded["estimator_loss"] == list(sweep.nats)
    assert not {"nats", "in_nats"} & loaded.keys()


@pytest.mark.slow
def test_a_range_test_is_written_as_numbers_and_picture(sweep: RateSweep, tmp_path: Path) -> None:
    files = write_rates(sweep, tmp_path / "new", "lstm, adamw", 0.006)
    assert [path.name for path in files] == ["lr_find.json", "lr_find.png"]
    loaded = json.loads(files[0].read_text())
    assert loaded["suggestion"] == sweep.suggestion
    assert loaded["nats"] == list(sweep.nats)
    again = write_rates(sweep, tmp_path / "other", "lstm, adamw", 0.006)
    assert files[1].read_bytes() == again[1].read_bytes()
