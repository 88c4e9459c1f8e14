"""Train word vectors: the pipeline up to the token streams of one vocabulary, then the stage `embed`."""

from __future__ import annotations

from typing import Any

from prefect import flow

from core.config.run_config import RunConfig
from core.store import Artifact
from flows.ingest import ingest
from flows.retrain import resolve
from flows.server.workers import on_workers
from tasks.data.prepare import VOCABULARY_FILE, check_table, clean_and_split, tokenize, train_vocabulary
from tasks.embedding.embed import describe_vectors, require_vocabulary
from tasks.embedding.embed import embed as train_vectors
from tasks.stage import step


@flow(name="embed", persist_result=False)
def embed(
    preset: str = "small", input: list[str] | None = None, overrides: list[str] | None = None
) -> dict[str, Any]:
    """Return where the word vectors are, and their figures.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file.
        input: Files, folders or globs of reviews. None: the embedded synthetic corpus.
        overrides: Settings as `key=value`.
    """
    config = resolve(preset, input, overrides)
    require_vocabulary(config)
    dataset = ingest(config)
    with step("embed", "train word vectors"):
        return describe_vectors(on_workers(embed_words, config.execution.workers)(config, dataset))


@flow(name="embed-words", flow_run_name="{config.title}", persist_result=False)
def embed_words(config: RunConfig, dataset: Artifact) -> Artifact:
    """Clean and check the data, encode the two splits with one vocabulary, and train on them.

    The test reviews are not read, and no canaries are planted.
    """
    name = config.embedding.vocabulary
    clean = clean_and_split(config, dataset)
    check_table(config, "clean", clean)
    vocabulary = train_vocabulary(config, name, clean)
    file = str(vocabulary.folder / VOCABULARY_FILE)
    streams = {split: tokenize.submit(config, file, split, clean, name) for split in ("train", "validation")}
    return train_vectors(config, vocabulary, {split: stream.result() for split, stream in streams.items()})
