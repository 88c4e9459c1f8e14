"""Work pools that a worker creates while the services start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reviewlm.core.errors import ReviewLMError
from reviewlm.core.services import pools


def attempts(
    monkeypatch: pytest.MonkeyPatch,
    home: Path,
    later: list[dict[str, str]],
) -> list[str]:
    """Create the first pool on a server that had none, has *later* ones then, and refuses; return what was tried."""
    tried: list[str] = []
    answers: list[Any] = [[], later]
    monkeypatch.setattr(pools, "_ask", lambda *given: answers.pop(0))

    def refuse(environment: object, home: object, *words: str) -> None:
        tried.append(" ".join(words))
        raise ReviewLMError("`prefect work-pool create` failed")

    monkeypatch.setattr(pools, "_prefect", refuse)
    _, create = next(pools.deploy_steps({}, pools.POOLS, home))
    create()
    return tried


def test_a_pool_that_a_worker_has_created_meanwhile_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tried = attempts(monkeypatch, tmp_path, [{"name": "cpu-pool"}])
    assert tried == ["work-pool create cpu-pool --type process"]


def test_a_pool_that_cannot_be_created_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ReviewLMError):
        attempts(monkeypatch, tmp_path, [])
