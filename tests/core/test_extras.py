"""What needs an extra is refused before any work, with the command that installs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from reviewlm.core import extras
from reviewlm.core.errors import ConfigError
from tests.command_line import exit_code


@pytest.fixture
def without_gensim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda library: None)


@pytest.mark.usefixtures("without_gensim", "own_home")
@pytest.mark.parametrize(
    "words",
    [
        ["models", "embed"],
        ["models", "neighbours", "pizza"],
        ["run", "--set", "vectors.own=FILE", "--set", "models.lstm.vectors=own"],
    ],
)
def test_a_command_about_word_vectors_names_the_extra_that_it_needs(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "FILE").touch()
    monkeypatch.chdir(tmp_path)
    assert exit_code(monkeypatch, *words) == ConfigError.exit_code
    assert "[vectors]" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("checkout", "command"),
    [
        (Path("/srv"), "pip install -c constraints.txt -e '.[s3]'"),
        (None, "pip install 'reviewlm[s3]'"),
    ],
)
def test_the_command_for_an_extra_is_that_of_a_checkout_or_of_a_wheel(
    checkout: Path | None,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(extras, "CHECKOUT", checkout)
    assert extras.install_command("s3") == command
