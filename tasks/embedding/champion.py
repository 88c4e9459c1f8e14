"""Open the registered champion of word vectors, and refuse a registered model of another family."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from core.config.run_config import RunConfig
from core.errors import BundleError, ConfigError, Damaged
from core.lineage.family import Family
from core.model_errors import converted_errors
from core.store import Artifact
from corpus.splitting.split import TABLE
from evaluation.gate.evidence import ChampionReviews
from evaluation.vectors.ranked_words import RankedReviews, WordWindows, rank
from models.bundles.bundle import SPEC
from models.vectors.bundle import TASK, VectorsBundle, load_vectors
from models.vectors.word_vectors import WordVectors
from tasks.data.documents import documents_of
from tasks.data.family import family_of_version
from tasks.fitting.fit import bundle_digest
from tasks.promotion.champion_reviews import data_of, find_own_reviews
from tasks.promotion.score_now import in_short, lost_champion, require_registered
from tasks.stage import stage
from tasks.tracking.track import registry_of, tracking_was_away
from tracking import tags as tag
from tracking.registry.registry import CHAMPION, Version

log = logging.getLogger(__name__)
SETTING = "embedding.model_name"


@dataclass(frozen=True)
class ChampionVectors:
    """Registered champion; with a problem it has no vectors.

    `cut` is how its vocabulary cuts a text, `data` the digest of the prepared data that it was trained on.
    """

    version: int
    digest: str
    family: Family
    vectors: WordVectors | None = field(default=None, repr=False)
    problem: str = ""
    cut: str = ""
    data: str = ""


@stage("name of the vectors", retry_if=tracking_was_away)
def require_name_of_vectors(config: RunConfig) -> None:
    """Refuse a registered model that is not one of word vectors, before anything is trained.

    Raises:
        ConfigError: `embedding.model_name` is the name of the language model or classifier of this configuration, or
            its champion is one (without a champion: its newest version).
    """
    name = config.embedding.model_name
    others = {"promotion.model_name": config.promotion.model_name,
              "classification.promotion.model_name": config.classification.model_name}  # fmt: skip
    for setting, other in others.items():
        if name == other:
            raise ConfigError(
                f"Word vectors and {setting} have the same registered model",
                where=SETTING,
                value=name,
                remedy="choose another name",
            )
    registry = registry_of(config.asking(name))
    version = registry.alias(CHAMPION) or next(iter(registry.versions()), None)
    if version is None:
        return
    try:
        _require_vectors(registry.bundle_folder(version), version)
    except (BundleError, Damaged) as error:
        log.warning("version %s cannot be opened: %s", version.version, in_short(error))  # the gate says what to do


@stage("open the champion", retry_if=tracking_was_away)
def open_champion_vectors(config: RunConfig) -> ChampionVectors | None:
    """Open the registered champion; return None if there is none.

    A lost or damaged bundle is not an error here: it is returned as a problem, and the gate gives the remedy.

    Raises:
        ConfigError: The champion is no set of word vectors.
    """
    registry = registry_of(config)
    if (version := registry.alias(CHAMPION)) is None:
        return None
    try:
        folder = registry.bundle_folder(version)
        _require_vectors(folder, version)
        digest = require_registered(folder, version.tags.get(tag.BUNDLE_TAG, ""))
        with converted_errors(folder):
            bundle = load_vectors(folder)
    except (BundleError, Damaged) as error:
        return ChampionVectors(version.version, **lost_champion(config, version, "be opened", error))
    family = family_of_version(config, version, folder)
    data = data_of(folder, version.tags.get(tag.DATA_TAG, ""))
    return ChampionVectors(version.version, digest, family, bundle.vectors, cut=cut_of(bundle), data=data)


def rank_champion_reviews(
    config: RunConfig, clean: Artifact, bundle: Path, ours: WordVectors | None, champion: ChampionVectors | None,
    windows_of: Callable[[pl.DataFrame], WordWindows], by_output: bool,
) -> ChampionReviews[RankedReviews] | None:  # fmt: skip
    """Rank the words of the test reviews of the champion's data, without those that the challenger has learnt from.

    Return None if the rule does not apply: there is no champion that can be measured, it is the challenger itself, or
    the policy sets no limit.

    Args:
        config: `promotion.model_name` is the registered model.
        ours: The challenger; None if it cannot be opened.
        windows_of: Returns the windows of reviews, a table with review_id and text.
        by_output: See `evaluation.vectors.ranked_words.rank`.
    """
    policy = config.embedding.promotion
    if ours is None or champion is None or champion.vectors is None or policy.max_champion_loss is None:
        return None
    if champion.digest == bundle_digest(bundle):
        return None
    own = find_own_reviews(
        config, clean, bundle, champion.version, champion.data, "embedding.promotion", policy.champion_reviews
    )
    if isinstance(own, ChampionReviews):
        return own
    windows = windows_of(pl.read_parquet(own.chosen.folder / TABLE, columns=["review_id", "text"]))
    challenger, theirs = rank(windows, ours, by_output), rank(windows, champion.vectors, by_output)
    return ChampionReviews(*own.counts, challenger=challenger, champion=theirs, documents=documents_of(own.earlier))


def cut_of(bundle: VectorsBundle) -> str:
    """Return how the vocabulary of word vectors cuts a text; empty if that was not recorded."""
    unit = str(bundle.spec.get("unit", ""))
    return f"{unit}, {'lower case' if bundle.spec['lowercase'] else 'case kept'}" if unit == "word" else unit


def _require_vectors(folder: Path, version: Version) -> None:
    """Refuse a whole bundle of another family of models; a damaged description is not judged here."""
    try:
        told = json.loads((folder / SPEC).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if not isinstance(told, dict) or (task := told.get("task", "language model")) == TASK:
        return
    raise ConfigError(
        f"The registered model '{version.name}' holds no word vectors: version {version.version} is of another family "
        f"({task})",
        where=SETTING,
        value=version.name,
        remedy="choose a name that only word vectors have",
    )
