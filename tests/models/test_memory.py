"""Memory that the C library keeps between pieces in use goes back to the system, also around a validation."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from models.memory import resident, return_freed
from models.neural.training.validation import validation_nats
from tests.models.neural.made_trainings import VALIDATION, network_of

MB = 1 << 20


def private() -> int:
    """Bytes in pages that are not a file's."""
    return int(Path("/proc/self/status").read_text(encoding="ascii").partition("RssAnon:")[2].split()[0]) << 10


def validated() -> None:
    validation_nats(network_of(), VALIDATION)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="freed memory is returned with glibc")
@pytest.mark.parametrize("work", [return_freed, validated])
def test_freed_memory_between_pieces_in_use_is_returned(work: Callable[[], object]) -> None:
    before = private()
    pieces = [b"x" * 100_000 for _ in range(1_000)]
    kept = pieces[::20]
    pieces.clear()
    assert private() > before + 70 * MB, "the C library keeps it"
    work()
    assert private() < before + 40 * MB
    assert len(kept) == 50


def test_the_memory_of_this_process_grows_with_what_it_holds() -> None:
    before = resident()
    held = b"x" * (64 * MB)
    assert resident() >= before + 60 * MB
    assert held
