"""Train word vectors on the token streams of a vocabulary: one artifact with the vectors and their figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.errors import ArtifactError, ConfigError
from core.store import Artifact
from models.options import stored
from models.streams import TokenStream
from models.tokens.vocabulary import Vocabulary
from models.vectors.fitting import fit_vectors
from tasks.data.prepare import VOCABULARY_FILE
from tasks.progress import progress
from tasks.stage import as_task_state, run_stage, show_facts, stage, store_of

EMBED_VERSION = 1


@stage("embed")
def embed(config: RunConfig, vocabulary: Artifact, tokens: Mapping[str, Artifact]) -> Artifact:
    """Train word vectors; a killed training continues from its last finished epoch.

    Args:
        config: Its section `embedding` has the options.
        vocabulary: Vocabulary of the streams.
        tokens: Token streams of the splits "train" and "validation".
    """
    spec, threads = config.embedding.spec, config.embedding.threads

    def make(work: Path) -> dict[str, Any]:
        train, validation = (TokenStream.open(tokens[split].folder) for split in ("train", "validation"))
        known = Vocabulary.load(vocabulary.folder / VOCABULARY_FILE)
        with progress("embed", 1, "tokens") as report:
            vectors = fit_vectors(
                spec, known, train, validation, work, threads, lambda done, total: report(done, total=total)
            )
        facts = {name: vectors.facts[name] for name in ("work", "validation", "threads")}
        return {"kind": spec.kind, "words": len(vectors), "dimensions": vectors.dimensions, **facts}

    inputs = {"vocabulary": vocabulary.digest, **{split: tokens[split].digest for split in ("train", "validation")}}
    label = f"{spec.kind} of {config.embedding.vocabulary}"
    built = run_stage(config, "embed", EMBED_VERSION, stored(spec), inputs, make, label, resumable=True)
    show_facts("embed", built.artifact, built.reused)
    return as_task_state(built)


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


def newest_vectors(config: RunConfig) -> Artifact:
    """Return the word vectors that were trained last.

    Raises:
        ArtifactError: The store has none.
        Damaged: Their files have changed.
    """
    store = store_of(config)
    if (found := store.newest("embed")) is None:
        raise ArtifactError(
            "There are no word vectors in the store yet", where=store.root,
            remedy="`reviewlm embed` trains them; or name a file: --vectors FILE",
        )
    return found


def describe_vectors(artifact: Artifact) -> dict[str, Any]:
    """Return word vectors as plain values, for the command line's JSON."""
    return {"vectors": str(artifact.folder), "digest": artifact.digest, **artifact.facts}
