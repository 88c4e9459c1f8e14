"""Look up the word vectors that a network's embedding starts from: one artifact for each file and vocabulary."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.errors import Unreadable
from core.store import Artifact, sha256_of_file
from models.streams import TokenStream, unigram_counts
from models.tokens.vocabulary import Vocabulary
from models.vectors.stored_matrix import save_matrix
from models.vectors.vocabulary_matrix import vocabulary_rows
from models.vectors.word_vectors import HEADER
from tasks.data.prepare import VOCABULARY_FILE
from tasks.stage import run_stage, show_facts

STAGE = "vectors"
VECTORS_VERSION = 1
INPUT = "vectors"
"""Name of these rows among the inputs of a fit."""
FEW = 0.5
"""Share of the training text below which the log warns that the vectors are of little use."""
log = logging.getLogger(__name__)


def start_vectors(config: RunConfig, spec: Any, vocabulary: Artifact, train: Artifact) -> Artifact | None:
    """Return the artifact with a row for each entry of a model's vocabulary; None for a model without vectors.

    Args:
        config: Its section `vectors` has the path.
        spec: Spec of a language model or classifier.
        vocabulary: Of its tokens.
        train: Token stream of the training split; the coverage is measured on it.

    Raises:
        Unreadable: The file cannot be read.
        InputError: It holds no vectors, or none for this vocabulary.
    """
    name = getattr(spec, "vectors", "")
    return rows_of_file(config, name, Path(config.vectors[name]), vocabulary, train) if name else None


def rows_of_file(config: RunConfig, name: str, path: Path, vocabulary: Artifact, train: Artifact) -> Artifact:
    """Return the artifact with the rows of one vector file; see `start_vectors`."""
    file = path / HEADER if path.is_dir() else path
    path = file.parent if file.name == HEADER else file

    def make(work: Path) -> dict[str, Any]:
        known, stream = Vocabulary.load(vocabulary.folder / VOCABULARY_FILE), TokenStream.open(train.folder)
        matrix_VD, coverage = vocabulary_rows(path, known, unigram_counts(stream, known.size))
        save_matrix(work, matrix_VD)
        return {"name": name, "path": str(file.absolute()), "dimensions": matrix_VD.shape[1], **asdict(coverage)}

    inputs = {
        "file": _digest_of(file, name), "vocabulary": vocabulary.facts["vocabulary_digest"], "train": train.digest,
    }  # fmt: skip
    built = run_stage(config, STAGE, VECTORS_VERSION, {}, inputs, make, name)
    facts = built.artifact.facts
    share = facts["share_of_text"]
    log.log(
        logging.WARNING if share < FEW else logging.INFO, "vectors  %s has %d of the %d entries, %.1f %% of the text%s",
        name, facts["found"], facts["entries"], 100 * share,
        f"; most frequent without one: {', '.join(map(repr, facts['missing'][:5]))}" if facts["missing"] else "",
    )
    show_facts(f"vectors-{name}", built.artifact, built.reused)
    return built.artifact


def _digest_of(file: Path, name: str) -> str:
    """Return the SHA-256 of a vector file, or of a folder's header, which holds those of its other files."""
    try:
        return sha256_of_file(file)
    except OSError as error:
        raise Unreadable(
            "The word vectors cannot be read", where=file, cause=str(error), remedy=f"correct the path vectors.{name}"
        ) from error
