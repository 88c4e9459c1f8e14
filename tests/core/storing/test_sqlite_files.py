"""Addresses of SQLite files lead back to the file, whatever its path holds; a path that none can hold is refused."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st

from core.config.presets import load_config
from core.environment import prepare_environment
from core.errors import ConfigError
from core.storing.sqlite_files import damage_of, database_address, database_file, home_database, read_only
from tests.examples import examples

NAMES = st.text(st.sampled_from(" #%?&;=+:@\\'\"[]~äß日%2fA0"), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..")
)


@given(NAMES)
@examples(200)
def test_an_address_leads_back_to_its_file_or_is_refused(name: str) -> None:
    file = Path("/home") / name / "mlflow.db"
    try:
        address = database_address(file)
    except ConfigError:
        assert "?" in name or "%" in name
        return
    assert sqlalchemy.make_url(address).database == str(file) == str(database_file(address))


def test_the_options_of_an_address_are_no_part_of_the_file() -> None:
    assert database_file("sqlite:////a/mlflow.db?timeout=60") == Path("/a/mlflow.db")
    assert database_file("postgresql://there/mlflow") is None


@pytest.mark.parametrize("name", ["what?", "100%20", "two\nlines"])
def test_a_home_that_no_address_can_hold_is_refused_before_it_is_made(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        prepare_environment(tmp_path / name)
    assert not (tmp_path / name).exists()
    with pytest.raises(ConfigError):
        home_database(tmp_path / name)


@pytest.mark.parametrize("name", ["100%", "a#b", "ä b;c&d=e", "%zz"])
def test_a_home_with_other_characters_is_one_folder(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REVIEWLM_HOME", str(tmp_path / name))
    file = database_file(load_config("demo").tracking_address)
    assert file == tmp_path / name / "mlflow.db"
    file.parent.mkdir()
    with sqlalchemy.create_engine(home_database(file.parent)).begin() as made:
        made.execute(sqlalchemy.text("CREATE TABLE t (n INTEGER)"))
    with read_only(file) as opened:
        assert opened.execute("SELECT count(*) FROM t").fetchone() == (0,)
    assert [one.name for one in tmp_path.iterdir()] == [name]


def test_damage_within_a_database_is_said(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    with closing(sqlite3.connect(file)) as made, made:
        made.execute("CREATE TABLE t (n INTEGER)")
        made.executemany("INSERT INTO t VALUES (?)", [(number,) for number in range(5_000)])
    assert damage_of(file) == ""
    raw = bytearray(file.read_bytes())
    raw[4096:8192] = bytes(4096)
    file.write_bytes(raw)
    assert damage_of(file)
