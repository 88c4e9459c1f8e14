"""Verbs that look at the data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reviewlm import terminal
from reviewlm.environment import available_cores
from reviewlm.verbs.options import Input, Json, Preset, Rebuild, Set, configured, run_flow, with_rebuild

app = typer.Typer()
quarantine_app = typer.Typer(no_args_is_help=True, help="Look at the records that ingestion set aside.")
app.add_typer(quarantine_app, name="quarantine")
checks_app = typer.Typer(no_args_is_help=True, help="Expectations of tables of your own.")
app.add_typer(checks_app, name="checks")
Table = Annotated[Path, typer.Option("--table", help="A Parquet file, or a folder of Parquet parts.")]


@app.command()
def synth(
    out: Annotated[Path, typer.Option("--out", help="File to write (JSON lines in Yelp's schema).")],
    reviews: Annotated[int, typer.Option("--reviews", min=1)] = 20_000,
    seed: Annotated[int, typer.Option("--seed")] = 1,
    malformed: Annotated[float, typer.Option("--malformed", min=0, max=0.5, help="Share of broken lines.")] = 0.0,
    duplicates: Annotated[float, typer.Option("--duplicates", min=0, max=0.5, help="Share of repeated reviews.")] = 0.0,
    preset: Preset = "small", set: Set = None, json: Json = False,
) -> None:
    """Write synthetic reviews whose exact probability is known."""
    configured(preset, set)
    from corpus.synth import write_reviews
    from reviewlm.errors import disk_errors

    with disk_errors(out):
        result = write_reviews(out, reviews, seed, malformed, duplicates, workers=available_cores())
    terminal.show_facts({**result, "out": str(out)})
    terminal.last_line(result, json)


@quarantine_app.command("show")
def quarantine_show(preset: Preset = "small", set: Set = None, json: Json = False) -> None:
    """Sum up the records that the newest ingestion set aside, with an example of each reason."""
    config = configured(preset, set)
    from corpus.quarantine import newest_quarantine, summarise

    rows = summarise(newest_quarantine(config.home / "store"))
    terminal.show_rows(rows)
    terminal.last_line({"reasons": rows}, json)


@quarantine_app.command("export")
def quarantine_export(
    out: Annotated[Path, typer.Option("--out", help="File to write: JSON lines, to be corrected by hand.")],
    reason: Annotated[str | None, typer.Option("--reason", help="Only these; none: all but repeated ids.")] = None,
    preset: Preset = "small", set: Set = None, json: Json = False,
) -> None:
    """Write the newest quarantine's records to a file in which the field `raw` can be corrected."""
    config = configured(preset, set)
    from corpus.quarantine import export, newest_quarantine

    terminal.show_facts(result := export(newest_quarantine(config.home / "store"), out, reason))
    terminal.last_line(result, json)


@quarantine_app.command("replay")
def quarantine_replay(
    fixed: Annotated[
        Path | None, typer.Option("--fixed", help="The corrected file; none: the records as they stand.")
    ] = None,
    preset: Preset = "small", set: Set = None, json: Json = False,
) -> None:
    """Read quarantined records again: with other settings, or corrected. What is good now joins the data set."""
    result = run_flow("replay_only", preset, [str(fixed)] if fixed else None, with_rebuild(set, None))
    terminal.show_facts(result)
    terminal.last_line(result, json)


@checks_app.command("suggest")
def checks_suggest(
    table: Table,
    out: Annotated[Path, typer.Option("--out", help="File to write: a suite as JSON, to be corrected by hand.")],
    preset: Preset = "small", set: Set = None, json: Json = False,
) -> None:
    """Write a suite of expectations that this table meets."""
    config = configured(preset, set)
    from data_checks.suggest import suggest
    from data_checks.suite_files import save_suite

    suite = suggest(table, table.stem, config.checks.chunk_rows)
    save_suite(suite, out)
    result = {"expectations": len(suite.expectations), "columns": len(suite.columns), "out": str(out)}
    terminal.show_facts(result)
    terminal.last_line(result, json)


@checks_app.command("run")
def checks_run(
    table: Table,
    suite: Annotated[Path, typer.Option("--suite", help="A suite as JSON, such as `checks suggest` writes.")],
    docs: Annotated[Path, typer.Option("--docs", help="Folder for the Data Docs.")] = Path("data_docs"),
    preset: Preset = "small", set: Set = None, json: Json = False,
) -> None:
    """Hold a table against a suite; a critical finding is an error."""
    config = configured(preset, set)
    from data_checks.suite_files import check_with

    docs = docs.absolute()
    report = check_with(suite, table, docs, table.name, config.checks.chunk_rows).located(docs.parent)
    rows = [{"passed": row.passed, "severity": row.severity, "what": row.sentence} for row in report.results]
    terminal.show_rows(rows)
    report.require()
    terminal.last_line({"passed": report.passed, "report": str(report.report_path)}, json)


@app.command()
def drift(
    input: Input = None, preset: Preset = "small", set: Set = None, rebuild: Rebuild = None, json: Json = False
) -> None:
    """Compare new reviews with those that the champion knows; drift that is found is also an event."""
    terminal.show_facts(result := run_flow("drift", preset, input, with_rebuild(set, rebuild)))
    terminal.last_line(result, json)
