"""Addresses of SQLite files lead back to the file, whatever its path holds; a path that none can hold is refused."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.core.environment import prepare_environment
from reviewlm.core.errors import ConfigError
from reviewlm.core.sqlite_files import damage_of, database_address, database_file, home_database
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


@pytest.mark.parametrize("name", ["what?", "100%20", "two\nlines"])
def test_a_home_that_no_address_can_hold_is_refused_before_it_is_made(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(ConfigError):
        prepare_environment(tmp_path / name)
    assert not (tmp_path / name).exists()
    with pytest.raises(ConfigError):
        home_database(tmp_path / name)


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
