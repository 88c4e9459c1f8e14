"""List the results of a store with their sizes, last uses and inputs, without using or checking them.

Decide which stored results are kept: those with a reason of their own, and all that they were made from.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from core.manifest import MANIFEST, read_manifest
from core.removal import last_use
from core.store import Artifact, newest_first
from tasks.fitting.warm_start import INPUT as START
from tasks.lineage.inputs import Inputs, by_file
from tasks.start_vectors import STAGE as VECTORS
from training.vectors.stored_rows import HEADER

Key = tuple[str, str]
"""Stage and digest of a stored result."""
VERSION = "lineage of a version"
RUNNING = "used by a running run"
RECENT = "used by a recent run"
YOUNG = "used within a day"
INPUT = "input of a kept result"


class Holdings:
    """The results of a store at one moment. A damaged one is listed too, without inputs.

    Args:
        root: The store's folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.artifacts = {(one.stage, one.digest): one for one in _results(root)}
        self.used = {key: last_use(one.folder) for key, one in self.artifacts.items()}
        self._by_digest: dict[str, list[Key]] = {}
        for key in self.artifacts:
            self._by_digest.setdefault(key[1], []).append(key)
        self._inputs = Inputs(self._all, lambda stage, digest: self.artifacts.get((stage, digest)))

    def made_from(self, key: Key) -> Iterator[Key]:
        """Yield the results behind a result's inputs, by the rules of a lineage record or by their digest alone.

        The weights that a fit started from are followed too: the gate asks which reviews they were trained on. So are
        the word vectors of `reviewlm models embed`: a configuration names their folder.
        """
        if (artifact := self.artifacts.get(key)) is None:
            return
        for name, value in artifact.manifest["inputs"].items():
            maker = self._inputs.maker(artifact, name, value) or self._inputs.fits.get(value)
            if maker is None and name == START:
                maker = self._inputs.weights.get(value)
            if maker is None and key[0] == VECTORS and name == "file":
                maker = self._embedded.get(value)
            if maker is not None:
                yield maker.stage, maker.digest
            else:
                yield from self._by_digest.get(value, ())

    def fits_of(self, bundle: str) -> list[Key]:
        """Return the fit with a bundle, by the SHA-256 of its `spec.json`, and the results that describe the bundle."""
        fit = self._inputs.fits.get(bundle)
        about = [key for key, one in self.artifacts.items()
                 if key[0] in ("score", "samples") and one.manifest["inputs"].get("bundle") == bundle]  # fmt: skip
        return [*([(fit.stage, fit.digest)] if fit else []), *about]

    def starts_unknown(self, results: Iterable[Key]) -> bool:
        """Return whether a kept fit started from weights that no stored fit has."""
        starts = (self.artifacts[key].manifest["inputs"].get(START) for key in results if key in self.artifacts)
        return any(start and start not in self._inputs.weights for start in starts)

    @cached_property
    def _embedded(self) -> dict[str, Artifact]:
        """The results of `reviewlm models embed` by the SHA-256 of the file that identifies them."""
        return by_file(self._all("embed"), HEADER)

    def _all(self, stage: str) -> list[Artifact]:
        """Return the undamaged results of a stage, newest first."""
        return [one for one in self.artifacts.values() if one.stage == stage and "facts" in one.manifest]


def kept_results(holdings: Holdings, roots: Mapping[Key, str], limits: Sequence[UsedAfter]) -> dict[Key, str]:
    """Return the kept results with their reasons: roots, results used since one of the times, and all their inputs."""
    return with_inputs(used_since(holdings.used, limits) | dict(roots), holdings.made_from)


def _results(root: Path) -> Iterator[Artifact]:
    for stage in sorted(root.iterdir()) if root.is_dir() else ():
        if stage.is_dir() and not stage.name.startswith("."):
            for folder in newest_first(stage):
                yield Artifact(stage.name, folder.name, str(folder), _manifest(folder))


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = read_manifest(folder / MANIFEST)
        return {**manifest, "inputs": dict(manifest["inputs"]), "files": dict(manifest["files"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {"inputs": {}, "files": {}}


@dataclass(frozen=True)
class UsedAfter:
    """A reason to keep what was used at or after a time, in nanoseconds since 1970."""

    time: int
    reason: str


def used_since(used: Mapping[Key, int], limits: Sequence[UsedAfter]) -> dict[Key, str]:
    """Return the results that were used since one of the times, each with the first reason that applies."""
    reasons: dict[Key, str] = {}
    for limit in limits:
        for key, last in used.items():
            if last >= limit.time:
                reasons.setdefault(key, limit.reason)
    return reasons


def with_inputs(roots: Mapping[Key, str], made_from: Callable[[Key], Iterable[Key]]) -> dict[Key, str]:
    """Return the kept results and everything that they were made from, at any distance, each with its reason."""
    reasons, waiting = dict(roots), deque(roots)
    while waiting:
        for key in made_from(waiting.popleft()):
            if key not in reasons:
                reasons[key] = INPUT
                waiting.append(key)
    return reasons


def cutoff(starts: Iterable[int], runs: int) -> int:
    """Return when the oldest of the newest *runs* began; 0, the beginning of time, if there are fewer."""
    newest = sorted(starts, reverse=True)[:runs]
    return newest[-1] if len(newest) == runs else 0
