"""`reviewlm VERB`: the command line. Results go to standard output, progress and logs to standard error.

Every verb takes --json (standard output is then one JSON object and nothing else, also where it failed), every one that
a configuration concerns --preset and --set key=value, and each exits with the code of its error's class (see
`core/errors.py`).
Nothing heavy is imported until a verb runs. The verbs stand in `reviewlm/verbs/`, in the order of the help page.
"""

from __future__ import annotations

import logging
import os
import sys

import typer

from core.config.bounded_options import bounded
from core.environment import ROOMS, numpy_features
from core.processes import interrupts
from core.processes.leftovers import own_temporary_folder
from reviewlm import terminal
from reviewlm.aborts import aborts_told
from reviewlm.boundary import run_verb
from reviewlm.verbs import (
    adapt,
    compare,
    data,
    lineage,
    memory,
    model,
    ngram,
    optimizers,
    pipeline,
    registry,
    sweep,
    toy,
    tracking,
    ui,
)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
app.add_typer(pipeline.app)
app.add_typer(data.app)
app.add_typer(compare.app)
app.add_typer(model.app)
app.add_typer(registry.app)
app.add_typer(lineage.app)
app.add_typer(adapt.app)
app.add_typer(memory.app)
app.add_typer(optimizers.app)
app.add_typer(sweep.app)
app.add_typer(ngram.app, name="ngram")
app.add_typer(toy.app, name="toy")
app.add_typer(tracking.app, name="tracking")
app.add_typer(ui.app, name="ui")


def main() -> None:
    """Run a verb in a process that ends as a terminal expects, and leaves no temporary files."""
    with interrupts.watched(), own_temporary_folder(), aborts_told():
        _run()


def _run() -> None:
    """Run a verb; an error becomes a message on standard error and its class's exit code."""
    for name, value in numpy_features().items():  # before anything imports numpy
        os.environ.setdefault(name, value)
    terminal.allow_any_terminal()
    terminal.log_to_stderr(ROOMS)
    try:
        code = run_verb(lambda: bounded(typer.main.get_command(app))(standalone_mode=False), sys.argv[1:])
    except (typer.Abort, KeyboardInterrupt):
        logging.getLogger(__name__).warning("interrupted")
        code = 130
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
