"""Run `reviewlm VERB`: results go to standard output, progress and logs to standard error.

Every command takes --json: standard output is then only one JSON object, even after an error. Every command that needs
a configuration takes --preset and --set key=value. The exit code of a command is that of its error's class (see
`core/errors.py`). Heavy libraries are imported only when a command runs. The commands are in `reviewlm/verbs/`; here
they get their place, and numeric options their check.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

import typer

from reviewlm import terminal
from reviewlm.boundary import run_verb
from reviewlm.core.config.section import require_numbers
from reviewlm.core.environment import numpy_features
from reviewlm.core.processes import interrupts, standard_streams
from reviewlm.core.processes.leftovers import own_temporary_folder
from reviewlm.verbs import (
    alerts,
    champion,
    check,
    compare,
    config,
    data,
    home,
    lineage,
    model,
    ngram,
    operate,
    pipeline,
)
from reviewlm.verbs.other_models import classify, nearest, punctuate, vectors

EXAMPLES = """\b
Examples:
  reviewlm demo
  reviewlm run --input reviews.json --minutes 15
  reviewlm suggest "the food was"
"""
TOP: tuple[Callable[..., None], ...] = (
    pipeline.demo,
    pipeline.run,
    check.check,
    model.generate,
    model.suggest,
    model.score,
    operate.serve,
    compare.compare,
    champion.history,
    pipeline.promote,
    champion.rollback,
    check.doctor,
)
"""Commands of the first level, in the order of the help page; a command is named as its function."""
GROUPS: dict[str, tuple[str, tuple[Callable[..., None], ...], dict[str, typer.Typer]]] = {
    "data": (
        "Ingest, check, correct, compare and synthesise reviews.",
        (pipeline.ingest, data.drift, data.synth),
        {"quarantine": data.quarantine_app, "checks": data.checks_app},
    ),
    "models": (
        "Classifiers, punctuation, vectors, n-grams, sweeps.",
        (vectors.embed, nearest.nearest, vectors.neighbours, pipeline.sweep),
        {
            "classify": classify.app,
            "punctuate": punctuate.app,
            "ngram": ngram.app,
        },
    ),
    "version": (
        "Trace, rebuild, rescore and export a version.",
        (lineage.lineage, lineage.reproduce, pipeline.rescore, model.export, lineage.report),
        {},
    ),
    "home": (
        "Back up, clean and upgrade the home folder; tokens and alerts.",
        (home.backup, home.restore, home.gc, home.forget, home.upgrade, home.sync),
        {"tokens": operate.tokens_app, "alerts": alerts.app},
    ),
    "services": (
        "Start and stop the pages of Prefect and MLflow.",
        (operate.start, operate.stop, operate.status, operate.password),
        {},
    ),
}
"""Groups: what they are for, their commands, and the groups in them; `config` is whole in its own module."""


def show_version(enabled: bool) -> None:
    """Write the version and end, if --version was given."""
    if enabled:
        from reviewlm import __version__

        terminal.say(f"reviewlm {__version__}")
        raise typer.Exit


app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Train language models on reviews; promote the best one, and serve it.",
    epilog=EXAMPLES,
)
for function in TOP:
    app.command()(function)
for name, (text, functions, groups) in GROUPS.items():
    group = typer.Typer(no_args_is_help=True, help=text)
    for function in functions:
        group.command()(function)
    for inner, members in groups.items():
        group.add_typer(members, name=inner)
    app.add_typer(group, name=name)
app.add_typer(config.app, name="config")


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=show_version,
            help="Show the version and end.",
        ),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


@cache
def command() -> Any:
    """Return the whole command line, with numbers that are group."""
    return with_bounds(typer.main.get_command(app))


def main() -> None:
    """Run a command in a process that handles signals and leaves no temporary files."""
    standard_streams.open_closed_streams()  # before anything opens a file
    with interrupts.watch_signals(), own_temporary_folder():
        _run()


def _run() -> None:
    """Run a command; an error becomes a message on standard error and the exit code of its class."""
    for name, value in numpy_features().items():  # before anything imports numpy
        os.environ.setdefault(name, value)

    terminal.allow_any_terminal()
    terminal.log_to_stderr(("reviewlm",))
    try:
        code = run_verb(lambda: command()(standalone_mode=False), sys.argv[1:])
    except (typer.Abort, KeyboardInterrupt):
        logging.getLogger(__name__).info("interrupted")
        code = 130

    gc.freeze()  # the process ends: a last look through all objects takes a second
    if code:
        sys.exit(code)


def with_bounds(group: Any) -> Any:
    """Return a command (or group, at any depth) whose numeric options refuse values that no computation could use.

    Each command sets its own limits where they matter. Without this check, `--top-k 1e20`, `--entropy inf` and a seed of
    thirty digits would be accepted and fail later inside a library.
    """
    for inside in getattr(group, "commands", {}).values():
        with_bounds(inside)
    for option in group.params:
        if option.callback is None:
            option.callback = _usable
    return group


def _usable(
    context: Any,
    option: Any,
    value: Any,
) -> Any:
    try:
        require_numbers(option.opts[0], value)
    except ValueError as error:
        raise typer.BadParameter(str(error), ctx=context, param=option) from error
    return value


if __name__ == "__main__":
    main()
