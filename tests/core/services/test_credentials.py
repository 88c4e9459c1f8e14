"""A password that only the owner of the home folder can read, the same for every command."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from core.credentials import PASSWORD_FILE, USER, password_of
from core.errors import Unreadable
from core.services import join, service_list


def test_only_the_owner_can_read_it_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        password_of(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / PASSWORD_FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o644, 0o620, 0o666])
def test_a_password_that_others_may_know_is_refused(tmp_path: Path, mode: int) -> None:
    password_of(tmp_path)
    (tmp_path / PASSWORD_FILE).chmod(mode)
    with pytest.raises(Unreadable, match="other users"):
        password_of(tmp_path)


def test_only_servers_of_ours_are_given_the_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client sends it to whatever address is set, so that a foreign server would learn it."""
    running = [service_list.Service("prefect", "", "http://127.0.0.1:4299"),
               service_list.Service("mlflow", "", "http://127.0.0.1:5099")]
    monkeypatch.setattr(join, "running", lambda home: running)
    names = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "REVIEWLM_MLFLOW_URL", "MLFLOW_TRACKING_PASSWORD",
             "MLFLOW_TRACKING_USERNAME")

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
