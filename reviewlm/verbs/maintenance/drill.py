"""Define the command that causes the failures which ReviewLM survives, one after another, and shows what happened."""

from __future__ import annotations

import json as json_text
import os
import platform
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from core.environment import available_cores
from core.errors import ConfigError, ReviewLMError
from core.markdown import table_row
from core.output import require_output, write_output
from core.processes.children import end_child, start_child
from core.processes.leftovers import lasting_folder
from core.services.pools import PROJECT
from reviewlm import terminal
from reviewlm.options import Json

app = typer.Typer()
FAILED = 1
"""Exit code if a row is not ok."""
NO_TESTS = 5
"""Exit code of pytest if there is no test to run."""
PLUGIN, PREFIX, MARK = "tests.drill_rows", "drill-row: ", "mark.drill("
OWN_SERVERS = (
    "REVIEWLM_HOME", "REVIEWLM_TRACKING_URI", "REVIEWLM_MLFLOW_URL", "PREFECT_API_URL", "PREFECT_API_AUTH_STRING",
    "PREFECT_HOME", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI",
)  # fmt: skip
"""Variables that the drill does not pass on: it must reach neither the home nor the servers of the user."""
WORDS = {True: "ok", False: "FAILED", None: "not run"}
COLUMNS = ["failure", "what was done", "what happened", "figures", "ok"]
Row = dict[str, Any]


@app.command()
def drill(
    only: Annotated[str, typer.Option("--only", metavar="WORDS", help="Only rows that have all these words.")] = "",
    long: Annotated[bool, typer.Option("--long/--quick", help="Also rows that need minutes each.")] = False,
    out: Annotated[str, typer.Option("--out", metavar="FILE", help="Write the table as Markdown.")] = "",
    json: Json = False,
) -> None:
    """Cause each failure that ReviewLM survives, and show what happened. Uses temporary homes and servers of its own.

    The rows are tests of the repository, so it needs a checkout with the packages for development.

    Failures: MLflow server away, MLflow's bucket away, Prefect server away, cancelled, clock set back, database
    connection cut, disk full, hanging task, killed at any moment, machine rebooted, poison file, promotion interrupted,
    two retrains at once, worker and flow killed together, worker lost.
    """
    require_tests(PROJECT)
    if out:
        require_output(Path(out))
    began, rows = time.monotonic(), list[Row]()
    log = Path(tempfile.mkstemp(prefix="reviewlm-drill-", suffix=".log", dir=lasting_folder())[1])
    with log.open("w", encoding="utf-8") as file:
        for row in _run(_pytest(only, long, PROJECT), file):
            terminal.say(in_a_line(row))
            rows.append(row)
    if not rows:
        raise ReviewLMError("The tests of the drill could not run", where=log, cause=_end_of(log))
    rows.sort(key=lambda row: (row["failure"], row["done"]))
    counts = {word: sum(row["ok"] is ok for row in rows) for ok, word in WORDS.items()}
    terminal.say()
    terminal.show_rows([cells(row) for row in rows])
    seconds = time.monotonic() - began
    terminal.say(f"{', '.join(f'{count} {word}' for word, count in counts.items())}; {seconds:.0f} seconds")
    if out:
        write_output(Path(out), in_markdown(rows, _command(only, long), seconds))
    terminal.last_line({"rows": rows, "seconds": round(seconds, 1), "log": str(log) if counts["FAILED"] else ""}, json)
    if counts["FAILED"] or not counts["ok"]:
        terminal.say(f"Output of the tests: {log}", whole=True)
        raise typer.Exit(FAILED)
    log.unlink()


def require_tests(project: Path) -> None:
    """Refuse an installation without the repository's tests, or without the packages that they need.

    Raises:
        ReviewLMError: Says what to install.
    """
    if not (project / f"{PLUGIN.replace('.', '/')}.py").is_file():
        raise ReviewLMError(
            "The drill needs the tests of the repository", where=project / "tests", cause="there are no tests here",
            remedy="clone the repository, and install it there: pip install -e '.[dev]'",
        )
    if missing := [name for name in ("pytest", "hypothesis") if find_spec(name) is None]:
        raise ReviewLMError(
            "The drill needs the packages for development", value=", ".join(missing), cause="they are not installed",
            remedy=f"pip install -e '{project}[dev]'",
        )


def _pytest(only: str, long: bool, project: Path) -> list[str]:
    """Return the arguments of Python that run the rows; only files with rows are collected."""
    files = [file for file in sorted((project / "tests").rglob("test_*.py")) if MARK in file.read_text("utf-8")]
    return [
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", PLUGIN, "-m", "drill" if long else "drill and not long",
        f"--drill-only={only}", *(str(file.relative_to(project)) for file in files),
    ]


def _command(only: str, long: bool) -> str:
    return shlex.join(["reviewlm", "drill", *(["--long"] if long else []), *(["--only", only] if only else [])])


def _run(program: Sequence[str], log: IO[str]) -> Iterator[Row]:
    """Run pytest, yield each row when it is finished, and write all other output to *log*.

    Raises:
        ConfigError: No row has the wanted words.
    """
    environment = {name: value for name, value in os.environ.items() if name not in OWN_SERVERS}
    child = start_child(
        program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=PROJECT, env=environment,
        encoding="utf-8", errors="replace",
    )
    try:
        for line in child.stdout or ():
            if line.startswith(PREFIX):
                yield json_text.loads(line.removeprefix(PREFIX))
            else:
                log.write(line)
                log.flush()
        if child.wait() == NO_TESTS:
            raise ConfigError("No row has these words", where="--only", remedy="`reviewlm drill --long` runs all rows")
    finally:
        end_child(child)


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8").strip().splitlines()[-5:])


def cells(row: Mapping[str, Any]) -> dict[str, str]:
    """Return a row as the texts of its columns."""
    figures = {**row["figures"], "tests": row["tests"], "seconds": round(row["seconds"])}
    told = ", ".join(f"{name} {value}" for name, value in figures.items())
    return dict(zip(COLUMNS, (row["failure"], row["done"], row["happened"], told, WORDS[row["ok"]]), strict=True))


def in_a_line(row: Mapping[str, Any]) -> str:
    """Return what is shown as soon as a row is finished."""
    shown = cells(row)
    return f"{shown['ok']:<8} {shown['failure']}: {shown['what was done']} ({shown['figures']})"


def in_markdown(rows: Iterable[Mapping[str, Any]], command: str, seconds: float) -> str:
    """Return the table with the day, the machine and the command."""
    machine = f"{available_cores()} cores, {platform.system()}, Python {platform.python_version()}"
    about = f"`{command}` on {datetime.now(UTC):%Y-%m-%d}, {machine}: {seconds / 60:.0f} minutes."
    lines = [table_row(COLUMNS), f"|{'---|' * len(COLUMNS)}", *(table_row([*cells(row).values()]) for row in rows)]
    return "\n".join([about, "", *lines, ""])
