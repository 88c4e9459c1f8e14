"""Work pools that a worker creates while the services start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reviewlm.core.errors import ReviewLMError
from reviewlm.core.services import pools


def first_step(monkeypatch: pytest.MonkeyPatch, home: Path, later: list[dict[str, str]]) -> None:
    """Create the first pool on a server that had none, has *later* ones then, and refuses."""
    answers: list[Any] = [[], later]
    monkeypatch.setattr(pools, "_ask", lambda *given: answers.pop(0))

    def refuse(*given: object) -> None:
        raise ReviewLMError("`prefect work-pool create` failed")

    monkeypatch.setattr(pools, "_prefect", refuse)
    _, create = next(pools.deploy_steps({}, pools.POOLS, home))
    create()


def test_a_pool_that_a_worker_has_created_meanwhile_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first_step(monkeypatch, tmp_path, [{"name": pools.POOLS[0]}])


def test_a_pool_that_cannot_be_created_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ReviewLMError):
        first_step(monkeypatch, tmp_path, [])
