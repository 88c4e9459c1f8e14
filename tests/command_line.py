"""Call the command line in the test's process: a child would import all frameworks first."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

import pytest
from typer.testing import CliRunner

from reviewlm.core.errors import ReviewLMError


@dataclass
class Done:
    """Exit code and output of a call."""

    code: int
    out: str
    err: str

    @property
    def facts(self) -> dict[str, Any]:
        """The JSON object in the last line of standard output."""
        return json.loads(self.out.strip().splitlines()[-1])


def call(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: object
) -> Done:
    """Run `reviewlm` with these arguments."""
    capfd.readouterr()
    code = exit_code(monkeypatch, *arguments)
    return Done(code, *capfd.readouterr())


def exit_code(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run `reviewlm` with these arguments and leave its output to be read."""
    from reviewlm.cli import main

    monkeypatch.setattr(sys, "argv", ["reviewlm", *map(str, arguments)])
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def run(*arguments: object) -> dict[str, Any]:
    """Run a verb without the boundary around it, and return the JSON of its last line."""
    from reviewlm.cli import app

    done = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.splitlines()[-1])


def complaint(*arguments: object) -> ReviewLMError:
    """Return the error that ends a verb."""
    from reviewlm.cli import app

    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert isinstance(done.exception, ReviewLMError), done.output
    return done.exception
