"""Look up the word vectors that a network's embedding starts from: one artifact for each file and vocabulary."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.errors import InputError
from core.store import Artifact
from corpus.reading.sources import identify
from models.streams import TokenStream, unigram_counts
from models.tokens.vocabulary import Vocabulary
from tasks.data.prepare import VOCABULARY_FILE, Prepared
from tasks.stage import run_stage, store_of
from training.vectors.stored_rows import HEADER, save_matrix

STAGE = "vectors"
INPUT = "vectors"
"""Name of these rows among the inputs of a fit."""
FEW = 0.5
"""Share of the training text below which the log warns that the vectors are of little use."""
log = logging.getLogger(__name__)


def start_vectors(config: RunConfig, spec: Any, prepared: Prepared) -> Artifact | None:
    """Return the artifact with a row for each entry of a model's vocabulary; None for a model without vectors.

    Args:
        config: Its section `vectors` has the path.
        spec: Spec of a language model or classifier.
        prepared: Its vocabulary, and the training text on which the coverage is measured.

    Raises:
        Unreadable: The file cannot be read, or changed while it was read.
        InputError: It holds no vectors, none for this vocabulary, or they do not have `spec.embedding` dimensions.
        BundleError: A folder of vectors is damaged.
    """
    if not (name := getattr(spec, "vectors", "")):
        return None
    tokens = prepared.tokens[spec.vocabulary]["train"]
    matrix = rows_of_file(config, name, Path(config.vectors[name]), prepared.vocabularies[spec.vocabulary], tokens)
    if (dimensions := matrix.facts["dimensions"]) != spec.embedding:
        raise InputError(
            f"The word vectors {name!r} have {dimensions} dimensions", where=f"{spec.name}: embedding",
            value=spec.embedding, remedy=f"set embedding = {dimensions} in this model",
        )
    return matrix


def rows_of_file(config: RunConfig, name: str, path: Path, vocabulary: Artifact, train: Artifact) -> Artifact:
    """Return the artifact with the rows of one vector file; errors as in `start_vectors`."""
    source = identify(vector_file(path), name, store_of(config).root / ".files")

    def make(work: Path) -> dict[str, Any]:
        from training.vectors.files import vocabulary_rows

        words, stream = Vocabulary.load(vocabulary.folder / VOCABULARY_FILE), TokenStream.open(train.folder)
        place = source.path.parent if source.path.name == HEADER else source.path
        matrix_VD, coverage = vocabulary_rows(place, words, unigram_counts(stream, words.size))
        source.require_unchanged()
        save_matrix(work, matrix_VD)
        return {
            "name": name, "path": str(source.path.absolute()), "dimensions": matrix_VD.shape[1], **asdict(coverage)
        }

    inputs = {"file": source.sha256, "vocabulary": vocabulary.facts["vocabulary_digest"], "train": train.digest}
    built = run_stage(config, STAGE, {}, inputs, make, name)
    if not built.reused:
        _say_coverage(name, built.artifact.facts)
    return built.artifact


def vector_file(path: Path) -> Path:
    """Return the file whose bytes identify word vectors: of a folder the header, which holds the others' SHA-256."""
    return path / HEADER if path.is_dir() else path


def _say_coverage(name: str, facts: dict[str, Any]) -> None:
    share, missing, built = facts["share_of_text"], facts["missing"][:5], facts["built"]
    log.log(
        logging.WARNING if share < FEW else logging.INFO,
        "vectors  %s has %d of the %d entries%s, %.1f %% of the text%s",
        name, facts["found"], facts["entries"], f" and makes {built} more of their parts" if built else "", 100 * share,
        f"; most frequent without one: {', '.join(map(repr, missing))}" if missing else "",
    )
