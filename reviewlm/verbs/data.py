"""Define the commands for data: synthetic reviews, quarantine, checks and drift."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reviewlm import flow_runs, options, terminal
from reviewlm.core.output import require_folder, require_output
from reviewlm.models.options import Seed
from reviewlm.options import (
    Json,
    Preset,
    Rebuild,
    Set,
    Verbose,
    VersionInput,
    VersionPreset,
    configure,
)

quarantine_app = typer.Typer(
    no_args_is_help=True, help="Show and export records that were set aside."
)
checks_app = typer.Typer(
    no_args_is_help=True, help="Check your own tables with suites of expectations."
)
DATA_SETTINGS = ("source.input", "source.synthetic", "source.business")
"""Beginnings of the settings that choose the files or the embedded corpus."""
Table = Annotated[
    Path, typer.Option("--table", help="A Parquet file, or a folder of Parquet parts.")
]


def synth(
    out: Annotated[
        Path, typer.Option("--out", help="File to write (JSON lines in Yelp's schema).")
    ],
    reviews: Annotated[int, typer.Option("--reviews", min=1, help="Number of reviews.")] = 20_000,
    seed: Annotated[int, options.number("--seed", Seed, "Seed of the random draw.")] = 1,
    malformed: Annotated[
        float,
        typer.Option(
            "--malformed",
            min=0,
            max=0.5,
            help="Share of broken lines.",
        ),
    ] = 0.0,
    duplicates: Annotated[
        float,
        typer.Option(
            "--duplicates",
            min=0,
            max=0.5,
            help="Share of repeated reviews.",
        ),
    ] = 0.0,
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Write synthetic reviews whose exact probability is known.

    \b
    Example:
      reviewlm data synth --out reviews.json --reviews 50000
    """
    require_output(out)
    configure(preset, set)
    from reviewlm.corpus.synthetic.synth import write_reviews

    terminal.show_result(
        {
            **write_reviews(
                out,
                reviews,
                seed,
                malformed,
                duplicates,
            ),
            "out": str(out),
        },
        json,
    )


@quarantine_app.command("show")
def quarantine_show(
    input: VersionInput = None,
    preset: VersionPreset = "",
    set: Set = None,
    json: Json = False,
) -> None:
    """Count the rejected records by reason, with an example.

    Without --input: of the champion's data, or of the newest data set if there is no champion.

    \b
    Example:
      reviewlm data quarantine show --input reviews.json
    """
    counts, files = _quarantine(preset, input, set)
    from reviewlm.corpus.ingestion.quarantine import summarise

    rows = summarise(files)
    terminal.show_rows(
        rows,
        f"Quarantine of {counts['data']}",
        empty=f"No record of {counts['data']} was set aside.",
    )
    terminal.last_line({"reasons": rows, **counts}, json)


@quarantine_app.command("export")
def quarantine_export(
    out: Annotated[
        Path, typer.Option("--out", help="File to write: JSON lines, to be corrected by hand.")
    ],
    reason: Annotated[
        str | None,
        typer.Option("--reason", help="This reason only. Default: all but repeated ids."),
    ] = None,
    input: VersionInput = None,
    preset: VersionPreset = "",
    set: Set = None,
    json: Json = False,
) -> None:
    """Write rejected records to a file for correction.

    Correct its lines and name the file beside the others (--input). What is not corrected is set aside again. Without
    such records the file is empty.

    \b
    Example:
      reviewlm data quarantine export --out bad.jsonl
    """
    require_output(out)
    counts, files = _quarantine(preset, input, set)
    from reviewlm.corpus.ingestion.quarantine import export

    written = export(files, out, reason)
    if not written["records"]:
        terminal.say("The quarantine holds no such record: the file is empty.")
    terminal.show_result({**written, **counts}, json)


def _quarantine(
    preset: str,
    input: list[str] | None,
    given: list[str] | None,
) -> tuple[dict[str, str], list[Path]]:
    """Return the origin of the data and their quarantine files; without a champion, of the newest data set.

    Raises:
        EmptyInput: The data set is not in the store.
    """
    from reviewlm.core.config.presets import DEFAULT, load_config
    from reviewlm.core.store import Store
    from reviewlm.corpus.ingestion.find_data_set import newest_data_set, quarantine_files
    from reviewlm.corpus.ingestion.parts import QUARANTINE_FILE
    from reviewlm.tracking.registry.version_settings import (
        NothingChosen,
        VersionSettings,
        settings_of,
        where_of,
    )

    options.set_up(where_of(preset, given or []))
    # Other settings of the section `source`, such as limits, change how files are read, not which files are chosen.
    choosing_data = []
    for setting in given or []:
        if setting.strip().startswith(DATA_SETTINGS) or not setting.strip().startswith("source."):
            choosing_data.append(setting)

    try:
        chosen = settings_of(
            preset=preset,
            input=input or [],
            overrides=given or [],
        )
        recorded = settings_of(
            preset=preset,
            input=input or [],
            overrides=choosing_data,
        )
        return chosen.describe(), quarantine_files(
            Store.of(chosen.config.home), recorded.config.source, recorded.dataset
        )
    except NothingChosen:
        config = load_config(DEFAULT, given or [])
        dataset = newest_data_set(Store.of(config.home))
        names = ", ".join(source["name"] for source in dataset.facts["sources"][:3])
        chosen = VersionSettings(config, f"the newest data set: {names}", f"preset '{DEFAULT}'")
        return chosen.describe(), [dataset.folder / QUARANTINE_FILE]


@checks_app.command("suggest")
def checks_suggest(
    table: Table,
    out: Annotated[
        Path, typer.Option("--out", help="File to write: a suite as JSON, to be corrected by hand.")
    ],
    json: Json = False,
) -> None:
    """Write a suite of checks that this table meets.

    \b
    Example:
      reviewlm data checks suggest --table reviews.parquet --out suite.json
    """
    require_output(out)
    flow_runs.require_file(table, "--table")
    from reviewlm.data_checks.suggest import suggest
    from reviewlm.data_checks.suite_runs import save_suite
    from reviewlm.models.specs import as_name

    suite = suggest(table, as_name(table.stem, "table"))
    save_suite(suite, out)
    terminal.show_result(
        {
            "checks": len(suite.checks),
            "columns": len(suite.columns),
            "out": str(out),
        },
        json,
    )


@checks_app.command("run")
def checks_run(
    table: Table,
    suite: Annotated[
        Path, typer.Option("--suite", help="A suite as JSON, such as `data checks suggest` writes.")
    ],
    docs: Annotated[Path, typer.Option("--docs", help="Folder for the Data Docs.")] = Path(
        "data_docs"
    ),
    json: Json = False,
) -> None:
    """Check a table with a suite; a failed critical expectation is an error.

    \b
    Example:
      reviewlm data checks run --table reviews.parquet --suite suite.json
    """
    flow_runs.require_file(table, "--table")
    flow_runs.require_file(suite, "--suite")
    from reviewlm.data_checks.suite_runs import check_with

    require_folder(docs, "--docs")
    docs = docs.absolute()
    report = check_with(suite, table, docs, table.name).with_folder(docs.parent)
    rows = [
        {
            "passed": row.passed,
            "severity": row.severity,
            "what": row.sentence,
        }
        for row in report.results
    ]
    terminal.show_rows(rows, empty="The suite has no checks.")
    report.require()
    terminal.last_line({"passed": report.passed, "report": str(report.report_path)}, json)


def drift(
    input: VersionInput = None,
    preset: VersionPreset = "",
    set: Set = None,
    rebuild: Rebuild = None,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Compare new reviews with those that the champion knows; drift is also sent as an alert.

    Without --input: the files added since then to the folders of the champion's data.

    \b
    Example:
      reviewlm data drift --input new_reviews.json
    """
    overrides = flow_runs.with_rebuild(set, rebuild)
    chosen = flow_runs.settings_of_versions(["champion"], preset, input, overrides)
    flow_runs.require_champion(chosen)
    flow_runs.require_new_reviews(chosen)
    flow_runs.require_input(chosen.config.source)
    result = flow_runs.run_version_flow(
        "drift",
        chosen,
        preset,
        input,
        overrides,
    )
    if result["drifted"]:
        terminal.say(
            "No retrain was started. For one: `reviewlm run`, its --input the champion's files and these."
        )

    terminal.show_result(result, json)
