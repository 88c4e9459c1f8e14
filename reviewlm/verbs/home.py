"""Define the commands of a home folder: back it up, restore it, upgrade it, free space, publish what waits."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from reviewlm import terminal
from reviewlm.core.errors import without_password
from reviewlm.options import Json, Preset, Set, configure, load_configuration, require_known_format
from reviewlm.terminal import size

EVERY_SECONDS = 5.0
REMOTE_TABLES = "execution.tracking_uri names another database: upgrade it where it is, see docs/how_to/upkeep.md"
PREFECT_TABLES = (
    "Prefect's tables are in another database: back it up before the services start, which migrate it, see "
    "docs/how_to/upkeep.md"
)
REMOTE = (
    "Not part of the backup: runs, registered models and decisions in {}. Save them there at about the same time, see "
    "docs/how_to/upkeep.md"
)
ELSEWHERE = (
    "Not part of the backup: {place}, outside this home, where runs of its MLflow database ({count}) and their logged "
    "models have their files. Save it now, after the database, with the means of that storage "
    "(docs/how_to/deployment.md)"
)
RETRAIN = (
    "A model that has learnt from a review may still know it. Run `reviewlm run` with the same --input: the new model "
    "has not seen it. When that is the champion, repeat this command with --delete-versions"
)
COMMANDS = (
    "The backup holds deployments of Prefect and models. Whoever made it decides what they run as you: start services "
    "or load a model of it only if you trust them."
)
log = logging.getLogger(__name__)


def backup(
    to: Annotated[Path, typer.Option("--to", help="Archive to write: .tar or .tar.gz.")],
    without_store: Annotated[
        bool,
        typer.Option(
            "--without-store", help="Leave out the results of stages, which a run computes again."
        ),
    ] = False,
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Save the home folder in one file, also while runs go on.

    \b
    Examples:
      reviewlm home backup --to backup.tar.gz
      reviewlm home backup --to small.tar.gz --without-store
    """
    from reviewlm.tracking.artifacts import places_elsewhere
    from reviewlm.tracking.backup import write_backup

    config = load_configuration(preset, set)
    result = write_backup(config.home, to, without_store, _progress())
    terminal.say(
        f"Saved {result['files']} files ({size(result['content_bytes'])}) in {to} ({size(result['bytes'])})."
    )
    warnings = []
    uri = config.execution.tracking_uri
    if uri:
        warnings = [REMOTE.format(without_password(uri))]

    places = sorted(places_elsewhere(config.home).items())
    warnings += [ELSEWHERE.format(place=place, count=count) for place, count in places]
    terminal.show_warnings(warnings)
    terminal.say(f"Restore it with: `reviewlm home restore {to} --home FOLDER`", whole=True)
    terminal.last_line(
        {
            **result,
            "without_store": without_store,
            "warnings": warnings,
        },
        json,
    )


def restore(
    file: Annotated[Path, typer.Argument(help="Archive that `reviewlm home backup` wrote.")],
    home: Annotated[
        Path, typer.Option("--home", help="Folder to restore into; it is new or empty.")
    ],
    json: Json = False,
) -> None:
    """Restore a home folder from a backup, after every checksum was compared.

    \b
    Example:
      reviewlm home restore backup.tar.gz --home restored
    """
    from reviewlm.tracking.backup import restore_backup

    result = restore_backup(file, home, _progress())
    terminal.say(
        f"Restored {result['files']} files ({size(result['content_bytes'])}), every checksum agrees."
    )
    if result["without_store"]:
        terminal.say(
            "The backup was made without results of stages: the next run computes them again."
        )

    warnings = [COMMANDS] if result["runs_commands"] else []
    terminal.show_warnings(warnings)
    terminal.say(
        f"Use it with: REVIEWLM_HOME={result['home']} {terminal.program()} history", whole=True
    )
    terminal.last_line({**result, "warnings": warnings}, json)


def upgrade(
    to: Annotated[
        Path | None, typer.Option("--to", help="Archive of the backup; default: beside the home.")
    ] = None,
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Bring the home folder to the installed version: back it up, then migrate the tables of MLflow and Prefect.

    Where it is interrupted or killed, each database is as it was or migrated; repeat it.
    """
    from reviewlm.flows.server.tables import is_elsewhere, tables_of
    from reviewlm.tracking.backup import upgrade_home

    config = load_configuration(preset, set)
    require_known_format(config.home)
    result = upgrade_home(config.home, to, _progress(), tables_of(config.home))
    for library, part in (("MLflow", ""), ("Prefect", "prefect_")):
        before = result[f"{part}before"]
        after = result[f"{part}after"]
        if before != after:
            terminal.say(f"{library}'s tables are migrated from revision {before} to {after}.")

    if result["backup"]:
        terminal.say(
            f"The way back: `reviewlm home restore {result['backup']} --home FOLDER`", whole=True
        )
    else:
        terminal.say(f"Nothing to do: {config.home} is of the installed version.")

    warnings = [REMOTE_TABLES] if config.execution.tracking_uri else []
    warnings += [PREFECT_TABLES] if is_elsewhere() else []
    terminal.show_warnings(warnings)
    terminal.last_line({**result, "warnings": warnings}, json)


def _progress() -> Callable[[int], None]:
    """Return a function that logs the progress every few seconds."""
    last_shown = time.monotonic()

    def tell(done: int) -> None:
        nonlocal last_shown
        if time.monotonic() - last_shown > EVERY_SECONDS:
            last_shown = time.monotonic()
            log.info("%s", size(done))

    return tell


def gc(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be removed; change nothing.")
    ] = False,
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Remove what no registered version, no recent run and no running process needs.

    `--set upkeep.runs=3` keeps what the last three runs used, `--set upkeep.versions=5` the lineages of five versions.

    \b
    Examples:
      reviewlm home gc --dry-run
      reviewlm home gc --set upkeep.runs=3
    """
    config = configure(preset, set)
    from reviewlm.tasks.upkeep.collect import collect

    done = collect(config.workspace, config.upkeep, dry_run)
    goes = "would go" if dry_run else "gone"
    rows = []
    for row in done["kinds"]:
        kept_size = size(row["kept_bytes"])
        gone_size = size(row["gone_bytes"])
        line = {
            "what": row["kind"],
            "kept": row["kept"],
            "size": kept_size,
        }
        line |= {goes: row["gone"], f"size {goes}": gone_size}
        rows.append(line)

    terminal.show_rows(rows)
    reasons = done["results_kept_because"].items()
    terminal.show_rows([{"results kept as": why, "number": count} for why, count in reasons])
    for note in done["notes"]:
        terminal.say(f"{note[0].upper()}{note[1:]}.")

    before, after = (size(done[f"bytes_{when}"]) for when in ("before", "after"))
    terminal.say(
        f"{config.home}: {before} before, {after} {'afterwards; nothing was changed' if dry_run else 'now'}."
    )
    terminal.last_line(done, json)


def forget(
    review_id: Annotated[
        list[str] | None, typer.Option("--review-id", help="Id of a review; may be repeated.")
    ] = None,
    user_id: Annotated[
        list[str] | None,
        typer.Option("--user-id", help="Id of a person, all of whose reviews go; may be repeated."),
    ] = None,
    delete_versions: Annotated[
        bool,
        typer.Option(
            "--delete-versions",
            help="Also delete the registered versions that have learnt from forgotten reviews, except the champion and "
            "those with an alias of your own.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be removed; change nothing.")
    ] = False,
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Remove a person's reviews from the home folder, and never read them again.

    What holds them is removed and built again by the next run. Models that have learnt from them are named.

    \b
    Examples:
      reviewlm home forget --user-id u123 --dry-run
      reviewlm home forget --user-id u123
      reviewlm home forget --review-id r1 --review-id r2 --delete-versions
    """
    from reviewlm.core.errors import ConfigError

    if not review_id and not user_id:
        raise ConfigError(
            "Nothing was named to forget", where="--review-id, --user-id", remedy="name an id"
        )

    config = configure(preset, set)
    from reviewlm.tasks.upkeep.forget import forget as forget_reviews
    from reviewlm.tasks.upkeep.forget import ids_in_our_form

    reviews, users = (ids_in_our_form(given or []) for given in (review_id, user_id))
    done = forget_reviews(
        config.workspace,
        reviews,
        users,
        dry_run,
        delete_versions,
    )
    goes = "would go" if dry_run else "gone"
    terminal.show_rows(
        [{"what": row["kind"], goes: row["number"]} for row in done["removed"]],
        empty="Nothing in the home folder holds these reviews.",
    )
    terminal.show_rows(
        done["versions"], "Registered versions that hold them or have learnt from them"
    )
    terminal.show_rows(done["files"], "Files that still hold them; runs leave them out from now on")
    warnings = [f"{path} still holds them" for path in done["left"]]
    if any(row["learnt"] for row in done["versions"]):
        warnings.append(RETRAIN)

    terminal.show_warnings([*warnings, *done["notes"]])
    terminal.last_line(done, json)


def sync(
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Publish the runs that wait for MLflow. The next run does so too."""
    config = configure(preset, set)
    from reviewlm.tracking.runs.record import waiting_runs
    from reviewlm.tracking.runs.runs import Tracker

    stores = waiting_runs(config.home)
    for store in stores:
        Tracker(store["store"], store["experiment"], config.home / "mlartifacts").sync()

    left = {(row["store"], row["experiment"]): row for row in waiting_runs(config.home)}
    rows = [
        store | {"waiting": 0} | left.get((store["store"], store["experiment"]), {})
        for store in stores
    ]
    rows = [row | {"store": without_password(row["store"])} for row in rows]
    terminal.show_rows(rows, empty="No runs wait for MLflow, and nothing was rejected.")
    terminal.last_line({"waiting": sum(row["waiting"] for row in rows), "stores": rows}, json)
