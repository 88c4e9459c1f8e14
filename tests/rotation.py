"""Choose a share of the long tests, so that all of them run in turn.

    python -m tests.rotation    # the share of the last commit, for `--long-share`

The files with long tests are dealt out to `SHARES` shares. The hour of the last commit chooses one: landings that are a
few hours apart take the shares one after another, and the same commit always takes the same share.
"""

from __future__ import annotations

import subprocess
from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

SHARES = 8
HOURS = 3
"""Hours after which a commit takes the next share."""


@dataclass(frozen=True)
class Share:
    """One of several equal shares of the files with long tests.

    Args:
        index: Which share, from 0.
        number: How many shares there are.
    """

    index: int
    number: int

    @classmethod
    def parse(cls, text: str) -> Share:
        """Read "K/N".

        Raises:
            ArgumentTypeError: The text is no share.
        """
        index, _, number = text.partition("/")
        if not (index.isdecimal() and number.isdecimal() and int(index) < int(number)):
            raise ArgumentTypeError(f"{text!r} is no share: write K/N with 0 <= K < N")
        return cls(int(index), int(number))

    @classmethod
    def of_hour(cls, seconds: int) -> Share:
        """Return the share of a commit that was made so many seconds after 1970."""
        return cls(seconds // (HOURS * 3600) % SHARES, SHARES)

    def tests(self, items: Sequence[pytest.Item]) -> list[pytest.Item]:
        """Return the long tests of this share's files."""
        long = [item for item in items if item.get_closest_marker("long")]
        files = sorted({item.path for item in long})
        chosen = set(files[self.index :: self.number])
        return [item for item in long if item.path in chosen]

    def __str__(self) -> str:
        return f"{self.index}/{self.number}"


def main() -> None:
    """Print the share of the last commit."""
    command = ["git", "log", "-1", "--format=%ct"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
    )
    print(Share.of_hour(int(done.stdout)))


if __name__ == "__main__":
    main()
