"""Define the commands that list past decisions and go back to a former champion; promote by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reviewlm import terminal
from reviewlm.core.errors import InputError, TrackingUnavailable, nearest
from reviewlm.core.services.join import PROMOTED, ROLLED_BACK, send_event
from reviewlm.options import Json, NamingPreset, RegisteredModel, Set, configure

if TYPE_CHECKING:
    from reviewlm.core.config.sections.evaluation import PromotionConfig
    from reviewlm.core.config.sections.execution import ExecutionConfig
    from reviewlm.core.workspace import Workspace
    from reviewlm.tracking.registry.decisions import Event
    from reviewlm.tracking.registry.registry import Registry

FIRST_VERSION = "`reviewlm run` or `reviewlm demo` registers the first version."
AFTER_ROLLBACK = (
    "Version {} is `previous` now. The gate refuses the same fit, but not a new one from other reviews, settings or "
    "another seed: its figures have not shown the fault. Until the cause is found, switch the schedules off "
    "(`retrain/weekly`, `on-drift`, `classify/classifiers`)."
)
Why = Annotated[str, typer.Option("--why", help="The reason, for the decision log.")]
Who = Annotated[str, typer.Option("--who", help="Who decides. Default: USER@HOST.")]


def rollback(
    to: Annotated[
        int | None,
        typer.Option("--to", min=1, help="A former champion. Default: the previous one."),
    ] = None,
    why: Why = "",
    who: Who = "",
    model: RegisteredModel = "",
    preset: NamingPreset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Make a former champion the champion again.

    It must open, and score its probe texts as when it was saved. A version that was rolled back from has to be named.

    \b
    Example:
      reviewlm rollback --to 2
    """
    config = configure(preset, set, create=False)
    registry = _registry(config.workspace, config.promotion, model)
    if to is not None:
        registry.version(to)

    from reviewlm.tracking.registry.versions import CHAMPION

    champion = registry.alias(CHAMPION)
    target = registry.rollback_target(to)
    if left := registry.rolled_back().get(target):
        terminal.say(
            f"Version {target} was rolled back from on {left.when:%Y-%m-%d} by {left.who}: {left.why}"
        )

    _require_opens(config.execution, registry, target)
    against = champion.version if champion else None
    again = f"to ask again: `reviewlm rollback --model {registry.name} --to {target}`"
    result = _report_decision(
        config.home,
        ROLLED_BACK,
        registry,
        lambda: registry.rollback(
            target,
            against=against,
            why=why or "no reason given",
            who=who,
        ),
        again,
    )
    terminal.show_facts(result)
    if champion:
        terminal.say(AFTER_ROLLBACK.format(champion.version))

    terminal.last_line(result, json)


def history(
    model: RegisteredModel = "",
    preset: NamingPreset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """List the decisions about versions, then the versions.

    Who promoted or refused which version, when and why.
    """
    config = configure(preset, set, create=False)
    registry = _registry(config.workspace, config.promotion, model)
    from reviewlm.tracking.registry.decisions import ALIASES_COUNT, complaints

    events = registry.decisions()
    versions = registry.version_rows()
    damage = complaints(registry.events())
    if events or versions:
        decisions = [_shown_decision(event) for event in events]
        terminal.show_rows(decisions, f"Decisions about {registry.name}, the newest first")
        shown_versions = [_shown_version(version) for version in versions]
        terminal.show_rows(shown_versions, f"Versions of {registry.name}")
    else:
        from reviewlm.tracking.registry.locating import tracker_at
        from reviewlm.tracking.registry.remedies import OTHER_HOME, place_of

        where = place_of(tracker_at(config.workspace))
        terminal.say(
            f"No model is registered as '{registry.name}' in {where}. {FIRST_VERSION} {OTHER_HOME}."
        )

    for sentence in damage:
        terminal.say(f"The decision log was changed outside ReviewLM: {sentence}.")

    if damage:
        terminal.say(f"To do: {ALIASES_COUNT}.")

    terminal.last_line(
        {
            "model": registry.name,
            "versions": versions,
            "events": events,
            "damage": damage,
        },
        json,
    )


def _shown_decision(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a decision in the table that people read."""
    from reviewlm.tracking.registry.decisions import CARRIED_OUT

    decision = event["decision"]
    if event["state"] != CARRIED_OUT:
        decision += f", {event['state']}"

    return {
        "when (UTC)": _to_the_minute(event["when"]),
        "who": event["who"],
        "version": event["version"],
        "decision": decision,
        "why": event["why"],
    }


def _shown_version(version: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a version in the table that people read."""
    row = {"version": version["version"], "aliases": version["aliases"]}
    row["model"] = version["run_model"] or version["kind"]
    row["created (UTC)"] = _to_the_minute(version["created"])
    row["now"] = version["now"]
    row["outcome"] = ", ".join(filter(None, _outcomes(version)))
    return row


def _outcomes(version: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the decisions about a version, in a few words each: of the gate, of the gate later, of a person."""
    return version["outcome"], "later refused" if version["later"] else "", version["by_hand"]


def _to_the_minute(time: str) -> str:
    """Shorten an ISO time to the minute, so that a narrow terminal has room for the columns beside it."""
    return time[:16].replace("T", " ")


def promote_by_hand(
    workspace: Workspace,
    promotion: PromotionConfig,
    model: str,
    version: int,
    why: str,
    who: str,
    force: bool,
) -> dict[str, Any]:
    """Make a version champion without the gate, and return the decision."""
    registry = _registry(workspace, promotion, model)
    from reviewlm.tracking.registry.versions import CHAMPION

    champion = registry.alias(CHAMPION)
    if champion and champion.version == version:  # a repeated command, whose first answer was lost
        terminal.say(f"Version {version} is the champion already: there is nothing to do.")
        return {
            "champion_version": version,
            "previous_version": None,
            **next(iter(registry.decisions()), {}),
        }

    registry.require_promotable(version, force)
    _require_opens(workspace.execution, registry, version)
    against = champion.version if champion else None
    again = (
        f"to ask again: `reviewlm promote --model {registry.name} --version {version} --why TEXT`"
    )
    return _report_decision(
        workspace.home,
        PROMOTED,
        registry,
        lambda: registry.promote(
            version,
            against,
            why=why,
            who=who,
            force=force,
        ),
        again,
    )


def _registry(
    workspace: Workspace,
    promotion: PromotionConfig,
    model: str = "",
) -> Registry:
    """Return the registry of a model without Prefect, whose import takes longer than a rollback.

    Raises:
        InputError: No model is registered under the given name.
    """
    from reviewlm.tracking.registry.locating import asked_model, tracker_at
    from reviewlm.tracking.registry.registry import Registry
    from reviewlm.tracking.registry.versions import is_known, model_names

    tracker = tracker_at(workspace)
    if model and not is_known(tracker, model):
        names = model_names(tracker)
        raise InputError(
            "No model is registered under this name",
            value=model,
            where=tracker.uri,
            remedy=_known_models(model, names),
        )

    return Registry(tracker, model or asked_model(tracker, promotion.model_name))


def _known_models(asked: str, names: Sequence[str]) -> str:
    """Return which registered models there are, as a remedy."""
    if not names:
        return FIRST_VERSION
    return f"{nearest(asked, names)}one of {', '.join(names)}; `reviewlm history --model {names[0]}` lists its versions"


def _require_opens(
    execution: ExecutionConfig,
    registry: Registry,
    version: int,
) -> None:
    """Open a version of either family before it becomes champion: its probe texts are scored again."""
    from reviewlm.tracking.registry.opening import open_champion
    from reviewlm.tracking.registry.versions import SCHEME

    device = "cuda" if execution.device == "cuda" else "cpu"
    open_champion(registry.tracker, f"{SCHEME}{registry.name}/{version}", device, form=None)


def _report_decision(
    home: Path,
    alert: str,
    registry: Registry,
    decide: Callable[[], Event],
    again: str,
) -> dict[str, Any]:
    """Return the result of a decision by hand, and let the alerts tell it.

    Nothing is requested from MLflow afterwards: otherwise a valid decision could look like a failed one, and the user
    would repeat it. If MLflow became unreachable after the decision, the decision is reported as made, with the command
    that repeats it (*again*) without undoing it.
    """
    from reviewlm.tracking.registry.decisions import CARRIED_OUT, PENDING
    from reviewlm.tracking.registry.logged_decisions import Unfinished

    try:
        event = decide()
        state = CARRIED_OUT
    except Unfinished as error:
        event = error.event
        state = PENDING
        terminal.say(
            f"{error.what}: MLflow cannot be reached ({error.cause}). {again[0].upper()}{again[1:]}."
        )
    except TrackingUnavailable as error:  # the request may have arrived although the answer did not
        raise TrackingUnavailable(
            error.what,
            where=error.where,
            value=error.value,
            cause=error.cause,
            remedy=f"{error.remedy}; {again}",
        ) from error

    decision = event.as_row(state)
    sentence = f"By hand, by {decision['who']}: {decision['why']}"
    send_event(home, alert, registry.name, {"version": event.version, "sentence": sentence})
    return {
        "champion_version": event.version,
        "previous_version": event.against,
        **{name: decision[name] for name in ("event", "decision", "who", "when", "why", "state")},
    }
