"""Build each command line once: typer's test runner would build all commands again for each call, 0.2 s of each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest
from typer import testing


@pytest.fixture(scope="session", autouse=True)
def built_once() -> Iterator[None]:
    """Let typer's test runner keep the command line of each application."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(testing, "_get_command", cache(testing._get_command))
        yield
