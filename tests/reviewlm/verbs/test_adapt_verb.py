"""`reviewlm adapt`: what it refuses before anything is read, and what it writes; figures are those of others' tests."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from core.errors import ReviewLMError
from evaluation.scoring import continuous
from evaluation.scoring.continuous import ContinuousFigure
from reviewlm.cli import app
from reviewlm.verbs import adapt
from tasks.tracking import memory_runs

STATIC = ContinuousFigure("static, continuous stream", 10, 20.0, {}, None, 0.0, 1.0)
CACHE = ContinuousFigure("continuous cache, continuous stream", 10, 18.0, {"theta": 0.3}, 7.5, 2.0, 1.0)


@pytest.fixture
def asked(tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A call on three texts that measures two figures; what is read of it is in `read`."""
    for name in ("train", "validation", "test"):
        (tmp_path / f"{name}.txt").write_text("soup\n")
    texts = [word for name in ("validation", "test") for word in (f"--{name}", str(tmp_path / f"{name}.txt"))]
    monkeypatch.setattr(adapt, "open_folder", lambda folder: SimpleNamespace(vocabulary=None))
    monkeypatch.setattr(continuous, "stream_of", lambda path, vocabulary, work: path)
    monkeypatch.setattr(continuous, "compare_continuous", lambda *arguments, **named: [STATIC, CACHE])
    return ["adapt", "--bundle", str(tmp_path), *texts, "--variants", "static,cache"]


def refused(words: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> ReviewLMError:
    monkeypatch.setattr(continuous, "stream_of", lambda *arguments: pytest.fail("a text was read"))
    done = CliRunner().invoke(app, list(words))
    assert isinstance(done.exception, ReviewLMError), done.output
    return done.exception


def test_the_table_is_shown_written_and_tracked(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[tuple[Any, ...]] = []

    def track(config: Any, *run: Any) -> str:
        runs.append(run)
        return "id"

    monkeypatch.setattr(memory_runs, "track", track)
    options = ("--out", str(tmp_path / "out"), "--track", "--json")
    done = CliRunner().invoke(app, [*asked, *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout.splitlines()[-1])
    assert [row["variant"] for row in result["variants"]] == [STATIC.variant, CACHE.variant]
    assert "ONE continuous stream" in done.stdout
    rows = list(csv.DictReader((tmp_path / "out" / "variants.csv").open()))
    assert [float(row["nats"]) for row in rows] == [20.0, 18.0]
    [(name, settings, metrics, *_)] = runs
    assert (name, result["mlflow_run_id"]) == ("continuous stream", "id")
    assert settings["test"] == str(tmp_path / "test.txt")
    assert metrics == {"static/perplexity": STATIC.perplexity, "continuous cache/perplexity": CACHE.perplexity}


def test_without_the_options_nothing_is_written(asked: list[str], own_home: Path) -> None:
    assert CliRunner().invoke(app, asked).exit_code == 0
    assert not own_home.exists()


@pytest.mark.parametrize(
    ("words", "where", "said"),
    [
        (["--segment", "5"], "--segment", "to the variant 'dynamic'"),
        (["--dynamic-tokens", "9"], "--dynamic-tokens", "to the variant 'dynamic'"),
        (["--train", "TRAIN"], "--train", "to the variant 'dynamic'"),
        (["--variants", "static,dynamic", "--rule", "sgd", "--windows", "9"], "--windows", "to the variant 'cache'"),
        (["--variants", "dynamic", "--rule", "sgd", "--train", "TRAIN"], "--train", "does not use a training text"),
        (["--variants", "dynamic"], "--train", "needs the training text"),
        (["--preset", "nosuch"], "nosuch.toml", "There is no preset"),
        (["--out", f"{__file__}/below"], "--out", "a file has its name"),
    ],
)
def test_what_has_no_part_is_refused_before_a_text_is_read(
    asked: list[str], words: list[str], where: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = refused([*asked, *(word.replace("TRAIN", str(tmp_path / "train.txt")) for word in words)], monkeypatch)
    assert said in error.what
    assert error.where.endswith(where)
