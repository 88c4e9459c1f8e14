"""Decide what `prefect.yaml` changes on Prefect's server, so that nothing is lost that somebody set in Prefect's pages.

`prefect deploy` overwrites schedules, parameters, limits and automations of a deployment. So three values of each
setting are compared, as in a merge: that of the file now, that of the file when it was last deployed (kept in the home
folder), and that of the server. Where the server's is neither of the other two, somebody has changed it there, and it stays.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reviewlm.core.output import write_output
from reviewlm.core.provenance import PACKAGE

FILE = PACKAGE / "prefect.yaml"
DEPLOYED = "deployed.json"
"""What `prefect.yaml` said of each deployment when it was last deployed, in the home folder."""
WORDS = {
    "parameters": "parameters",
    "schedules": "schedule",
    "limit": "runs at a time",
    "job_variables": "job variables",
    "paused": "pause",
    "automations": "automation",
}
"""Settings that somebody may change in Prefect's pages; everything else is as `prefect.yaml` says."""
FREQUENCIES = ("cron", "interval", "rrule")
OPTIONS: dict[str, Any] = {
    "timezone": None,
    "day_or": True,
    "active": True,
    "parameters": {},
    "slug": None,
}
"""What else a schedule has, with what Prefect takes where nothing is said."""
Settings = dict[str, Any]


@dataclass
class DeploymentPlan:
    """Deployments to create or change.

    Args:
        entries: Deployments as `prefect.yaml` names them, with what was changed in Prefect put in.
        wanted: Settings in `prefect.yaml` of each of them.
        created: Those that the server lacks.
        changed: Settings that get another value than they have, by deployment.
        kept: Settings that stay as somebody changed them in Prefect, by deployment.
        undeployed: Settings that `prefect.yaml` has changed, of deployments that are left alone.
    """

    entries: list[dict[str, Any]] = field(default_factory=list)
    wanted: dict[str, Settings] = field(default_factory=dict)
    created: list[str] = field(default_factory=list)
    changed: dict[str, list[str]] = field(default_factory=dict)
    kept: dict[str, list[str]] = field(default_factory=dict)
    undeployed: dict[str, list[str]] = field(default_factory=dict)

    def sentences(self) -> list[str]:
        """Return sentences for a person: changes, kept settings, deployments that were left out."""
        told = []
        if self.changed:
            told.append(f"as prefect.yaml says, new in Prefect: {_list_settings(self.changed)}")
        if self.kept:
            told.append(
                f"kept as changed in Prefect, though prefect.yaml says something else: {_list_settings(self.kept)}. "
                "`reviewlm services start --deploy --overwrite` takes those of prefect.yaml"
            )

        if self.undeployed:
            told.append(
                f"prefect.yaml has changed and is not deployed: {_list_settings(self.undeployed)}. "
                "`reviewlm services start --deploy` deploys it"
            )

        return told


def _list_settings(settings: Mapping[str, Sequence[str]]) -> str:
    parts = []
    for name, several in settings.items():
        words = ", ".join(WORDS[one] for one in several)
        parts.append(f"{name} ({words})")

    return "; ".join(parts)


def entries_of(pools: Collection[str]) -> list[dict[str, Any]]:
    """Return the deployments of `prefect.yaml` that run in these pools."""
    import yaml

    entries = yaml.safe_load(FILE.read_text(encoding="utf-8"))["deployments"]
    return [entry for entry in entries if entry["work_pool"]["name"] in pools]


def plan_of(
    entries: Sequence[dict[str, Any]],
    there: Mapping[str, Settings],
    before: Mapping[str, Settings],
    again: bool = False,
    overwrite: bool = False,
) -> DeploymentPlan:
    """Return the plan of the deployments.

    Args:
        entries: Deployments of `prefect.yaml`.
        there: Settings of the deployments that the server has, by name.
        before: Settings in `prefect.yaml` when each was last deployed, by name.
        again: Also deploy those that the server has.
        overwrite: Keep nothing that was changed on the server.
    """
    plan = DeploymentPlan()
    for entry in entries:
        name = entry["name"]
        wanted = settings_in_file(entry)
        now = there.get(name)
        if now is not None and not again:
            base = before.get(name, wanted)
            _note(plan.undeployed, name, [one for one in WORDS if base[one] != wanted[one]])
            continue

        new = deepcopy(entry)
        if now is None:
            plan.created.append(name)
        else:
            base = {} if overwrite else before.get(name, {})
            different = [one for one in WORDS if now[one] != wanted[one]]
            kept = [one for one in different if not overwrite and now[one] != base.get(one)]
            for one in kept:
                put_setting(new, one, now[one])
            _note(plan.kept, name, kept)
            _note(plan.changed, name, [one for one in different if one not in kept])
        plan.entries.append(new)
        plan.wanted[name] = wanted

    return plan


def _note(
    settings: dict[str, list[str]],
    name: str,
    several: list[str],
) -> None:
    """Note settings of a deployment under its name, if there are any."""
    if several:
        settings[name] = several


def settings_in_file(entry: Mapping[str, Any]) -> Settings:
    """Return the settings that `prefect.yaml` gives a deployment."""
    schedules = entry.get("schedules") or ()
    triggers = entry.get("triggers") or ()
    settings: Settings = {"parameters": entry.get("parameters") or {}}
    settings["schedules"] = [_schedule(schedule, schedule) for schedule in schedules]
    settings["limit"] = entry.get("concurrency_limit")
    settings["job_variables"] = entry["work_pool"].get("job_variables") or {}
    settings["paused"] = bool(entry.get("paused", False))
    settings["automations"] = [bool(trigger.get("enabled", True)) for trigger in triggers]
    return settings


def settings_on_server(
    deployment: Mapping[str, Any], automations: Sequence[Mapping[str, Any]]
) -> Settings:
    """Return the settings that Prefect's server has for a deployment.

    Args:
        deployment: Its answer about the deployment.
        automations: Its answer about all automations.
    """
    limit = deployment.get("global_concurrency_limit")
    own = f"{deployment['name']}__automation_"
    started_by = sorted(
        (automation["name"], automation["enabled"])
        for automation in automations
        if automation["name"].startswith(own)
    )
    settings: Settings = {"parameters": deployment["parameters"]}
    schedules = deployment["schedules"]
    settings["schedules"] = [_schedule(entry["schedule"], entry) for entry in schedules]
    settings["limit"] = limit["limit"] if limit else None
    settings["job_variables"] = deployment["job_variables"]
    settings["paused"] = deployment["paused"]
    settings["automations"] = [enabled for _, enabled in started_by]
    return settings


def _schedule(frequency: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schedule as `prefect.yaml` writes it, without what Prefect takes by default.

    The start of an interval is left out: the server sets it where none was given.
    """
    said = {**frequency, **options}
    found = {name: said[name] for name in FREQUENCIES if said.get(name)}
    for name, default in OPTIONS.items():
        value = said.get(name)
        if value is not None and value != default:
            found[name] = value

    return found


def put_setting(
    entry: dict[str, Any],
    name: str,
    value: Any,
) -> None:
    """Give a deployment of `prefect.yaml` another setting."""
    if name == "job_variables":
        entry["work_pool"] = {**entry["work_pool"], "job_variables": value}
    elif name == "automations":
        for trigger, enabled in zip(entry.get("triggers") or (), value, strict=False):
            trigger["enabled"] = enabled
    else:
        entry[{"limit": "concurrency_limit"}.get(name, name)] = value


def read_deployed(home: Path) -> dict[str, Settings]:
    """Return the settings of `prefect.yaml` when each deployment was last deployed; {} if they are not known."""
    with suppress(OSError, ValueError):
        return dict(json.loads((home / DEPLOYED).read_text(encoding="utf-8")))
    return {}


def note_deployed(home: Path, wanted: Mapping[str, Settings]) -> None:
    """Keep the settings of `prefect.yaml` for the deployments that were deployed just now."""
    home.mkdir(parents=True, exist_ok=True)
    write_output(home / DEPLOYED, json.dumps({**read_deployed(home), **wanted}, indent=1))


def shown_schedule(settings: Settings) -> str:
    """Return the line that a list shows of a deployment: whether its schedule is on, its times, zones and parameters."""
    schedules = settings["schedules"]
    state = "on" if any(one.get("active", True) for one in schedules) else "off"
    if settings["paused"]:
        state = "paused"
    when = [
        str(schedule[name]) for schedule in schedules for name in FREQUENCIES if name in schedule
    ]
    zones = {str(one.get("timezone", "UTC")) for one in schedules}
    given = [f"{name}={json.dumps(value)}" for name, value in settings["parameters"].items()]
    return (
        f"{state:<4} {' and '.join(when)} {', '.join(sorted(zones))}   {' '.join(given)}".rstrip()
    )
