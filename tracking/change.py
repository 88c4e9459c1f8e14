"""A change of the registry that happens as a whole: one at a time, and put back where a step fails.

MLflow offers no transaction over aliases, tags and descriptions, so every step notes how to undo it. A process that
is killed half-way cannot undo; therefore whoever makes a change sets the alias `champion` last.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from filelock import FileLock

from tracking.params import shorten
from tracking.runs import Tracker
from tracking.versions import DESCRIPTION_LENGTH, Version, version_tags

log = logging.getLogger(__name__)


class Change:
    """Undoable steps on the versions of one model. `aliases` is what they point to now, kept true by the steps."""

    def __init__(self, tracker: Tracker, name: str, aliases: Mapping[str, int], undo: ExitStack) -> None:
        self._tracker, self._name, self._undo = tracker, name, undo
        self.aliases = dict(aliases)

    def set_alias(self, alias: str, version: int | None) -> None:
        """Point an alias at a version, or take it away."""
        before = self.aliases.get(alias)
        if before == version:
            return
        self._step(partial(self._write_alias, alias, version), partial(self._write_alias, alias, before))
        self.aliases.pop(alias, None)
        if version is not None:
            self.aliases[alias] = version

    def _write_alias(self, alias: str, version: int | None) -> None:
        with self._tracker.reaching() as client:
            if version is None:
                client.delete_registered_model_alias(self._name, alias)
            else:
                client.set_registered_model_alias(self._name, alias, str(version))

    def set_tags(self, version: Version, tags: Mapping[str, Any]) -> None:
        """Set tags of a version, given as it was before."""
        for key, value in version_tags(tags).items():
            before = version.tags.get(key)
            self._step(partial(self._write_tag, version, key, value), partial(self._write_tag, version, key, before))

    def _write_tag(self, version: Version, key: str, value: str | None) -> None:
        with self._tracker.reaching() as client:
            if value is None:
                client.delete_model_version_tag(self._name, str(version.version), key)
            else:
                client.set_model_version_tag(self._name, str(version.version), key, value)

    def describe(self, version: Version, text: str) -> None:
        """Set the description of a version, given as it was before."""
        new = shorten(text, DESCRIPTION_LENGTH)
        self._step(partial(self._write_text, version, new), partial(self._write_text, version, version.description))

    def _write_text(self, version: Version, text: str) -> None:
        with self._tracker.reaching() as client:
            client.update_model_version(self._name, str(version.version), text)

    def _step(self, do: Callable[[], None], restore: Callable[[], None]) -> None:
        """Note the way back first: a step that failed may still have arrived."""
        self._undo.callback(self._put_back, restore)
        do()

    def _put_back(self, restore: Callable[[], None]) -> None:
        """Undo one step; a failure here must neither hide the first error nor stop the other steps."""
        try:
            restore()
        except Exception as error:
            log.warning("%s: a step of the change could not be undone: %s", self._name, error)


@contextmanager
def exclusive_change(tracker: Tracker, name: str, aliases: Callable[[], Mapping[str, int]]) -> Iterator[Change]:
    """Hold the registry's lock on this machine and yield a change that is undone if the block fails."""
    lock = tracker.artifact_root.parent / "registry.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock), ExitStack() as undo:
        yield Change(tracker, name, aliases(), undo)
        undo.pop_all()
