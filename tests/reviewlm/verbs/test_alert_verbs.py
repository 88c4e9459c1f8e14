"""`reviewlm home alerts` keeps addresses secret, and refuses what nobody could send to."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from reviewlm.core.errors import ConfigError, ReviewLMError, Unreadable
from reviewlm.flows.server.alert_addresses import FILE, SILENCE_DAYS, AlertSettings, read_alerts
from reviewlm.verbs import alerts

MAIL, HOOK = (
    "mailto://user:s3cret@smtp.example.com?to=a@example.com",
    "json://127.0.0.1:9/hidden-path",
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REVIEWLM_HOME", str(tmp_path))
    return tmp_path


def ask(*words: str, given: str = "") -> Result:
    return CliRunner().invoke(alerts.app, list(words), input=given)


def last(result: Result) -> dict[str, object]:
    assert result.exception is None, result.output
    return dict(json.loads(result.stdout.splitlines()[-1]))


def test_addresses_are_kept_for_their_owner(home: Path) -> None:
    ask("set", MAIL, HOOK)
    assert read_alerts(home).addresses == (MAIL, HOOK)
    assert stat.S_IMODE((home / FILE).stat().st_mode) == 0o600


def test_the_new_settings_are_told_without_what_is_secret(home: Path) -> None:
    told = last(
        ask(
            "set",
            MAIL,
            HOOK,
            "--silence-days",
            "3",
            "--json",
        )
    )
    assert told["to"] == ["mailto://smtp.example.com/…", "json://127.0.0.1:9/…"]
    assert told["silence_days"] == 3
    assert "s3cret" not in ask("set", MAIL).output


def test_addresses_are_shown_without_what_is_secret(home: Path) -> None:
    ask("set", MAIL, HOOK)
    shown = ask("show").output
    assert "smtp.example.com" in shown
    assert "s3cret" not in shown
    assert "hidden-path" not in shown


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", "slack://…"),
        ("json://u:p@h.example/x", "json://h.example/…"),
        ("mailto://u:p%40w@h.example?to=a@b.c", "mailto://h.example/…"),
        ("mailto://u:p?w@h.example", "mailto://…"),
        ("mailto://h.example?user=u&pass=p", "mailto://h.example/…"),
    ],
)
def test_of_an_address_no_more_than_its_host_is_shown(address: str, shown: str) -> None:
    assert AlertSettings((address,)).shown() == [shown]


@pytest.mark.parametrize(
    "address", ["nobody", "carrier-pigeon://home", "mailto://a@b.example?to=x,json://c"]
)
def test_an_address_that_cannot_be_sent_to_is_refused_without_repeating_it(
    home: Path, address: str
) -> None:
    refused = ask("set", MAIL, address)
    assert refused.exit_code == 2
    assert "address 2" in refused.output
    assert address not in refused.output
    assert not (home / FILE).exists()


def test_addresses_with_a_password_come_from_a_file_or_standard_input(
    home: Path, tmp_path: Path
) -> None:
    (tmp_path / "addresses.txt").write_text(f"{MAIL}\n\n {HOOK}\n")
    ask("set", "--file", str(tmp_path / "addresses.txt"))
    assert read_alerts(home).addresses == (MAIL, HOOK)
    ask("set", "--file", "-", given=f"{HOOK}\n")
    assert read_alerts(home).addresses == (HOOK,)
    ask(
        "set",
        HOOK,
        "--file",
        "-",
        given=MAIL,
    )
    assert read_alerts(home).addresses == (HOOK, MAIL)
    refused = ask("set", "--file", "-", given=f"{MAIL}\ns3cret\n")
    assert (refused.exit_code, "s3cret" in refused.output) == (2, False)
    assert isinstance(ask("set", "--file", str(tmp_path / "nothing")).exception, Unreadable)
    assert ask("set").exit_code == 2
    assert read_alerts(home).addresses == (HOOK, MAIL)


def test_without_addresses_nobody_is_told(home: Path) -> None:
    assert last(ask("show", "--json")) == {"to": [], "silence_days": SILENCE_DAYS}
    assert isinstance(ask("test").exception, ConfigError)
    ask("set", HOOK)
    assert last(ask("off", "--json"))["to"] == []
    assert read_alerts(home).addresses == ()


def test_a_test_message_that_does_not_arrive_is_an_error_with_its_cause(home: Path) -> None:
    ask("set", HOOK)  # port 9 answers nobody
    error = ask("test").exception
    assert isinstance(error, ReviewLMError)
    assert "Connection refused" in error.cause
    assert "hidden-path" not in str(error)


@pytest.mark.parametrize(
    ("address", "warned"),
    [
        (HOOK, False),
        (MAIL, True),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", True),
        ("json://user@host/path", False),
        ("json://host/path?password=s3cret", True),
    ],
)
def test_a_secret_on_the_command_line_is_warned_of(
    home: Path,
    address: str,
    warned: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ask("set", address)
    assert any("--file" in record.getMessage() for record in caplog.records) is warned
    assert "s3cret" not in caplog.text
    caplog.clear()
    ask("set", "--file", "-", given=address)
    assert not [record for record in caplog.records if "--file" in record.getMessage()]


def test_a_damaged_file_is_named(home: Path) -> None:
    (home / FILE).write_text("{}")
    with pytest.raises(Unreadable, match=r"alerts\.json"):
        read_alerts(home)


def test_an_error_about_the_file_shows_no_address(home: Path) -> None:
    (home / FILE).write_text('{"addresses": [{"url": "slack://SECRET"}], "silence_days": 8}')
    with pytest.raises(Unreadable) as error:
        read_alerts(home)
    assert "SECRET" not in str(error.value)
