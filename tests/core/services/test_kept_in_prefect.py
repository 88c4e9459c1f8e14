"""`prefect.yaml` and Prefect's pages may both change a deployment: what is deployed, and what stays."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.core.services.deployments import (
    Settings,
    entries_of,
    note_deployed,
    plan_of,
    put_setting,
    read_deployed,
    settings_in_file,
    settings_on_server,
    shown_schedule,
)
from reviewlm.core.services.pools import POOLS

WEEKLY = {
    "name": "weekly",
    "work_pool": {"name": "cpu-pool"},
    "parameters": {"preset": "small"},
    "concurrency_limit": 1,
    "schedules": [
        {
            "cron": "0 3 * * 1",
            "timezone": "UTC",
            "active": False,
        }
    ],
    "triggers": [{"enabled": True}],
}


def answer(**other: Any) -> dict[str, Any]:
    """What Prefect's server says of WEEKLY after it was deployed."""
    schedule = {
        "id": "7",
        "active": False,
        "schedule": {
            "cron": "0 3 * * 1",
            "timezone": "UTC",
            "day_or": True,
        },
        "parameters": {},
        "slug": None,
        "max_scheduled_runs": None,
    }
    return {
        "name": "weekly",
        "parameters": {"preset": "small"},
        "schedules": [schedule],
        "global_concurrency_limit": {"limit": 1},
        "job_variables": {},
        "paused": False,
        **other,
    }


AUTOMATIONS = [
    {"name": "weekly__automation_1", "enabled": True},
    {"name": "biweekly__automation_1", "enabled": False},
]
DEPLOYED = settings_in_file(WEEKLY)
VALUES: dict[str, Any] = {
    "parameters": {"preset": "minutes", "minutes": 15},
    "schedules": [{"cron": "0 4 * * 2", "timezone": "Europe/Berlin"}],
    "limit": None,
    "job_variables": {"env": {"A": "1"}},
    "paused": True,
    "automations": [False],
}


def changed(setting: str) -> Settings:
    return {**DEPLOYED, setting: VALUES[setting]}


def edited(setting: str, value: Any) -> dict[str, Any]:
    entry = deepcopy(WEEKLY)
    put_setting(entry, setting, value)
    return entry


def test_what_was_just_deployed_differs_in_nothing() -> None:
    assert settings_on_server(answer(), AUTOMATIONS) == DEPLOYED


@pytest.mark.parametrize("pool", POOLS)
def test_each_deployment_of_the_file_can_be_written_with_every_setting_of_a_user(pool: str) -> None:
    for entry in entries_of([pool]):
        for setting, value in VALUES.items():
            new = deepcopy(entry)
            put_setting(new, setting, value)
            expected = (
                value if setting != "automations" else value[: len(entry.get("triggers", ()))]
            )
            assert settings_in_file(new)[setting] == expected


@pytest.mark.parametrize("setting", VALUES)
def test_what_somebody_changed_in_prefect_stays(setting: str) -> None:
    plan = plan_of([WEEKLY], {"weekly": changed(setting)}, {"weekly": DEPLOYED}, again=True)
    assert settings_in_file(plan.entries[0]) == changed(setting)
    assert (plan.kept, plan.changed) == ({"weekly": [setting]}, {})
    assert plan.wanted == {"weekly": DEPLOYED}, "so it stays the next time, too"


@pytest.mark.parametrize("setting", VALUES)
def test_what_the_file_changed_is_deployed(setting: str) -> None:
    entry = edited(setting, VALUES[setting])
    plan = plan_of([entry], {"weekly": DEPLOYED}, {"weekly": DEPLOYED}, again=True)
    assert settings_in_file(plan.entries[0]) == changed(setting)
    assert (plan.kept, plan.changed) == ({}, {"weekly": [setting]})


@pytest.mark.parametrize("known", [{}, {"weekly": DEPLOYED}])
def test_where_both_changed_a_setting_that_of_prefect_stays_unless_it_is_to_be_overwritten(
    known: dict[str, Settings],
) -> None:
    entry = edited("parameters", {"preset": "full"})
    there = {"weekly": changed("parameters")}
    assert plan_of([entry], there, known, again=True).kept == {"weekly": ["parameters"]}
    replaced = plan_of(
        [entry],
        there,
        known,
        again=True,
        overwrite=True,
    )
    assert replaced.entries == [entry]
    assert (replaced.kept, replaced.changed) == ({}, {"weekly": ["parameters"]})


def test_a_start_creates_what_is_missing_while_it_names_what_waits_for_deploy() -> None:
    other = {**deepcopy(WEEKLY), "name": "other"}
    entries = [edited("parameters", {"preset": "full"}), other]
    plan = plan_of(entries, {"weekly": DEPLOYED}, {"weekly": DEPLOYED})
    assert (plan.created, plan.entries) == (["other"], [other])
    assert plan.undeployed == {"weekly": ["parameters"]}
    assert len(plan.sentences()) == 1


SETTING = st.fixed_dictionaries(
    {name: st.sampled_from([DEPLOYED[name], VALUES[name]]) for name in VALUES}
)


@given(
    there=SETTING,
    file=SETTING,
    before=SETTING,
)
def test_each_setting_gets_the_value_of_the_file_or_keeps_that_of_prefect(
    there: Settings,
    file: Settings,
    before: Settings,
) -> None:
    entry = deepcopy(WEEKLY)
    for setting, value in file.items():
        put_setting(entry, setting, value)
    plan = plan_of([entry], {"weekly": there}, {"weekly": before}, again=True)
    result = settings_in_file(plan.entries[0])
    for setting in VALUES:
        untouched = there[setting] == before[setting]
        assert result[setting] == (file if untouched else there)[setting]


def test_the_home_remembers_what_was_deployed(tmp_path: Path) -> None:
    note_deployed(tmp_path, {"weekly": DEPLOYED})
    note_deployed(tmp_path, {"other": changed("limit")})
    assert read_deployed(tmp_path) == {"weekly": DEPLOYED, "other": changed("limit")}


@pytest.mark.parametrize(
    ("settings", "state"),
    [
        (DEPLOYED, "off"),
        (changed("schedules"), "on"),
        ({**changed("schedules"), "paused": True}, "paused"),
    ],
)
def test_a_shown_schedule_begins_with_its_state(settings: Settings, state: str) -> None:
    assert shown_schedule(settings).split()[0] == state
