"""The outermost boundary: every end of a verb is an exit code and one message, and --json is JSON alone."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import reviewlm.cli
from reviewlm import terminal
from reviewlm.boundary import run_verb
from reviewlm.core.errors import ConfigError, EmptyInput, without_password, without_secrets
from reviewlm.core.processes.standard_streams import answer_now
from tests.marked_cases import long_but
from tests.programs import command


class PanicException(BaseException):
    """What a panic of a Rust library looks like in Python: no `Exception`."""


def raising(error: BaseException) -> Callable[[], None]:
    def verb() -> None:
        raise error

    return verb


def crash_logs(home: Path) -> list[Path]:
    return sorted((home / "crashes").glob("*")) if (home / "crashes").is_dir() else []


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("1/0"), PanicException("year 0 is out of range")]
)
def test_an_unforeseen_exception_is_one_message_with_a_crash_log_of_its_owner(
    error: BaseException,
    own_home: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert (
        run_verb(
            raising(error), ["run", "--set", "execution.tracking_uri=http://ann:s3cret@host/x"]
        )
        == 70
    )
    [log] = crash_logs(own_home)
    said = capfd.readouterr().err
    assert str(log) in said
    assert "Traceback" not in said
    content = log.read_text()
    assert "Traceback (most recent call last)" in content
    assert str(error) in content
    assert "reviewlm run --set" in content
    assert "Python" in content
    assert "s3cret" not in content
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.parent.stat().st_mode) == 0o700


def test_secrets_of_a_message_are_not_in_the_crash_log(own_home: Path) -> None:
    run_verb(raising(RuntimeError("401 for password=hunter2, api_key: 'k3y' token=t0ken")), ["run"])
    content = crash_logs(own_home)[0].read_text()
    assert not [word for word in ("hunter2", "k3y", "t0ken") if word in content]


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://u:p@ss@host/db", "postgresql://u:***@host/db"),
        ("postgresql://u:pa/ss@host/db", "postgresql://u:***@host/db"),
        ("http://me@x.org:s3cret@host:5000", "http://me@x.org:***@host:5000"),
        (
            "--set execution.tracking_uri=http://u:1@2/3@h",
            "--set execution.tracking_uri=http://u:***@h",
        ),
        (
            '{"uri":"http://u:p@[::1]:5000/","mail":"a@b"}',
            '{"uri":"http://u:***@[::1]:5000/","mail":"a@b"}',
        ),
        (
            "see http://h:80/x,http://u:p/q@h, models:/a@b",
            "see http://h:80/x,http://u:***@h, models:/a@b",
        ),
        *[
            (same, same)
            for same in (
                "http://[::1]:5000/a@b",
                "http://host:80/a@b",
                "file:///x:y@z",
                "http://u:@h",
            )
        ],
    ],
)
def test_passwords_with_signs_of_addresses_in_them_are_not_shown(address: str, shown: str) -> None:
    assert without_password(address) == without_secrets(address) == shown
    assert str(ConfigError("x", value=address)).endswith(shown)
    assert ConfigError("x", value=address).to_dict()["value"] == shown


def failing_allocation(kind: str) -> None:
    if kind == "numpy":
        np.zeros(1 << 60, dtype=np.uint8)
    elif kind == "torch":
        torch.empty(1 << 50)
    else:
        raise PanicException("memory allocation of 1099511627776 bytes failed")


@pytest.mark.parametrize("kind", ["numpy", "torch", "rust"])
def test_an_allocation_that_fails_says_what_to_lower(
    kind: str,
    own_home: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run_verb(lambda: failing_allocation(kind), ["run"]) == 6
    said = capfd.readouterr().err
    assert "not enough memory" in said
    assert "batch" in said
    assert not crash_logs(own_home)


def test_an_error_of_ours_inside_that_of_a_framework_is_the_one_that_counts(own_home: Path) -> None:
    wrapped = RuntimeError("Flow run failed")
    wrapped.__cause__ = EmptyInput("nothing to read")
    assert run_verb(raising(wrapped), ["run"]) == 3
    assert (
        run_verb(raising(BaseExceptionGroup("several", [ConfigError("no such setting")])), ["run"])
        == 2
    )
    assert not crash_logs(own_home)


def test_an_interrupt_passes_through() -> None:
    with pytest.raises(KeyboardInterrupt):
        run_verb(raising(KeyboardInterrupt()), ["run"])
    with pytest.raises(KeyboardInterrupt):
        run_verb(lambda: 130, ["run"])


def noisy(result: dict[str, Any], error: Exception | None = None) -> Callable[[], None]:
    """A verb that talks to people, whose libraries and children write to standard output, and that ends with JSON."""

    def verb() -> None:
        terminal.say("for people")
        os.write(1, b"from a library written in C\n")
        subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
        terminal.last_line(result, enabled=True)
        if error is not None:
            raise error

    return verb


def test_with_json_standard_output_is_json_alone(capfd: pytest.CaptureFixture[str]) -> None:
    assert (
        run_verb(noisy({"perplexity": float("inf"), "name": "café"}), ["score", "-", "--json"]) == 0
    )
    shown = capfd.readouterr()
    assert json.loads(shown.out) == {"perplexity": None, "name": "café"}
    for line in ("for people", "from a library written in C", "from a child"):
        assert line in shown.err
    print("and afterwards it is as before")
    assert "as before" in capfd.readouterr().out


def test_nothing_follows_the_json_of_a_command_that_has_answered_already(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def verb() -> None:
        answer_now({"address": "http://localhost:8000"})
        raise ConfigError("the port is gone")

    assert run_verb(verb, ["serve", "--json"]) == 2
    shown = capfd.readouterr()
    assert json.loads(shown.out) == {"address": "http://localhost:8000"}
    assert "the port is gone" in shown.err


def test_an_error_whose_value_cannot_be_written_is_json_too(
    capfd: pytest.CaptureFixture[str],
) -> None:
    error = ConfigError("too large", value=10**5000)
    assert error.to_dict()["value"] == "a value of type int that is too large to be shown"
    assert run_verb(raising(error), ["run", "--json"]) == 2
    assert json.loads(capfd.readouterr().out)["error"]["kind"] == "ConfigError"


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        (["run", "--nonsense", "--json"], "UsageError", "--nonsense"),
        (["--json", "nosuchverb"], "UsageError", "--json"),
        (["generate", "--stars", "9", "--json"], "UsageError", "at least 0 and at most 5"),
        (["run", "--preset", "smal", "--json"], "ConfigError", "smal"),
        (["generate", "--json"], "BundleError", "Nothing is registered"),
    ],
)
def test_every_mistake_is_json_where_json_was_asked_for(
    arguments: list[str],
    kind: str,
    words: str,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["reviewlm", *arguments])
    with pytest.raises(SystemExit) as ended:
        reviewlm.cli.main()
    shown = capfd.readouterr()
    error = json.loads(shown.out)["error"]
    assert (error["kind"], error["exit_code"]) == (kind, ended.value.code)
    assert words in f"{error['what']} {error['remedy']}"
    assert shown.err


def call(
    redirection: str,
    home: Path,
    arguments: str,
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a shell that does something to its standard output."""
    line = f"set -o pipefail; {sys.executable} -m reviewlm.cli {arguments} {redirection}"
    environment = {**os.environ, "REVIEWLM_HOME": str(home)}
    return subprocess.run(
        ["bash", "-c", line],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", long_but(["home sync", "home sync --json", "--help"], {"home sync --json"})
)
def test_a_full_or_closed_standard_output_ends_quietly(arguments: str, tmp_path: Path) -> None:
    full = call(">/dev/full", tmp_path, arguments)
    assert full.returncode == 5
    assert full.stderr.count("error:") == 1
    assert "standard output" in full.stderr
    gone = call(">&-", tmp_path, arguments)
    assert gone.returncode == 0
    for done in (nobody_reads(tmp_path, arguments), full, gone):
        assert not [
            word for word in ("Traceback", "Exception ignored", "Errno 32") if word in done.stderr
        ]


def nobody_reads(home: Path, arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line with a pipe as standard output whose other end is closed."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        words = [sys.executable, "-m", "reviewlm.cli", *arguments.split()]
        environment = {**os.environ, "REVIEWLM_HOME": str(home)}
        done = subprocess.run(
            words,
            env=environment,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writing)
    assert done.returncode == 141
    return done


@pytest.mark.parametrize("resumable", [True, False])
def test_with_json_an_interrupt_is_json_too(resumable: bool) -> None:
    program = command("terminate_verb", "resumable" if resumable else "lost", "--json")
    done = subprocess.run(
        program,
        capture_output=True,
        text=True,
        check=False,
    )
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["kind"], error["exit_code"]) == (143, "Interrupted", 143)
    assert error["remedy"] == ("again" if resumable else "")
    assert done.stderr.strip() == error["what"]
