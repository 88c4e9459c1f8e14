"""Access tokens are kept as hashes, in a file that only its owner reads."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from core.credentials import AccessTokens, add_token, list_tokens, remove_token
from core.errors import InputError


def test_a_token_is_found_by_its_hash_and_not_kept_itself(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    token = add_token(file, "ci")
    assert token not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert AccessTokens(file).name_of(token) == "ci"
    assert AccessTokens(file).name_of(token[:-1]) is None
    assert AccessTokens(file).name_of("") is None
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
