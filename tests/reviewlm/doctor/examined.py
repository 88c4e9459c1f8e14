"""Lines of one check of `reviewlm doctor`, and a stored result for it to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.config.presets import load_config
from core.store import Store
from reviewlm.doctor.examine import CHECKS, examine
from reviewlm.doctor.health_line import HealthLine


def lines(name: str, *overrides: str) -> list[HealthLine]:
    return examine(load_config("small", list(overrides)), {name: CHECKS[name]})


def only(name: str, *overrides: str) -> HealthLine:
    [line] = lines(name, *overrides)
    return line


def a_result(home: Path, text: str = "some content") -> Path:
    def make(folder: Path) -> dict[str, Any]:
        (folder / "rows.txt").write_text(text)
        return {}

    return Store(home / "store").build("ingest", 1, {"text": text}, {}, make).artifact.folder
