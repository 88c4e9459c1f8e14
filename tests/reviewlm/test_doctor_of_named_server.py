"""`reviewlm doctor` says of the Prefect server that PREFECT_API_URL names what is wrong with it, and what to do."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from reviewlm import doctor
from reviewlm.core.config.presets import load_config
from reviewlm.doctor import CHECKS, HealthLine, examine
from tests.reviewlm.examined_homes import MadePrefect, made_prefect

LOGIN = "jane:a-password-of-the-test"


@pytest.fixture
def named(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MadePrefect]:
    """The healthy server that PREFECT_API_URL names, with Basic auth; tests spoil it."""
    with made_prefect(LOGIN, {"/api/admin/version": version("prefect")}) as told:
        monkeypatch.setenv("PREFECT_API_URL", f"{told.address}/api/")
        monkeypatch.setenv("PREFECT_API_AUTH_STRING", LOGIN)
        yield told


def lines(*overrides: str) -> dict[str, HealthLine]:
    """Return the lines about the named server, by what they are about; it is an error if two are about the same."""
    checks = {name: check for name, check in CHECKS.items() if name.startswith("PREFECT_API_URL")}
    found = examine(load_config("small", list(overrides)).workspace, checks)
    short = [line.check.removeprefix("PREFECT_API_URL").removeprefix(": ") for line in found]
    assert len(set(short)) == len(short), found
    return dict(zip(short, found, strict=True))


def test_without_the_variable_nothing_is_said(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert lines() == {}


def test_a_healthy_server_has_only_good_lines(named: MadePrefect) -> None:
    found = lines()
    assert {name: line.state for name, line in found.items()} == {"": "ok"}
    assert found[""].found.startswith(f"{named.address}/api answers, version {version('prefect')}")


@pytest.mark.usefixtures("named")
def test_the_password_of_a_server_is_not_shown() -> None:
    assert "a-password" not in str(lines())


@pytest.mark.usefixtures("named")
def test_to_ask_a_server_no_home_is_created(own_home: Path) -> None:
    lines()
    assert not own_home.exists()


@pytest.mark.parametrize(
    ("path", "said"), [("", "does not answer"), ("/", "not as the API"), ("ftp", "does not answer")]
)
def test_an_address_where_no_prefect_answers_is_one_line_that_says_so(
    named: MadePrefect,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    said: str,
) -> None:
    named.pages["/admin/version"] = {"page": "of something else"}
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/api"
    address = {
        "": nobody,
        "/": named.address,
        "ftp": "ftp://127.0.0.1/api",
    }[path]
    monkeypatch.setenv("PREFECT_API_URL", address)
    [line] = lines().values()
    assert line.state == "problem"
    assert line.found.startswith(address.rstrip("/"))
    assert said in line.found
    assert "unset" in line.remedy
    assert "/api" in line.remedy


def test_a_server_that_never_answers_is_a_line_within_the_time_of_the_checks(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "PATIENCE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/api")
        [line] = lines().values()
    assert "does not answer: timed out" in line.found


@pytest.mark.parametrize(
    ("refuses", "login", "said", "remedy"),
    [
        (
            (0, ""),
            "",
            "does not accept the credentials",
            "PREFECT_API_AUTH_STRING to USER:PASSWORD",
        ),
        (
            (0, ""),
            "jane:wrong",
            "does not accept the credentials",
            "PREFECT_API_AUTH_STRING to USER:PASSWORD",
        ),
        ((403, "Not that Host name."), LOGIN, "error 403: Not that Host name.", "/api"),
        ((500, ""), LOGIN, "answers with error 500: ", "/api"),
    ],
)
def test_a_server_that_refuses_is_told_with_its_reason(
    named: MadePrefect,
    monkeypatch: pytest.MonkeyPatch,
    refuses: tuple[int, str],
    login: str,
    said: str,
    remedy: str,
) -> None:
    named.refuses = refuses
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", login)
    line = lines()[""]
    assert line.state == "problem"
    assert line.found.endswith(said)
    assert remedy in line.remedy
    assert "wrong" not in line.in_words()


@pytest.mark.parametrize(
    ("there", "state"), [("2.20.0", "problem"), ("3.0.0", "warning"), (version("prefect"), "ok")]
)
def test_another_version_is_named_with_ours(
    named: MadePrefect,
    there: str,
    state: str,
) -> None:
    named.pages["/api/admin/version"] = there
    line = lines()[""]
    assert line.state == state
    assert there in line.found
    assert version("prefect") in line.found
