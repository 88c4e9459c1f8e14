"""`make test-long` runs a share of the long tests each time; the shares cover all of them."""

from __future__ import annotations

from argparse import ArgumentTypeError
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.rotation import HOURS, SHARES, Share


def item(file: str, marker: str) -> Any:
    """Stand for a collected test."""
    markers = {marker: True}
    return SimpleNamespace(
        path=Path(file),
        name=marker,
        get_closest_marker=markers.get,
    )


TESTS = [item(f"tests/test_{letter}.py", marker) for letter in "abcdefg" for marker in ("long", "")]


def test_each_long_test_is_in_one_share() -> None:
    shares = [Share(index, SHARES).tests(cast(list[pytest.Item], TESTS)) for index in range(SHARES)]
    chosen = [test for share in shares for test in share]
    assert sorted(test.path for test in chosen) == sorted(
        test.path for test in TESTS if test.name == "long"
    )


def test_commits_a_few_hours_apart_take_all_shares_in_turn() -> None:
    day = 1_800_000_000
    taken = [str(Share.of_hour(day + turn * HOURS * 3600)) for turn in range(SHARES)]
    assert len(set(taken)) == SHARES


@pytest.mark.parametrize("text", ["", "1", "4/4", "-1/4", "a/b", "1/0"])
def test_a_share_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        Share.parse(text)
