"""Memory that is freed goes back to the system, in a process of its own since the settings hold for all of it."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("there", [True, False])
def test_the_settings_are_tight_within_and_wide_after_and_left_alone_where_there_are_none(
    there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.processes import memory

    class Library:
        def mallopt(self, name: int, value: int) -> None:
            calls.append((name, value))

    calls: list[object] = []
    monkeypatch.setattr(memory, "_glibc", lambda: Library() if there else None)
    monkeypatch.setattr(memory, "return_freed", lambda: calls.append("returned"))
    with memory.returned_memory():
        calls.append("work")
    tight, wide = [*memory.TIGHT.items()], [*memory.WIDE.items()]
    assert calls == ([*tight, "work", *wide, "returned"] if there else ["work", "returned"])
