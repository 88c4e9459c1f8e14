"""Define the command that shows edited code, and accepts it where results stay the same."""

from __future__ import annotations

from typing import Annotated

import typer

from reviewlm import terminal
from reviewlm.options import Json

app = typer.Typer()


@app.command()
def code(
    same_result: Annotated[
        bool, typer.Option("--same-result", help="Take this code for the one that the stages' versions stand for.")
    ] = False,
    json: Json = False,
) -> None:
    """Show which modules were edited, and the stages whose results are therefore built again and kept apart."""
    from tasks.code_version import running_code

    edited: dict[str, list[str]] = {}
    for stage, maker in running_code().makers().items():
        for module in running_code().changed(maker):
            edited.setdefault(module, []).append(stage)
    if edited:
        terminal.show_rows([{"module": name, "stages": ", ".join(edited[name])} for name in sorted(edited)])
    else:
        terminal.say("No module that makes the result of a stage was edited.")
    if same_result:
        running_code().accept()
        terminal.say("Accepted: the next run reuses the results that were there before the edits.")
    elif edited:
        terminal.say("If their results stay the same, run: reviewlm code --same-result")
    terminal.last_line({"edited": edited, "accepted": same_result}, json)
