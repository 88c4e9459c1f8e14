"""Run `reviewlm VERB`: results go to standard output, progress and logs to standard error.

Every command takes --json: standard output is then only one JSON object, even after an error. Every command that needs
a configuration takes --preset and --set key=value. The exit code of a command is that of its error's class (see
`core/errors.py`). Heavy libraries are imported only when a command runs. The commands are in `reviewlm/verbs/`; their
groups on the help page and their examples are in `reviewlm/help_page.py`.

Check the numeric options of all commands: finite, and not larger than any computation could use.

Each command sets its own limits where they matter. Without this check, `--top-k 1e20`, `--entropy inf` and a seed of
thirty digits would be accepted and fail later inside a library.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
from functools import cache
from typing import Annotated, Any

import typer

from core.config.section import require_numbers
from core.environment import ROOMS, numpy_features
from core.processes import interrupts
from core.processes.leftovers import own_temporary_folder
from reviewlm import terminal
from reviewlm.boundary import aborts_told, run_verb
from reviewlm.help_page import GroupedHelp, show_version, with_examples
from reviewlm.verbs import (
    compare,
    config,
    data,
    lineage,
    model,
    ngram,
    operate,
    pipeline,
    registry,
    sweep,
)
from reviewlm.verbs.maintenance import alerts, backup, check, drill, tracking
from reviewlm.verbs.other_models import classify, embed, nearest, neighbours, punctuate

app = typer.Typer(
    cls=GroupedHelp, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Train review language models, compare them, and serve the best one from the model registry.",
)  # fmt: skip
app.add_typer(pipeline.app)
app.add_typer(data.app)
app.add_typer(compare.app)
app.add_typer(model.app)
app.add_typer(registry.app)
app.add_typer(operate.app)
app.add_typer(backup.app)
app.add_typer(check.app)
app.add_typer(drill.app)
app.add_typer(lineage.app)
app.add_typer(classify.app, name="classify")
app.add_typer(sweep.app)
app.add_typer(embed.app)
app.add_typer(neighbours.app)
app.add_typer(nearest.app)
app.add_typer(punctuate.app, name="punctuate")
app.add_typer(ngram.app, name="ngram")
app.add_typer(config.app)
app.add_typer(config.config_app, name="config")
app.add_typer(operate.tokens_app, name="tokens")
app.add_typer(alerts.app, name="alerts")
app.add_typer(tracking.app, name="tracking")
app.add_typer(operate.ui_app, name="ui")


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=show_version, help="Show the version and end.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


@cache
def command() -> Any:
    """Return the whole command line: with examples in its help, and with numbers that are checked."""
    return with_examples(bounded(typer.main.get_command(app)))


def main() -> None:
    """Run a command in a process that handles signals and leaves no temporary files."""
    with interrupts.watched(), own_temporary_folder(), aborts_told():
        _run()


def _run() -> None:
    """Run a command; an error becomes a message on standard error and the exit code of its class."""
    for name, value in numpy_features().items():  # before anything imports numpy
        os.environ.setdefault(name, value)
    terminal.allow_any_terminal()
    terminal.log_to_stderr(ROOMS)
    try:
        code = run_verb(lambda: command()(standalone_mode=False), sys.argv[1:])
    except (typer.Abort, KeyboardInterrupt):
        logging.getLogger(__name__).info("interrupted")
        code = 130
    gc.freeze()  # the process ends: a last look through all objects takes a second
    if code:
        sys.exit(code)


def bounded(command: Any) -> Any:
    """Return a command (or group, at any depth) whose numeric options refuse values that no computation could use."""
    for inside in getattr(command, "commands", {}).values():
        bounded(inside)
    for option in command.params:
        if option.callback is None:
            option.callback = _usable
    return command


def _usable(context: Any, option: Any, value: Any) -> Any:
    try:
        require_numbers(option.opts[0], value)
    except ValueError as error:
        raise typer.BadParameter(str(error), ctx=context, param=option) from error
    return value


if __name__ == "__main__":
    main()
