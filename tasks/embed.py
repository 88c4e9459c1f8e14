"""Fit word vectors on token streams, look up those that an embedding starts from, and read reviews to search."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars as pl

from reviewlm.core.config.sections.data import CleanConfig, SourceConfig
from reviewlm.core.config.sections.other_models import EmbeddingConfig
from reviewlm.core.errors import ArtifactError, ConfigError, EmptyInput, InputError
from reviewlm.core.extras import require_gensim
from reviewlm.core.store import Artifact, Built, Store
from reviewlm.core.workspace import Workspace
from reviewlm.corpus.cleaning.normalise import normalise
from reviewlm.corpus.ingestion.ingest import reading_options
from reviewlm.corpus.reading.readers import Progress, read
from reviewlm.corpus.reading.sources import identify, source_names
from reviewlm.corpus.splitting.split import SPLITS, iter_split
from reviewlm.models.specs import VocabularySpec
from reviewlm.models.streams import TokenStream, unigram_counts
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.tasks.data.prepare import VOCABULARY_FILE, Prepared
from reviewlm.tasks.execution.progress import progress
from reviewlm.tasks.execution.stage import result_as_task_state, run_stage, stage_task
from reviewlm.training.vectors.stored_rows import HEADER, save_matrix

STAGE = "embed"
log = logging.getLogger(__name__)
START_VECTORS = "vectors"
"""Name of these rows among the inputs of a fit."""
KNOWN_SHARE = 0.5
"""Share of the training text below which the log warns that the vectors are of little use."""
COLUMNS = {
    "review_id": pl.String,
    "text": pl.String,
    "stars": pl.Float32,
    "user_id": pl.String,
    "business_id": pl.String,
}
"""Columns of the result; texts are in normal form."""


@stage_task(STAGE)
def embed(
    workspace: Workspace,
    embedding: EmbeddingConfig,
    seed: int,
    prepared: Prepared,
) -> Built:
    """Fit word vectors, or reuse those of the store."""
    tokens = prepared.tokens[embedding.vocabulary]
    stated = embedding.model_dump(mode="json", exclude={"vocabulary", "threads"})
    options = {
        **stated,
        "negatives": embedding.negatives,
        "seed": seed,
    }

    def make(work: Path) -> dict[str, Any]:
        from reviewlm.training.vectors.files import save_vectors
        from reviewlm.training.vectors.neighbours import mean_cosine
        from reviewlm.training.vectors.vector_fit import fit_vectors

        train = TokenStream.open(tokens["train"].folder)
        folder = prepared.vocabularies[embedding.vocabulary].folder
        vocabulary = Vocabulary.load(folder / VOCABULARY_FILE)
        with progress(STAGE, embedding.epochs, "epochs") as report:
            vectors = fit_vectors(
                vocabulary,
                train,
                **options,
                threads=embedding.threads,
                report=report,
            )

        save_vectors(work, vectors)
        return {
            "kind": embedding.kind,
            "words": len(vectors),
            "dimensions": embedding.dimensions,
            "threads": embedding.threads,
            "mean_cosine": round(mean_cosine(vectors), 6),
        }

    inputs = {"train": tokens["train"].digest}
    label = f"{embedding.kind} of {embedding.vocabulary}"
    built = run_stage(
        workspace,
        STAGE,
        options,
        inputs,
        make,
        label,
    )
    from reviewlm.training.vectors.neighbours import ALIKE

    alike = built.artifact.facts["mean_cosine"]
    if alike > ALIKE:
        log.warning(
            "two words have a cosine of %.2f on average, so neighbours say little: these are too few reviews. Give "
            "more, or more epochs (embedding.epochs)",
            alike,
        )

    return result_as_task_state(built, built)


def require_vocabulary(
    vocabulary: Mapping[str, VocabularySpec], embedding: EmbeddingConfig
) -> None:
    """Refuse a vocabulary that the configuration does not have.

    Raises:
        ConfigError: Lists the known names.
    """
    if embedding.vocabulary not in vocabulary:
        raise ConfigError(
            "There is no such vocabulary",
            where="embedding.vocabulary",
            value=embedding.vocabulary,
            remedy=f"of {', '.join(vocabulary)}",
        )


def newest_vectors(home: Path) -> Path:
    """Return the folder of the word vectors that were fitted last; errors as for `newest_of`."""
    remedy = "`reviewlm models embed` trains them; or name a file: --vectors FILE"
    return newest_of(home, STAGE, "There are no word vectors in the store yet", remedy).folder


def newest_of(
    home: Path,
    stage_name: str,
    missing: str,
    remedy: str,
) -> Artifact:
    """Return the newest result of a stage.

    Raises:
        ArtifactError: The store has none: *missing*, with a remedy.
        Damaged: Its files have changed.
    """
    store = Store.of(home)
    newest = store.newest(stage_name)
    if newest is None:
        raise ArtifactError(missing, where=store.root, remedy=remedy)
    return newest


def start_vectors(
    workspace: Workspace,
    vectors: Mapping[str, str],
    spec: Any,
    prepared: Prepared,
) -> Artifact | None:
    """Return the artifact with a row for each entry of a model's vocabulary; None for a model without vectors.

    Raises:
        Unreadable: The file cannot be read, or changed while it was read.
        InputError: It holds no vectors, none for this vocabulary, or they do not have `spec.embedding` dimensions.
        BundleError: A folder of vectors is damaged.
    """
    name = getattr(spec, "vectors", "")
    if not name:
        return None

    vocabulary = prepared.vocabularies[spec.vocabulary]
    tokens = prepared.tokens[spec.vocabulary]["train"]
    matrix = rows_of_file(
        workspace,
        name,
        Path(vectors[name]),
        vocabulary,
        tokens,
    )
    dimensions = matrix.facts["dimensions"]
    if dimensions != spec.embedding:
        raise InputError(
            f"The word vectors {name!r} have {dimensions} dimensions",
            where=f"{spec.name}: embedding",
            value=spec.embedding,
            remedy=f"set embedding = {dimensions} in this model",
        )

    return matrix


def rows_of_file(
    workspace: Workspace,
    name: str,
    path: Path,
    vocabulary: Artifact,
    train: Artifact,
) -> Artifact:
    """Return the artifact with the rows of one vector file; errors as in `start_vectors`."""
    # The header of a folder of vectors holds the SHA-256 of its other files.
    header = path / HEADER if path.is_dir() else path
    source = identify(header, name, Store.of(workspace.home).root / ".files")

    def make(work: Path) -> dict[str, Any]:
        require_gensim()
        from reviewlm.training.vectors.embedding_rows import vocabulary_rows

        words = Vocabulary.load(vocabulary.folder / VOCABULARY_FILE)
        stream = TokenStream.open(train.folder)
        if source.path.name == HEADER:
            place = source.path.parent
        else:
            place = source.path

        matrix_VD, coverage = vocabulary_rows(place, words, unigram_counts(stream, words.size))
        source.require_unchanged()
        save_matrix(work, matrix_VD)
        return {
            "name": name,
            "path": str(source.path.absolute()),
            "dimensions": matrix_VD.shape[1],
            **asdict(coverage),
        }

    inputs = {
        "file": source.sha256,
        "vocabulary": vocabulary.facts["vocabulary_digest"],
        "train": train.digest,
    }
    built = run_stage(
        workspace,
        START_VECTORS,
        {},
        inputs,
        make,
        name,
    )
    if not built.reused:
        _say_coverage(name, built.artifact.facts)

    return built.artifact


def _say_coverage(name: str, facts: dict[str, Any]) -> None:
    share = facts["share_of_text"]
    built = ""
    if facts["built"]:
        built = f" and makes {facts['built']} more of their parts"

    missing = ", ".join(map(repr, facts["missing"][:5]))
    if missing:
        missing = f"; most frequent without one: {missing}"

    level = logging.WARNING if share < KNOWN_SHARE else logging.INFO
    log.log(
        level,
        "vectors  %s has %d of the %d entries%s, %.1f %% of the text%s",
        name,
        facts["found"],
        facts["entries"],
        built,
        100 * share,
        missing,
    )


def prepared_reviews(clean: Artifact, splits: Sequence[str]) -> pl.DataFrame:
    """Return the reviews of some splits of prepared data.

    Raises:
        EmptyInput: There are none.
    """
    frames: list[pl.DataFrame] = []
    for split in SPLITS:
        if split in splits:
            frames.extend(iter_split(clean.folder, split))

    return _join_reviews(frames)


def reviews_of_files(
    source: SourceConfig,
    clean: CleanConfig,
    files: Sequence[str],
) -> pl.DataFrame:
    """Return the reviews of files; records that cannot be used are left out, with a warning.

    Raises:
        Unreadable, MissingColumn: A file cannot be read.
        EmptyInput: There are no reviews.
    """
    options = replace(reading_options(source), workers=1)
    frames = []
    bad = 0
    for path, name in source_names(files).items():
        for block in read(path, name, options, Progress()):
            bad += block.bad.height
            frames.append(block.good)

    if bad:
        subject = f"{bad:,} records cannot be used and are"
        if bad == 1:
            subject = "1 record cannot be used and is"
        log.warning("%s left out; `reviewlm data ingest` names the reasons", subject)

    reviews = _join_reviews(frames)
    form = NormalForm(**clean.model_dump())
    return reviews.with_columns(text=normalise(reviews["text"], form))


def _join_reviews(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    if not sum(frame.height for frame in frames):
        raise EmptyInput(
            "There are no reviews to search", remedy="name others: --input FILES, or --split train"
        )
    return pl.concat([frame.select(*COLUMNS).cast(COLUMNS) for frame in frames])  # type: ignore[arg-type]
