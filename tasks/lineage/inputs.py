"""Find the stored results behind the inputs of a result, for lineage records and `reviewlm home gc`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property

from core.lineage import FITS
from core.store import Artifact
from models.neural.spec import WEIGHTS
from tasks.classification.field_labels import STAGE as LABELS_STAGE
from tasks.data.ingest import SYNTHETIC_FILE
from tasks.fitting.job import BUNDLE_FOLDER, BUNDLE_SPEC, PART
from tasks.start_vectors import INPUT as VECTORS
from tasks.start_vectors import STAGE as VECTORS_STAGE

MADE_BY = {
    "dataset": "ingest", "clean": "prepare", "canaries": "canaries", "tokens": "tokens", "train": "tokens",
    "validation": "tokens", VECTORS: VECTORS_STAGE, LABELS_STAGE: LABELS_STAGE,
}
"""Stage of an artifact by its name among the inputs of later stages."""


class Inputs:
    """Search for the artifact that made an input.

    Args:
        all: Returns the artifacts of a stage, the newest first.
        find: Returns an artifact by stage and digest, or None.
    """

    def __init__(
        self, all: Callable[[str], Iterable[Artifact]], find: Callable[[str, str], Artifact | None]
    ) -> None:
        self.all, self.find = all, find

    def maker(self, artifact: Artifact, name: str, value: str) -> Artifact | None:
        """Return the artifact behind an input; None if it came from outside or was removed from the store."""
        stage = artifact.stage
        if stage in ("tokens", "score", "samples", "predict", VECTORS_STAGE, *FITS):
            if name == "vocabulary":
                return self._vocabulary(value, artifact.manifest["inputs"].get("clean"))
            if name == "bundle" or name.startswith(PART):
                return self.fits.get(value)
        if stage == "read":
            return self._synthetic.get(value)
        if stage == "ingest":
            return self.find("read", value)
        return self.find(MADE_BY[name], value) if name in MADE_BY else None

    @cached_property
    def fits(self) -> dict[str, Artifact]:
        """The fits by the SHA-256 of their bundle's `spec.json`."""
        return by_file((one for stage in FITS for one in self.all(stage)), BUNDLE_SPEC)

    @cached_property
    def weights(self) -> dict[str, Artifact]:
        """The fits of networks by the SHA-256 of their weights, which later fits may start from."""
        return by_file(self.all("fit"), f"{BUNDLE_FOLDER}/{WEIGHTS}")

    @cached_property
    def _synthetic(self) -> dict[str, Artifact]:
        return by_file(self.all("synthesise"), SYNTHETIC_FILE)

    @cached_property
    def _vocabularies(self) -> list[Artifact]:
        return list(self.all("vocabulary"))

    def _vocabulary(self, digest: str, clean: str | None) -> Artifact | None:
        """Return the newest vocabulary with this digest, preferably trained on the data *clean*.

        Different data may give equal vocabularies, for example of letters.
        """
        equal = [one for one in self._vocabularies if one.facts["vocabulary_digest"] == digest]
        of_data = [one for one in equal if one.manifest["inputs"].get("clean", clean) == clean]
        return next(iter([*of_data, *equal]), None)


def by_file(artifacts: Iterable[Artifact], file: str) -> dict[str, Artifact]:
    """Return artifacts by the SHA-256 of one of their files; for equal hashes the newest."""
    oldest_first = reversed(list(artifacts))
    return {one.manifest["files"][file]["sha256"]: one for one in oldest_first if file in one.manifest["files"]}
