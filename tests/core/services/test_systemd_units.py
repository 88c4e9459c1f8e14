"""The units of `deploy/systemd` name commands that exist, and wait long enough for their end."""

from __future__ import annotations

import configparser
import shlex
from pathlib import Path

import pytest
import typer

from core.environment import HOME_VARIABLE
from reviewlm.cli import app

UNITS = sorted((Path(__file__).resolve().parents[3] / "deploy" / "systemd").glob("*.service"))


def service_of(unit: Path) -> configparser.SectionProxy:
    return section_of(unit, "Service")


def section_of(unit: Path, name: str) -> configparser.SectionProxy:
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read(unit)
    return parsed[name]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_runs_commands_that_the_command_line_takes(unit: Path) -> None:
    service = service_of(unit)
    assert service["Environment"].startswith(f"{HOME_VARIABLE}={service['WorkingDirectory']}/")
    for name in ("ExecStart", "ExecStop"):
        if line := service.get(name, ""):
            program, *words = shlex.split(line)
            assert program == f"{service['WorkingDirectory']}/.venv/bin/reviewlm"
            command = typer.main.get_command(app)
            while hasattr(command, "commands"):
                command = command.commands[words.pop(0)]
            command.make_context(unit.stem, words)
