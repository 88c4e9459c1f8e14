"""The help page: the commands and groups of the design on one screen."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from reviewlm import __version__, cli
from reviewlm.core.config.presets import preset_names


def test_the_surface_is_that_of_the_design() -> None:
    def names(*path: str) -> set[str]:
        command: Any = cli.command()
        for name in path:
            command = command.commands[name]
        return {name for name, each in command.commands.items() if not each.hidden}

    groups = {
        "data": "ingest quarantine checks drift synth",
        "models": "classify punctuate embed nearest neighbours ngram sweep",
        "version": "lineage reproduce rescore export report",
        "home": "backup restore gc forget tokens alerts upgrade sync",
        "services": "start stop status password",
        "config": "list show explain presets",
    }
    top = "demo run check generate suggest score serve compare history promote rollback doctor"
    assert names() == {*top.split(), *groups}
    assert {group: names(group) for group in groups} == {
        group: set(inside.split()) for group, inside in groups.items()
    }


def test_the_help_page_fits_on_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    page = CliRunner().invoke(cli.app, ["--help"], terminal_width=80).output.splitlines()
    assert len(page) <= 40
    assert max(map(len, page)) <= 80


def test_the_version_is_shown() -> None:
    ran = CliRunner().invoke(cli.app, ["--version"])
    assert (ran.output, ran.exit_code) == (f"reviewlm {__version__}\n", 0)


def test_presets_lists_all_presets_with_a_purpose() -> None:
    page = " ".join(CliRunner().invoke(cli.app, ["config", "presets"]).output.split())
    assert all(name in page for name in preset_names())
    assert "Real reviews on a laptop" in page
