"""A plan for a time: settings that a user may override, a clear refusal, and an expectation that is checked."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from reviewlm.core.config.presets import load_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.errors import ClusterFailed, ConfigError
from reviewlm.tasks.execution.stage import recorded_stages
from reviewlm.tasks.fitting.fit import FitSettings
from reviewlm.tasks.fitting.on_cluster import NodeTaken
from reviewlm.tasks.planning import plan as planning
from reviewlm.tasks.planning.gain_law import expect, measured_json, terms
from reviewlm.tasks.planning.pace import _is_free
from reviewlm.tasks.planning.plan import PlanRequest, RunPlan, configuration
from reviewlm.tasks.planning.rule import (
    FRAME,
    NETWORK,
    REFERENCE_START,
    Machine,
    require_frame,
    token_cost,
)
from reviewlm.tasks.planning.verdict import judge_plan
from tests.tasks.fitting.small_jobs import job_of

HELD_OUT = {"bytes": 93_713, "tokens": 26_000}
KN5 = {"validation/nats": 4.5, "validation/tokens": 26_000}


def network_of(config: RunConfig) -> Any:
    return next(spec for spec in config.models if spec.name == NETWORK)


LEFT_OUT = 9_000.0


def planned(
    monkeypatch: pytest.MonkeyPatch,
    minutes: float,
    left: float,
    speed: float = 24_000.0,
    reviews: int = 1_500,
    start: float = REFERENCE_START,
    by_threads: dict[int, float] | None = None,
    cluster: str = "",
) -> RunPlan:
    """The plan for 700 kB of reviews, *left* seconds before the end, on a machine of this speed."""
    probes = by_threads or {}
    monkeypatch.setattr(
        planning,
        "measured_speed",
        lambda settings, spec, prepared, n: Machine(probes.get(n, speed), n, start=start),
    )
    monkeypatch.setattr(PlanRequest, "seconds_left", lambda self: left)
    monkeypatch.setattr(planning, "_left_out", lambda prepared: LEFT_OUT)
    facts = {
        "train": {"bytes": 703_360, "tokens": 246_000},
        "validation": HELD_OUT,
        "test": HELD_OUT,
    }
    prepared: Any = SimpleNamespace(
        tokens={"word": {split: SimpleNamespace(facts=found) for split, found in facts.items()}}
    )
    dataset: Any = SimpleNamespace(facts={"rows": reviews, "bytes": 900_000})
    fitted: Any = {
        "baseline": SimpleNamespace(facts={"summary": KN5}),
        "reference": SimpleNamespace(facts={"summary": {**KN5, "validation/nats": 4.4}}),
    }
    config = load_config(FRAME, ["execution.threads=1", f"execution.cluster={cluster}"])
    settings = FitSettings.of(config)
    request = PlanRequest(minutes)
    return planning._choose(
        settings,
        config.models,
        request,
        dataset,
        prepared,
        fitted,
    )


def test_the_chosen_settings_are_a_configuration_in_which_those_of_the_user_win(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = planned(monkeypatch, 5, 240)
    request = PlanRequest(5, (f"models.{NETWORK}.dropout=0.37", "seed=9"))
    frame = load_config(FRAME)
    config = configuration(frame.preset, frame.source, request, made.settings)
    network, spec = made.network, network_of(config)
    assert network is not None
    assert (spec.hidden, spec.embedding, spec.training.batch) == (
        network.hidden,
        network.embedding,
        network.batch,
    )
    assert spec.dropout == 0.37
    assert (config.seed, spec.training.seed) == (9, 9)


def test_seconds_of_training_get_a_small_network_with_a_short_head(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few = planned(monkeypatch, 1, 44, speed=8_000.0)
    many = planned(monkeypatch, 30, 1_700, speed=8_000.0)
    frame = load_config(FRAME)
    short, long = (
        network_of(configuration(frame.preset, frame.source, PlanRequest(1), made.settings))
        for made in (few, many)
    )
    assert few.network
    assert few.network.seconds < 20
    assert short.hidden <= 128
    assert short.objective.head < long.objective.head == network_of(frame).objective.head
    assert short.objective.cutoffs
    assert short.training.learning_rate > 2 * long.training.learning_rate


@pytest.mark.parametrize(
    ("input", "name"), [((), "reviewlm-demo"), (("reviews.json",), "reviewlm")]
)
def test_a_planned_run_registers_the_embedded_corpus_as_the_demo(
    input: tuple[str, ...], name: str
) -> None:
    config = load_config(FRAME).model_copy(deep=True)
    config = config.model_copy(update={"source": config.source.model_copy(update={"input": input})})
    config = config.named_by_data()
    planned_config = configuration(config.preset, config.source, PlanRequest(5), [])
    assert planned_config.promotion.model_name == name


def test_a_length_set_by_the_user_is_kept_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = planned(monkeypatch, 5, 240)
    frame = load_config(FRAME)
    free, fixed = (
        network_of(
            configuration(frame.preset, frame.source, PlanRequest(5, overrides), made.settings)
        )
        for overrides in ((), (f"models.{NETWORK}.training.epochs=2",))
    )
    assert _is_free(free, made)
    with caplog.at_level(logging.WARNING):
        assert not _is_free(fixed, made)
    assert "set by you" in caplog.text


def test_where_time_does_not_suffice_for_any_model_there_is_one_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = planned(monkeypatch, 1, -20)
    assert made.network is None
    assert made.needs == 2
    assert "--minutes 2" in made.in_words()
    frame = load_config(FRAME)
    config = configuration(frame.preset, frame.source, PlanRequest(1), made.settings)
    assert [spec.kind for spec in config.models] == ["ngram"]
    needed = planned(monkeypatch, 2, -20 + 60)
    assert (needed.network is None, needed.needs) == (False, None)


@pytest.mark.parametrize(
    ("left", "busy_then", "busy_now", "outdated"),
    [
        (-20, True, False, True),
        (-20, True, True, False),
        (-20, False, False, False),
        (240, True, False, False),  # it has a network, which may be half trained
    ],
)
def test_a_plan_without_a_network_is_made_again_once_the_machine_is_idle(
    monkeypatch: pytest.MonkeyPatch,
    left: float,
    busy_then: bool,
    busy_now: bool,
    outdated: bool,
) -> None:
    monkeypatch.setattr(planning, "busy", lambda: "busy" * busy_then)
    made = planned(monkeypatch, 5, left)
    monkeypatch.setattr(planning, "busy", lambda: "busy" * busy_now)
    assert planning._is_outdated(made) is outdated


def test_time_for_no_network_leaves_the_n_gram_model_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    made = planned(monkeypatch, 2, 30)
    assert made.network is None
    assert "measured" in made.expected.in_words()
    assert " to " not in made.expected.in_words()
    for minutes in (1.0, 2.0):  # half of the time is used, or all of it: there is no network
        reached = {"bits": made.expected.bits, "minutes": minutes}
        judged = judge_plan({**asdict(made), "reached": reached})
        assert judged["kept"] is False
        for part in ("No network", "--minutes 3", f"{minutes} of 2 min"):
            assert part in judged["verdict"][0]
    frame = load_config(FRAME)
    config = configuration(frame.preset, frame.source, PlanRequest(2), made.settings)
    assert config.models == (
        next(spec for spec in load_config(FRAME).models if spec.kind == "ngram"),
    )
    bits = (4.5 * 26_000 + LEFT_OUT) / 93_713 / math.log(2)
    assert (made.expected.low, made.expected.bits, made.expected.high) == pytest.approx(
        (bits, bits, bits)
    )


def judged(monkeypatch: pytest.MonkeyPatch, ended_by: str = "time", **reached: float) -> Any:
    """Return the verdict of a plan of nine minutes that was reached as planned but for *reached*, in its units.

    Passes, best passes and minutes are shares of the planned ones; bits are expected bits plus so many half widths of the range.
    """
    made = planned(monkeypatch, 9, 500)
    assert made.network is not None
    expected = made.expected
    shift = reached.get("bits", 0.0) * (expected.high - expected.bits)
    facts = {
        "bits": expected.bits + shift,
        "minutes": 9 * reached.get("minutes", 1.0),
        "passes": made.network.passes * reached.get("passes", 1.0),
        "network_perplexity": reached.get("network", 80.0),
        "baseline_perplexity": 118.0,
        "waited": reached.get("waited", 0.0),
    }
    if "best" in reached:
        facts["best_passes"] = made.network.passes * reached["best"]

    return judge_plan(
        {
            **asdict(made),
            "ended_by": ended_by,
            "reached": facts,
        }
    )


@pytest.mark.parametrize(
    ("ended_by", "reached", "kept", "inside"),
    [
        ("time", {}, True, True),
        ("time", {"passes": 0.8}, True, True),
        ("time", {"passes": 0.11}, False, None),
        ("time", {"passes": 0.6, "best": 0.4}, True, True),
        (
            "time",
            {
                "passes": 0.6,
                "best": 0.4,
                "bits": 1.5,
            },
            False,
            False,
        ),
        (
            "time",
            {
                "passes": 0.6,
                "best": 0.4,
                "minutes": 1.06,
            },
            False,
            True,
        ),
        ("validation", {"passes": 0.11}, True, True),
        ("user", {"passes": 0.11}, True, True),
        ("length", {"passes": 2.0}, True, True),
        ("time", {"passes": 1.8, "minutes": 0.8}, True, True),
        ("time", {"minutes": 0.86}, True, True),
        ("time", {"minutes": 0.84}, False, True),
        ("validation", {"minutes": 0.5}, False, True),
        ("time", {"minutes": 1.04}, True, True),
        ("time", {"minutes": 1.06}, False, True),
        ("time", {"bits": 1.5}, False, False),
        ("time", {"bits": -1.5}, True, False),
    ],
)
def test_a_plan_is_kept_if_all_is_as_planned_or_better(
    ended_by: str,
    reached: dict[str, float],
    kept: bool,
    inside: bool | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = judged(monkeypatch, ended_by, **reached)
    assert (found["kept"], found["reached"]["inside"]) == (kept, inside)
    assert found["verdict"][0].startswith("Plan kept" if kept else "Plan not kept")


@pytest.mark.parametrize(
    ("ended_by", "minutes", "reason"),
    [
        ("validation", 0.5, "validation did not improve"),
        ("length", 0.5, "all passes"),
        ("time", 0.5, "quicker"),
        ("time", 1.5, "slower"),
        ("user", 0.5, "set by you"),
        ("user", 1.5, "set by you"),
        ("time", 1.0, ""),
    ],
)
def test_a_run_that_ends_early_or_late_says_why(
    ended_by: str,
    minutes: float,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = judged(monkeypatch, ended_by, minutes=minutes)
    assert reason in found["verdict"][0]
    assert found["kept"] == (minutes == 1.0)
    assert ("because" in found["verdict"][0]) == (reason != "")


def test_passes_that_would_not_have_helped_are_no_fault_of_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = judged(monkeypatch, passes=0.6, best=0.4)
    planned_passes = found["network"]["passes"]
    for share in (0.6, 0.4, 1.0):
        assert f"{share * planned_passes:.2g}" in found["verdict"][0]
    assert "slower" not in " ".join(found["verdict"])


def test_a_wait_for_another_run_takes_no_time_of_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    request = PlanRequest(3)
    monkeypatch.setattr(planning, "time", lambda: 1_000.0)
    begun = datetime.fromtimestamp(880.0, UTC)
    with recorded_stages(begun) as record:
        assert request.seconds_left() == 60.0
        record.waited = 114.0
        assert request.seconds_left() == 174.0


def test_the_verdict_tells_a_wait_beside_the_time_of_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "1 min 54 s waiting" in judged(monkeypatch, waited=114.0)["verdict"][0]


def test_the_time_of_a_run_whose_network_was_trained_before_is_not_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = judge_plan({**judged(monkeypatch, minutes=0.03), "taken": True})
    assert found["kept"] is None
    assert "trained before" in found["verdict"][0]


def test_the_verdict_says_what_was_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    found = judged(monkeypatch)
    network = found["network"]
    for part in (f"{network['hidden']} cells", f"{network['passes']:.2g} passes"):
        assert part in found["verdict"][1]


def test_a_network_that_was_hardly_trained_is_no_success_of_its_mixture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bits are in the range, because the mixture has them from the 5-gram model."""
    found = judged(monkeypatch, passes=0.1, network=405.0)
    verdict = " ".join(found["verdict"])
    assert not found["kept"]
    for part in ("slower", "405", "118", "did not take place"):
        assert part in verdict


def test_the_law_is_the_fit_of_the_runs_in_its_file() -> None:
    law, rows = measured_json()["law"], measured_json()["rows"]
    costs = [row["tokens"] * token_cost(row["hidden"], row["embedding"]) for row in rows]
    x_NK = np.array(
        [terms(cost, row["train_bytes"]) for cost, row in zip(costs, rows, strict=True)]
    )
    y_N = np.array([1 - row["mixture validation"] / row["kn5 validation"] for row in rows])
    assert law["coefficients"] == pytest.approx(np.linalg.lstsq(x_NK, y_N, rcond=None)[0], abs=1e-6)
    assert law["seconds"] == [round(min(costs)), round(max(costs))]

    misses = []
    for size in {row["train_bytes"] for row in rows}:
        own_N = np.array([row["train_bytes"] == size for row in rows])
        without_K = np.linalg.lstsq(x_NK[~own_N], y_N[~own_N], rcond=None)[0]
        misses += list(np.abs(y_N[own_N] - x_NK[own_N] @ without_K))
    assert (law["held"], law["of"]) == (sum(np.array(misses) <= law["half_width"]), len(rows))


@pytest.mark.parametrize(
    ("load", "threads", "numbers"),
    [(0.0, 0, [2]), (3.0, 0, [1, 2]), (13.0, 0, [1]), (13.0, 2, [2])],
)
def test_a_busy_machine_trains_with_fewer_threads_unless_the_user_sets_them(
    load: float,
    threads: int,
    numbers: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (load, load, load))
    for module in (
        "reviewlm.core.environment",
        "reviewlm.tasks.fitting.fit",
        "reviewlm.tasks.planning.plan",
    ):
        monkeypatch.setattr(f"{module}.available_cores", lambda: 2)
    config = load_config(FRAME, ["execution.workers=1", f"execution.threads={threads}"])
    assert planning.thread_numbers(config.execution) == numbers


def test_the_faster_number_of_threads_becomes_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "thread_numbers", lambda execution: [1, 2])
    monkeypatch.setattr(planning, "threads_of", lambda execution: 2)
    speeds = {1: 9_000.0, 2: 700.0}
    slow = planned(monkeypatch, 5, 240, by_threads=speeds)
    fast = planned(monkeypatch, 5, 240, by_threads={1: 9_000.0, 2: 12_000.0})
    assert ("execution.threads=1" in slow.settings, "execution.threads=1" in fast.settings) == (
        True,
        False,
    )
    assert slow.tokens_per_second == 9_000.0


class Places:
    """A cluster whose nodes train the probe so fast (tokens/s); None: it has no place free."""

    def __init__(self, *speeds: float | None) -> None:
        self.speeds = speeds

    def send_inputs(self, job: Any) -> None:
        """Send nothing."""

    def places(self, job: Any) -> list[Any]:
        return [partial(self.run, speed) for speed in self.speeds]

    def run(
        self,
        speed: float | None,
        job: Any,
        report: Any,
    ) -> dict[str, float]:
        assert job.work.is_dir()
        if speed is None:
            raise NodeTaken("taken")
        return {
            "seconds": 0.0,
            "tokens": 10 * speed,
            "updates": 10,
            "step_seconds": 1.0,
            "bf16": 1.0,
        }


def measured_on(monkeypatch: pytest.MonkeyPatch, *speeds: float | None) -> Machine:
    job = job_of(Path("data"), Path(), network_of(load_config(FRAME)))
    probe = SimpleNamespace(on_cluster=lambda: Places(*speeds), job=lambda work, pace: job)
    monkeypatch.setattr(planning, "_probe", lambda settings, spec, prepared: probe)
    config = load_config(FRAME, ["execution.cluster=auto"])
    settings = FitSettings.of(config)
    return planning.measured_on_nodes(settings, network_of(config), SimpleNamespace())  # type: ignore[arg-type]


def test_the_slowest_node_of_a_cluster_that_is_free_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        measured_on(
            monkeypatch,
            9_000,
            3_000,
            None,
            7_000,
        ).tokens_per_second
        == 3_000
    )


def test_a_plan_needs_a_free_node(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterFailed):
        measured_on(monkeypatch, None, None)


def test_a_cluster_trains_at_its_own_speed_before_what_follows_on_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow_here = planned(monkeypatch, 15, 700, speed=12_000)
    monkeypatch.setattr(planning, "measured_on_nodes", lambda *given: Machine(240_000.0, start=3.0))
    on_nodes = planned(
        monkeypatch,
        15,
        700,
        speed=12_000,
        cluster="auto",
    )
    alone = planned(monkeypatch, 15, 700, speed=240_000)
    assert slow_here.network
    assert on_nodes.network
    assert alone.network
    assert on_nodes.tokens_per_second == 240_000
    assert on_nodes.network.cost > slow_here.network.cost
    assert on_nodes.after > alone.after  # this machine scores at its own speed
    assert not any(setting.startswith("execution.") for setting in on_nodes.settings)


def test_a_plan_survives_being_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    for left in (35, 240):
        made = planned(monkeypatch, 5, left)
        assert TypeAdapter(RunPlan).validate_python(json.loads(json.dumps(asdict(made)))) == made


@pytest.mark.parametrize(
    ("preset", "overrides"),
    [
        ("small", []),
        (FRAME, ["vocabulary.word.unit=bpe"]),
        (FRAME, ["vectors.own=own.vec", "models.lstm.vectors=own"]),
    ],
)
def test_a_preset_that_the_rule_cannot_fill_in_is_refused(
    preset: str, overrides: list[str]
) -> None:
    with pytest.raises(ConfigError, match="cannot use this preset"):
        require_frame(load_config(preset, overrides))


def test_an_expectation_is_an_interval_below_the_n_gram_model() -> None:
    expected = expect(300, 5_000_000, 1.7)
    assert expected.low < expected.bits < expected.high < 1.7 * 1.1
    assert expected.holds(expected.bits)
    assert not expected.holds(expected.high + 1e-6)


@given(st.floats(20, 3_600), st.floats(1, 4), st.floats(3e5, 1e8))
def test_more_training_is_never_expected_to_be_worse(
    cost: float,
    times: float,
    size: float,
) -> None:
    assert expect(cost * times, size, 1.7).bits <= expect(cost, size, 1.7).bits + 1e-9


def test_the_stored_law_explains_the_stored_runs() -> None:
    found = measured_json()
    law, errors = found["law"], []
    for row in found["rows"]:
        cost = row["tokens"] * token_cost(row["hidden"], row["embedding"])
        gain = 1 - row["mixture validation"] / row["kn5 validation"]
        values = terms(cost, row["train_bytes"])
        errors.append(gain - sum(a * x for a, x in zip(law["coefficients"], values, strict=True)))
    assert len(errors) >= 7
    assert sum(abs(error) <= law["half_width"] for error in errors) >= 0.8 * len(errors)
    assert found["command"].startswith("python -m benchmarks.training.minutes")
    assert found["date"]
