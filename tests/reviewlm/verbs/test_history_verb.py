"""`history` calls a model as reports and MLflow call it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from reviewlm.cli import app
from reviewlm.tracking.registry.versions import Version
from reviewlm.tracking.tags import MODEL_KIND, MODEL_NAME

CREATED = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("tags", "shown"),
    [({MODEL_NAME: "kn5", MODEL_KIND: "ngram"}, "kn5"), ({MODEL_KIND: "ngram"}, "ngram")],
    ids=["named", "of an earlier program"],
)
def test_history_calls_a_model_by_its_name(
    tags: dict[str, str],
    shown: str,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = Version(
        1,
        "run",
        tags,
        "models:/m-1",
        ("champion",),
        CREATED,
    ).as_row()
    registry = SimpleNamespace(
        name="reviewlm",
        decisions=list,
        version_rows=lambda: [
            {
                **row,
                "by_hand": "",
                "now": "",
            }
        ],
        events=list,
    )
    monkeypatch.setattr("reviewlm.verbs.champion._registry", lambda *_: registry)
    done = CliRunner().invoke(app, ["history", "--json"], catch_exceptions=False)
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["versions"][0]["run_model"] == tags.get(MODEL_NAME, "")
    table = CliRunner().invoke(app, ["history"], catch_exceptions=False).stdout
    (line,) = [line for line in table.splitlines() if "champion" in line]
    assert [cell.strip() for cell in line.strip("│ \n").split("│")][2] == shown
