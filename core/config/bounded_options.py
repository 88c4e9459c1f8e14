"""Check the numeric options of all commands: finite, and not larger than any computation could use.

Each command sets its own limits where they matter. Without this check, `--top-k 1e20`, `--entropy inf` and a seed of
thirty digits would be accepted and fail later inside a library.
"""

from __future__ import annotations

from typing import Any

import typer

from core.config.section import require_numbers


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
