"""A run with a time budget: its settings are ordinary ones afterwards, and the same command finds all of it again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reviewlm.core.environment import other_home

pytestmark = pytest.mark.long
PRESET = str(Path(__file__).parents[1] / "minutes.toml")


@pytest.fixture(scope="module")
def timed_home(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home in which the clock says that a minute is left, on a machine of a known speed."""
    from reviewlm.tasks.planning import plan
    from reviewlm.tasks.planning.rule import Machine

    with (
        pytest.MonkeyPatch.context() as patch,
        other_home(folder := tmp_path_factory.mktemp("minutes")),
    ):
        machine = Machine(4_000.0, start=1.0)
        patch.setattr(plan, "measured_speed", lambda settings, spec, prepared, threads: machine)
        patch.setattr(plan.PlanRequest, "seconds_left", lambda self: 75.0)
        yield folder


def ran(*overrides: str) -> dict[str, Any]:
    from reviewlm.flows.retrain import retrain

    return retrain(PRESET, None, list(overrides), 2.0)


def bundles(home: Path) -> dict[str, str]:
    """The weights of the networks in the store, by digest of their fits."""
    manifests = [
        json.loads(path.read_text()) for path in (home / "store" / "fit").glob("*/manifest.json")
    ]
    weights = "bundle/weights.safetensors"
    return {
        str(found["facts"]["summary"]["updates"]): found["files"][weights]["sha256"]
        for found in manifests
        if weights in found["files"]
    }


def test_a_run_in_time_is_an_ordinary_run_that_the_same_command_finds_again(
    timed_home: Path,
) -> None:
    first = ran()
    made = first["plan"]
    assert made["minutes"] == 2
    assert made["network"]["hidden"] in (64, 128)
    assert made["expected"]["low"] <= made["expected"]["bits"] <= made["expected"]["high"]
    assert made["reached"]["bits"] == pytest.approx(
        min(model["validation"]["open_bits_per_byte"] for model in first["models"])
    )
    assert "plan" not in first["reused"]

    [pace] = (timed_home / "store" / "pace").glob("*/manifest.json")
    length = json.loads(pace.read_text())["facts"]
    before = bundles(timed_home)
    assert list(before) == [str(float(length["all_updates"]))] or list(before) == [
        str(length["all_updates"])
    ]

    second = ran()
    assert {"plan", "pace", "fit", "score"} <= set(second["reused"])
    assert second["plan"]["settings"] == made["settings"]

    ran('execution.rebuild=["fit"]')  # from the first update on, without the clock
    assert bundles(timed_home) == before
