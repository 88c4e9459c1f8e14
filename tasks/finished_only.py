"""Forbid builds within a block: a stage without a stored result raises NotFinished. Shows whether work is left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from core.store import Store

_only: ContextVar[bool] = ContextVar("only", default=False)


class NotFinished(Exception):
    """A stage has no result yet."""


@contextmanager
def finished_only() -> Iterator[None]:
    """Let stages of this block return results of the store only, and write nothing.

    The stages themselves compute what they would need, so this cannot disagree with a run that builds.
    """
    token = _only.set(True)
    try:
        yield
    finally:
        _only.reset(token)


def require_finished(store: Store, stage: str, digest: str, rebuild: bool) -> None:
    """Raise NotFinished within `finished_only` if the store lacks this result, or it is to be built again."""
    if _only.get() and (rebuild or store.find_usable(stage, digest) is None):
        raise NotFinished(f"{stage} {digest}")
