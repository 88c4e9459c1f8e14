"""The command line is a contract: verbs, exit codes, JSON alone, errors without tracebacks."""

from __future__ import annotations

import gzip
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reviewlm import terminal
from reviewlm.cli import app
from reviewlm.core.errors import Unreadable
from tests.programs import command


def reviewlm(*arguments: str, home: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "reviewlm.cli", *arguments]
    environment = {**os.environ, "REVIEWLM_HOME": str(home)}
    return subprocess.run(
        words,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_line_imports_nothing_heavy() -> None:
    heavy = (
        "numpy",
        "torch",
        "prefect",
        "mlflow",
        "polars",
        "great_expectations",
        "reviewlm.core.config.run_config",
        "reviewlm.models.specs",
        "reviewlm.models.text.normal_form",
    )
    program = command("list_loaded_modules", "reviewlm.cli", *heavy)
    done = subprocess.run(
        program,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_help_names_every_command(tmp_path: Path) -> None:
    done = reviewlm("--help", home=tmp_path)
    for verb in (
        "run",
        "demo",
        "generate",
        "suggest",
        "score",
        "history",
        "rollback",
        "data",
        "models",
    ):
        assert verb in done.stdout


def test_files_of_a_champion_are_verified_without_libraries_of_arrays(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.programs.verify_bundle", str(tmp_path)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_a_closed_standard_input_is_an_empty_one(tmp_path: Path) -> None:
    line = f"{shlex.quote(sys.executable)} -m reviewlm.cli score - --json <&-"
    environment = {**os.environ, "REVIEWLM_HOME": str(tmp_path)}
    done = subprocess.run(
        ["sh", "-c", line],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert json.loads(done.stdout)["error"]["kind"] == "EmptyInput"


@pytest.mark.parametrize(
    "content",
    [
        "The soup was cold.".encode("utf-16"),
        gzip.compress(b"The soup was cold."),
        b"PK\x03\x04\x14\0",
        b"caf\xe9",
    ],
    ids=["UTF-16", "gzip", "zip", "Latin-1"],
)
def test_a_file_that_is_no_text_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(Unreadable):
        terminal.read_lines(str(tmp_path / "file"))


@pytest.mark.long
def test_a_flow_that_fails_ends_in_one_message_without_a_traceback(
    tmp_path: Path,
) -> None:
    single = tmp_path / "single.jsonl"
    single.write_text('{"text": "fine"}\n')
    done = reviewlm(
        "run",
        "--input",
        str(single),
        "--json",
        home=tmp_path / "home",
    )
    assert done.returncode == 3, done.stderr
    assert "prepare  clean, split" in done.stderr, "the flow has begun"
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr
    said = json.loads(done.stdout)["error"]
    assert (said["kind"], said["what"], said["exit_code"]) == (
        "EmptyInput",
        "The split 'test' has no reviews",
        3,
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("history",),
            "No model is registered as 'reviewlm' in the home ",
        ),
        (
            ("home", "tokens", "list"),
            "There is no token. `reviewlm home tokens add NAME` makes one.",
        ),
        (("config", "list", "nosuchword"), "No setting has 'nosuchword' in its name or meaning."),
        (("home", "sync"), "No runs wait for MLflow, and nothing was rejected."),
    ],
)
def test_an_empty_list_is_one_line_that_says_what_is_missing(
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.setattr(terminal, "program", lambda: "reviewlm")
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.stdout.startswith(said)
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize("module", ["typer", "reviewlm.cli", "reviewlm.verbs"])
def test_ctrl_c_during_the_imports_is_one_line(module: str) -> None:
    program = command("interrupt_during_import", module)
    done = subprocess.run(
        program,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Interrupted\n")
