"""Of which data a registered version was made, and a run that is told at its start that the gate will refuse it."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.tasks.promotion.evidence import warn_of_other_family


def version(**tags: str) -> Any:
    return SimpleNamespace(version=4, tags=tags)


@pytest.mark.parametrize(
    ("family", "overrides", "warned"),
    [
        ("reviews", (), True),
        ("synthetic", (), False),
        ("reviews", ("source.family=reviews",), False),
        ("reviews", ("promotion.allow_other_family=true",), False),
        ("", (), True),
        (None, (), False),
    ],
)
def test_a_run_is_told_before_it_trains(
    family: str | None,
    overrides: tuple[str, ...],
    warned: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    own_home: Path,
) -> None:
    """The preset has no input: its data are the embedded corpus. No family means an unknown one, None no champion."""
    champion = None if family is None else version(**({"family": family} if family else {}))
    (tmp_path / "spec.json").write_text("{}")
    registry = SimpleNamespace(
        name="reviewlm",
        alias=lambda name: champion,
        bundle_folder=lambda version: tmp_path,
    )
    monkeypatch.setattr("reviewlm.tasks.promotion.evidence.registry_of", lambda *asked: registry)
    config = load_config("small", list(overrides))
    with caplog.at_level(logging.WARNING):
        warn_of_other_family(config.workspace, config.promotion, config.source)
    assert ("the gate will refuse this run's models" in caplog.text) is warned
