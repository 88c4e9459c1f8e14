"""Passwords and access tokens: made once, only for their owner, kept as hashes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reviewlm.core.credentials import (
    PASSWORD_FILE,
    USER,
    AccessTokens,
    add_token,
    list_tokens,
    password_of,
    remove_token,
)
from reviewlm.core.environment import prepare_environment
from reviewlm.core.errors import InputError, Unreadable
from reviewlm.core.services import join, service_list


def test_only_the_owner_can_read_it_whatever_the_umask(tmp_path: Path) -> None:
    password_of(tmp_path)
    assert stat.S_IMODE((tmp_path / PASSWORD_FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o644, 0o620, 0o666])
def test_a_password_that_others_may_know_is_refused(tmp_path: Path, mode: int) -> None:
    password_of(tmp_path)
    (tmp_path / PASSWORD_FILE).chmod(mode)
    with pytest.raises(Unreadable, match="other users"):
        password_of(tmp_path)


def test_only_servers_of_ours_are_given_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client sends it to whatever address is set, so that a foreign server would learn it."""
    running = [
        service_list.Service("prefect", "", "http://127.0.0.1:4299"),
        service_list.Service("mlflow", "", "http://127.0.0.1:5099"),
    ]
    monkeypatch.setattr(join, "running", lambda home: running)
    names = (
        "PREFECT_API_URL",
        "PREFECT_API_AUTH_STRING",
        "REVIEWLM_MLFLOW_URL",
        "MLFLOW_TRACKING_PASSWORD",
        "MLFLOW_TRACKING_USERNAME",
    )

    def joined(prefect: str, tracking: str) -> tuple[str | None, str | None]:
        for name in names:
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)
        if prefect:
            monkeypatch.setenv("PREFECT_API_URL", prefect)
        join.join(tmp_path, tracking)
        return os.environ.get("PREFECT_API_AUTH_STRING"), os.environ.get("MLFLOW_TRACKING_PASSWORD")

    ours = password_of(tmp_path)
    assert joined("", "http://127.0.0.1:5099/") == (f"{USER}:{ours}", ours)
    assert joined("https://prefect.example/api", "https://mlflow.example") == (None, None)
    assert joined("", "") == (f"{USER}:{ours}", None)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Name the file of access tokens."""
    return tmp_path / "tokens.json"


@pytest.fixture
def token(file: Path) -> str:
    """Add an access token to the file."""
    return add_token(file, "ci")


def test_a_token_is_not_kept_itself(file: Path, token: str) -> None:
    assert token not in file.read_text()


def test_only_its_owner_reads_the_file_of_tokens(file: Path, token: str) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_token_is_found_by_its_hash(file: Path, token: str) -> None:
    assert AccessTokens(file).name_of(token) == "ci"


def test_another_token_has_no_name(file: Path, token: str) -> None:
    assert AccessTokens(file).name_of(token[:-1]) is None
    assert AccessTokens(file).name_of("") is None


def test_tokens_are_listed_by_name(file: Path, token: str) -> None:
    assert [row["name"] for row in list_tokens(file)] == ["ci"]


def test_a_change_takes_effect_at_once(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    one = add_token(file, "one")
    tokens = AccessTokens(file)
    two = add_token(file, "two")
    tokens.refresh()
    assert tokens.name_of(two) == "two"
    remove_token(file, "one")
    tokens.refresh()
    assert (tokens.name_of(one), tokens.name_of(two)) == (None, "two")
    with pytest.raises(InputError, match="no token of this name"):
        remove_token(file, "one")


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    """The most careless umask; the process gets its own back."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> str:
    return oct(stat.S_IMODE(path.lstat().st_mode))


def modes(home: Path) -> dict[str, str]:
    return {path.relative_to(home).as_posix(): mode(path) for path in [home, *home.rglob("*")]}


def test_what_is_made_afterwards_is_the_owners_also_by_child_processes(tmp_path: Path) -> None:
    prepare_environment(tmp_path / "home")
    (tmp_path / "home" / "new").mkdir()
    (tmp_path / "home" / "new" / "file").write_text("x")
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; open(sys.argv[1], 'w').close()",
            tmp_path / "home" / "child",
        ]
    )
    assert modes(tmp_path / "home") == {
        ".": "0o700",
        "format": "0o600",
        "prefect": "0o700",
        "new": "0o700",
        "new/file": "0o600",
        "child": "0o600",
    }
