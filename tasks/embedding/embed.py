"""Train word vectors on the token streams of a vocabulary: one artifact with bundle and figures, one MLflow run."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.errors import ArtifactError, ConfigError
from core.store import Built, Store
from models.options import stored
from models.streams import TokenStream
from models.tokens.vocabulary import Vocabulary
from models.vectors.bundle import save_vectors
from models.vectors.fitting import fit_vectors
from models.vectors.training import CHECKPOINT, Report
from models.vectors.word_vectors import ALIKE, HEADER
from tasks.code_version import running_code
from tasks.data.prepare import VOCABULARY_FILE, Prepared
from tasks.fitting.fitted import FittedVectors
from tasks.fitting.job import BUNDLE_FOLDER
from tasks.progress import progress
from tasks.stage import result_as_task_state, run_stage, show_facts, stage, store_of
from tasks.tracking.track import open_model_run

STAGE = "embed"
log = logging.getLogger(__name__)


@stage(STAGE)
def embed(config: RunConfig, prepared: Prepared, parent_run_id: str) -> FittedVectors:
    """Train word vectors; if the store has them, reuse them and link their MLflow run.

    Args:
        config: Its section `embedding` has the options.
        prepared: Data with the token streams of their vocabulary.
    """
    chosen = config.embedding
    digest = Store.digest(
        STAGE, running_code().version(__name__), stored(chosen.spec), _inputs(config, prepared)
    )
    there = STAGE not in config.execution.rebuild and store_of(config).find_usable(STAGE, digest) is not None
    with open_model_run(config, chosen, digest, prepared, parent_run_id, there) as run:
        built = build_vectors(config, prepared)
        run.complete(built.artifact, BUNDLE_FOLDER)
    show_facts(STAGE, built.artifact, built.reused, f"MLflow run: {run.link}")
    if (alike := built.artifact.facts["mean_cosine"]) > ALIKE:
        log.warning(
            "two words have a cosine of %.2f on average, so neighbours say little: these are too few reviews. Give "
            "more, or more epochs (embedding.epochs)", alike,
        )  # fmt: skip
    return result_as_task_state(built, FittedVectors(chosen, built.artifact, run.run_id, built.reused))


def build_vectors(config: RunConfig, prepared: Prepared) -> Built:
    """Return the artifact with the vectors; a killed training continues from its last finished epoch."""
    chosen, inputs = config.embedding, _inputs(config, prepared)
    tokens, spec = prepared.tokens[chosen.vocabulary], chosen.spec

    def make(work: Path) -> dict[str, Any]:
        train, validation = (TokenStream.open(tokens[split].folder) for split in ("train", "validation"))
        known = Vocabulary.load(prepared.vocabularies[chosen.vocabulary].folder / VOCABULARY_FILE)
        with progress(STAGE, 1, "tokens") as report:
            speed = _Speed(lambda done, total: report(done, total=total))
            vectors = fit_vectors(spec, known, train, validation, work, chosen.threads, speed)
        cut = {"unit": known.spec.unit, "lowercase": known.spec.lowercase}
        named = {"name": chosen.name, "vocabulary": chosen.vocabulary, **cut, **stored(spec)}
        facts = {name: vectors.facts[name] for name in ("work", "validation", "threads", "mean_cosine")}
        save_vectors(work / BUNDLE_FOLDER, vectors, named, {"clean_digest": prepared.clean.digest})
        (work / CHECKPOINT).unlink(missing_ok=True)
        summary = {**facts["validation"], "mean_cosine": facts["mean_cosine"], "words": len(vectors), **speed.found}
        return {
            "name": chosen.name, "kind": spec.kind, "words": len(vectors), "dimensions": vectors.dimensions, **facts,
            "summary": summary,
        }  # fmt: skip

    label = f"{spec.kind} of {chosen.vocabulary}"
    return run_stage(config, STAGE, stored(spec), inputs, make, label, resumable=True)


def _inputs(config: RunConfig, prepared: Prepared) -> dict[str, str]:
    tokens = prepared.tokens[config.embedding.vocabulary]
    return {split: tokens[split].digest for split in ("train", "validation")}


class _Speed:
    """Measure tokens per second between the first and the last report; a resumed training reports only the rest."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.first: tuple[int, float] | None = None
        self.found: dict[str, float] = {}

    def __call__(self, done: int, total: int) -> None:
        now = time.perf_counter()
        if self.first is None:
            self.first = done, now
        elif now > self.first[1]:
            self.found = {"tokens_per_second": (done - self.first[0]) / (now - self.first[1])}
        self.report(done, total)


def require_vocabulary(config: RunConfig) -> None:
    """Refuse a vocabulary that the configuration does not have.

    Raises:
        ConfigError: Lists the known names.
    """
    if config.embedding.vocabulary not in config.vocabulary:
        raise ConfigError(
            "There is no such vocabulary", where="embedding.vocabulary", value=config.embedding.vocabulary,
            remedy=f"of {', '.join(config.vocabulary)}",
        )


def newest_vectors(config: RunConfig) -> Path:
    """Return the folder of the word vectors that were trained last.

    Raises:
        ArtifactError: The store has none.
        Damaged: Their files have changed.
    """
    store = store_of(config)
    if (found := store.newest(STAGE)) is None:
        raise ArtifactError(
            "There are no word vectors in the store yet", where=store.root,
            remedy="`reviewlm embed` trains them; or name a file: --vectors FILE",
        )
    old = (found.folder / HEADER).exists()  # results of version 1 have no folder of their own for the vectors
    return found.folder if old else found.folder / BUNDLE_FOLDER
