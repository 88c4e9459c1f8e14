"""Define `version lineage`, `report` and `reproduce`: the chain to the raw files, the report, a rebuild."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reviewlm import terminal
from reviewlm.core.errors import ArtifactError, NotReproduced
from reviewlm.core.output import require_folder
from reviewlm.flow_runs import run_flow
from reviewlm.options import Input, Json, Preset, Set, Verbose, configure
from reviewlm.shown_results import show_report

if TYPE_CHECKING:
    from reviewlm.core.config.run_config import RunConfig
    from reviewlm.core.lineage import Defect, Lineage
    from reviewlm.tracking.registry.versions import Version as RegisteredVersion

SHORT = 12
"""Digits shown of a hash."""
Version = Annotated[str, typer.Argument(help="Alias or number of a registered version.")]


def lineage(
    version: Version = "champion",
    verify: Annotated[
        bool, typer.Option("--verify", help="Hash everything again; a difference is an error.")
    ] = False,
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Show the origin of a version, back to the raw files: stages, digests, sizes, times, code.

    \b
    Example:
      reviewlm version lineage champion
    """
    config = configure(preset, set, create=False)
    from reviewlm.core import lineage as chain
    from reviewlm.core.lineage import LINEAGE_TAG
    from reviewlm.tracking.logged_models.bundles import required_record
    from reviewlm.tracking.registry.opening import find

    opened = find(config.workspace, config.promotion.model_name, version)
    record = required_record(opened.folder)
    store = config.home / "store"
    root = opened.version.tags.get(LINEAGE_TAG, "")
    if verify:
        defects = chain.verify(record, store, opened.folder, root)
    else:
        defects = chain.present(record, store)

    _show_lineage(record, opened.version, defects)
    if verify:
        chain.require_whole(defects)
        terminal.say(
            f"verified: {len(record.steps)} stages and {len(record.sources)} sources are unchanged"
        )

    links = record.links()
    steps = [
        {
            **vars(step),
            "label": record.label(step),
            "link": links[step.key],
        }
        for step in record.steps
    ]
    facts = {"version": opened.version.version, "model": record.model}
    facts |= {
        "bundle": record.bundle,
        "root": record.root,
        "steps": steps,
    }
    facts["sources"] = [vars(source) for source in record.sources]
    facts["findings"] = [vars(defect) for defect in defects]
    facts["verified"] = verify
    terminal.last_line(facts, json)


def _show_lineage(
    record: Lineage,
    version: RegisteredVersion,
    defects: Sequence[Defect],
) -> None:
    """Show the stages and sources of a version, and which of their files are missing or changed."""
    aliases = ""
    if version.aliases:
        aliases = f" ({', '.join(version.aliases)})"

    terminal.say(f"version {version.version}{aliases}: {record.model}, {record.kind}")
    terminal.say(f"bundle {record.bundle}\nroot   {record.root}")
    states = {defect.key: defect.state for defect in defects}
    steps = []
    for step in record.steps:
        size = terminal.size(step.bytes)
        state = states.get(step.key, "")
        row = {
            "stage": step.stage,
            "of": record.label(step),
            "digest": step.digest,
        }
        steps.append(
            {
                **row,
                "size": size,
                "state": state,
            }
        )

    terminal.show_rows(steps, "Stages, each after those that it was made from")
    sources = []
    for source in record.sources:
        size = terminal.size(source.bytes)
        state = states.get(source.sha256, "")
        row = {
            "source": source.kind,
            "name": source.name,
            "sha256": source.sha256[:SHORT],
        }
        sources.append(
            {
                **row,
                "size": size,
                "state": state,
            }
        )

    terminal.show_rows(sources, "Sources")
    for defect in defects:
        terminal.say(f"{defect.state}: {defect.where}")


def report(
    version: Version = "champion",
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Show the report of the run that made a version."""
    config = configure(preset, set, create=False)
    from reviewlm.evaluation.reports.run_record import REPORT_FILE, REPORTS, run_of_bundle
    from reviewlm.tracking.registry.opening import find
    from reviewlm.tracking.tags import BUNDLE_TAG

    registered = find(config.workspace, config.promotion.model_name, version).version
    reports = config.home / REPORTS
    run = run_of_bundle(reports, registered.tags.get(BUNDLE_TAG, ""))
    if run is None:
        raise ArtifactError(
            "There is no report of this version",
            where=reports,
            value=registered.version,
            remedy="`reviewlm run --until evaluate` writes one, with the settings of the version",
        )

    result = {"version": registered.version, "report": str(reports / run["folder"] / REPORT_FILE)}
    show_report(result)
    terminal.last_line(result, json)


def reproduce(
    version: Version = "champion",
    input: Input = None,
    home: Annotated[
        str, typer.Option("--home", help="New folder for the artifacts. Default: a temporary one.")
    ] = "",
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance",
            min=0,
            help="Relative tolerance of figures. Only used on another platform.",
        ),
    ] = 0.01,
    preset: Preset = "small",
    set: Set = None,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Make a version again from its raw files and compare every byte; name the first stage that differs.

    \b
    Example:
      reviewlm version reproduce champion
    """

    def check(config: RunConfig) -> None:
        from reviewlm.core.store import Store
        from reviewlm.tracking.registry.opening import find

        require_folder(Path(home) if home else None, "--home")
        find(config.workspace, config.promotion.model_name, version)
        if home:
            Store.require_new(Path(home))

    result = run_flow(
        "reproduce",
        preset,
        input,
        set or [],
        check,
        "a reproduction starts again, in a new folder",
        version=version,
        home=home,
        tolerance=tolerance,
    )
    _show(result)
    terminal.last_line(result, json)
    if result["verdict"] == "differs":
        raise _difference(result)


def _show(result: Mapping[str, Any]) -> None:
    """Show what became of a reproduction: its stages, platform, code, figures and verdict."""
    rows = []
    for step in result["steps"]:
        row = {
            "stage": step["stage"],
            "of": step["label"],
            "digest": step["digest"],
        }
        row["bytes"] = "equal" if step["equal"] else ", ".join(step["files"][:2])
        row["seconds then"] = step["seconds_then"]
        row["now"] = step["seconds_now"]
        rows.append(row)

    terminal.show_rows(rows, f"Version {result['version']} ({result['model']}), made again")
    for difference in result["platform"]:
        terminal.say(f"another platform: {difference}")

    if not result["same_code"]:
        terminal.say(f"other code: it was made by commit {result['git_commit'] or 'unknown'}")

    for row in result["figures"]:
        terminal.say(
            f"{row['split']} {row['figure']}: {row['then']:.10g} then, {row['now']:.10g} now"
        )

    terminal.say(f"Version {result['version']}: {result['verdict']}.")


def _difference(result: Mapping[str, Any]) -> NotReproduced:
    """Return the error that names the first stage that differs, and the reasons that are known."""
    first = result["first_difference"]
    stage = f"{first['stage']} {first['label']}".strip()
    reasons = [*first["identity"], *result["platform"]]
    if not result["same_code"]:
        reasons.append(f"the code is not that of commit {result['git_commit'] or 'unknown'}")

    return NotReproduced(
        f"Version {result['version']} came out differently: the first stage that differs is '{stage}'",
        where=first["file"],
        cause="; ".join(reasons[:4]),
    )
