"""A shell completes commands, presets and models."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.tracking.tags import MODEL_NAME, RUN_MODELS
from tests.programs import command
from tests.tracking.registry.made_registry import register


def completed(home: Path, *words: str) -> list[str]:
    asked = {
        "COMP_WORDS": " ".join(["reviewlm", *words]),
        "COMP_CWORD": str(len(words)),
        "_REVIEWLM_COMPLETE": "complete_bash",
        "REVIEWLM_HOME": str(home),
    }
    done = subprocess.run(
        command("complete_words"),
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["gener"], {"generate"}),
        (["run", "--preset", "sm"], {"small"}),
        (["models", "sweep", "--preset", "mi"], {"minutes"}),
        (["suggest", "--model", "re"], {"reviewlm"}),
        (["compare", ""], {"champion", "lstm", "kn5", "gru", "reviewlm"}),
        (["suggest", "--model", "k"], {"kn5"}),
        (["config", "explain", "models.kn5.or"], {"models.kn5.order"}),
        (["config", "explain", "--preset", "demo", "models.rnn.hid"], {"models.rnn.hidden"}),
        (["promote", "--model", ""], {"reviewlm"}),
    ],
)
def test_the_word_at_the_cursor_is_completed(
    words: list[str],
    wanted: set[str],
    own_home: Path,
) -> None:
    own_home.mkdir()
    register(own_home, load_config("small"), 1, ["champion"])
    others = {"kn5": "models:/m-1", "gru": "models:/m-2"}
    with closing(sqlite3.connect(own_home / "mlflow.db")) as database, database:
        for name, value in ((MODEL_NAME, "lstm"), (RUN_MODELS, json.dumps(others))):
            database.execute(
                "INSERT INTO model_version_tags (name, version, key, value) VALUES (?, ?, ?, ?)",
                ("reviewlm", 1, name, value),
            )

    assert set(completed(own_home, *words)) == wanted


def test_without_a_home_no_model_is_offered(own_home: Path) -> None:
    assert completed(own_home, "suggest", "--model", "re") == []


def test_completion_creates_no_home(own_home: Path) -> None:
    completed(own_home, "suggest", "--model", "re")
    assert not own_home.exists()
