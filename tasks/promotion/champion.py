"""Measure the registered champion and challenger for the gate, now, and register the challenger."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from core.config.run_config import RunConfig
from core.errors import BundleError, Damaged, ReviewLMError
from core.lineage.record import Family
from core.model_errors import converted_errors
from tasks.data.prepare import Prepared
from tasks.family import Candidate, Champion, ModelFamily, Scored
from tasks.fitting.fit import bundle_digest
from tasks.stage import stage
from tasks.track import registry_of, tracking_was_away
from tracking.registry.registry import CHAMPION, Version
from tracking.tags import BUNDLE_TAG, DATA_TAG

log = logging.getLogger(__name__)


@stage("score champion", retry_if=tracking_was_away)
def score_champion(
    family: ModelFamily, config: RunConfig, prepared: Prepared, challenger: Candidate
) -> Champion | None:
    """Measure the registered champion on the test reviews of this run; return None if there is no champion.

    A lost or damaged bundle is not an error here: it is returned as a problem, and the gate gives the remedy.
    """
    version: Version | None = registry_of(config).alias(CHAMPION)
    if version is None:
        return None
    digest, folder = version.tags.get(BUNDLE_TAG, f"unknown (version {version.version})"), None
    try:
        folder = registry_of(config).bundle_folder(version)
        digest = require_registered(folder, version.tags.get(BUNDLE_TAG, ""))
        with converted_errors(folder):
            scored = family.score_champion(config, prepared, challenger, folder, f"champion v{version.version}")
    except (BundleError, Damaged) as error:
        folder, scored = None, _unmeasured(Scored(), f"the champion, version {version.version}", error)
    data = Family.of_tags(version.tags), version.tags.get(DATA_TAG, "")
    return Champion(version.version, digest, scored, folder, *data)


@stage("score challenger", retry_if=tracking_was_away)
def score_challenger(
    family: ModelFamily, config: RunConfig, prepared: Prepared, challenger: Candidate, version: int | None
) -> Scored:
    """Measure the registered challenger; without a new version, return what the run has measured.

    A bundle that does not open is not an error here: it is returned as a problem, and the gate refuses it.

    Raises:
        Damaged: What this run has measured has changed since it was stored.
    """
    stored = family.stored(config, prepared, challenger)
    if version is None:
        return stored
    try:
        folder = registry_of(config).bundle_folder(version)
        require_registered(folder, bundle_digest(challenger.fitted.bundle))
        with converted_errors(folder):
            label = f"{challenger.name} v{version}"
            return family.score_registered(config, prepared, challenger, folder, label, stored)
    except (BundleError, Damaged) as error:
        return _unmeasured(stored, f"the registered challenger, version {version}", error)


def _unmeasured(scored: Scored, who: str, error: ReviewLMError) -> Scored:
    """Log why a model cannot be measured, and return it as the problem."""
    problem = "; ".join(filter(None, (f"{who}, cannot be measured: {error.what}", error.cause, error.remedy)))
    log.warning("%s", problem)
    return replace(scored, problem=problem)


def require_registered(folder: Path, registered: str) -> str:
    """Return the digest of a bundle; raise BundleError if the digest *registered* is known and differs."""
    digest = bundle_digest(folder)
    if registered and digest != registered:
        raise BundleError(
            "The bundle differs from the registered one", where=folder, value=f"{digest}, registered {registered}"
        )
    return digest
