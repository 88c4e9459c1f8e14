"""Fit word vectors on the token streams of a vocabulary: one artifact with the vectors and their figures."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.errors import ArtifactError, ConfigError
from core.store import Built
from models.streams import TokenStream
from models.tokens.vocabulary import Vocabulary
from tasks.data.prepare import VOCABULARY_FILE, Prepared
from tasks.progress import progress
from tasks.stage import result_as_task_state, run_stage, stage, store_of

STAGE = "embed"
log = logging.getLogger(__name__)


@stage(STAGE)
def embed(config: RunConfig, prepared: Prepared) -> Built:
    """Fit word vectors, or reuse those of the store.

    Args:
        config: Its section `embedding` has the options.
        prepared: Data with the token streams of their vocabulary.
    """
    chosen = config.embedding
    tokens = prepared.tokens[chosen.vocabulary]
    stated = chosen.model_dump(mode="json", exclude={"vocabulary", "threads"})
    options = {**stated, "negatives": chosen.negatives, "seed": config.seed}

    def make(work: Path) -> dict[str, Any]:
        from training.vectors.files import save_vectors
        from training.vectors.vector_fit import fit_vectors, mean_cosine

        train, validation = (TokenStream.open(tokens[split].folder) for split in ("train", "validation"))
        vocabulary = Vocabulary.load(prepared.vocabularies[chosen.vocabulary].folder / VOCABULARY_FILE)
        with progress(STAGE, chosen.epochs, "epochs") as report:
            fitted = fit_vectors(vocabulary, train, validation, **options, threads=chosen.threads, report=report)
        save_vectors(work, fitted.vectors)
        return {
            "kind": chosen.kind, "words": len(fitted.vectors), "dimensions": chosen.dimensions,
            "threads": chosen.threads, "mean_cosine": round(mean_cosine(fitted.vectors), 6),
            "ranked": round(fitted.ranked, 6), "windows": fitted.windows,
        }  # fmt: skip

    inputs = {split: tokens[split].digest for split in ("train", "validation")}
    built = run_stage(config, STAGE, options, inputs, make, f"{chosen.kind} of {chosen.vocabulary}")
    from training.vectors.vector_fit import ALIKE

    if (alike := built.artifact.facts["mean_cosine"]) > ALIKE:
        log.warning(
            "two words have a cosine of %.2f on average, so neighbours say little: these are too few reviews. Give "
            "more, or more epochs (embedding.epochs)", alike,
        )  # fmt: skip
    return result_as_task_state(built, built)


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
    """Return the folder of the word vectors that were fitted last.

    Raises:
        ArtifactError: The store has none.
        Damaged: Their files have changed.
    """
    store = store_of(config)
    if (newest := store.newest(STAGE)) is None:
        raise ArtifactError(
            "There are no word vectors in the store yet", where=store.root,
            remedy="`reviewlm models embed` trains them; or name a file: --vectors FILE",
        )
    return newest.folder
