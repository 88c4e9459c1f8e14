"""Train, register and judge word vectors: ingest → clean → vocabulary → token streams → embed → gate."""

from __future__ import annotations

from typing import Any

from prefect import flow

from core.config.run_config import RunConfig
from core.store import Artifact
from flows.ingest import ingest
from flows.retrain import resolve
from flows.server.parameters import Given, Inputs, Overrides, Preset
from flows.server.workers import on_workers
from tasks.data.prepare import VOCABULARY_FILE, Prepared, check_table, clean_and_split, tokenize, train_vocabulary
from tasks.embedding.champion import ChampionVectors, open_champion_vectors, require_name_of_vectors
from tasks.embedding.embed import embed as train_vectors
from tasks.embedding.embed import require_vocabulary
from tasks.embedding.promote import judge_vectors, register_vectors, settle_vectors
from tasks.embedding.summary import summarise_vectors
from tasks.fitting.fitted import FittedVectors
from tasks.limits import PROMOTION, require_limits
from tasks.promotion.promote import Promotion
from tasks.promotion.rejudge import judge_registered
from tasks.stage import step
from tasks.tracking.track import log_inputs, parent_run


@flow(name="embed", persist_result=False)
def embed(
    preset: Preset = "small", input: Inputs = None, overrides: Overrides = None
) -> dict[str, Any]:
    """Train word vectors, register them, and run the gate; return where they are, their figures and the decision.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file.
        input: Files, folders or globs of reviews. None: the embedded synthetic corpus.
        overrides: Settings as `key=value`.
    """
    config = resolve(preset, input, overrides)
    require_vocabulary(config)
    require_limits([PROMOTION])
    require_name_of_vectors(config)
    with parent_run(config, "embed") as run_id:
        dataset = ingest(config)
        with step("embed", "train word vectors"):
            prepared = on_workers(prepare_words, config.execution.workers)(config, dataset)
            log_inputs(config, prepared, run_id)
            fitted = train_vectors(config, prepared, run_id)
        with step("promote", "register the word vectors and run the gate"):
            promotion = _promoted(config, prepared, fitted, run_id)
        return summarise_vectors(config, fitted, promotion, run_id)


@flow(name="prepare-words", flow_run_name="{config.title}", persist_result=False)
def prepare_words(config: Given[RunConfig], dataset: Given[Artifact]) -> Prepared:
    """Clean and check the data, and encode training and validation reviews with one vocabulary.

    No canaries are planted. The gate reads the test reviews as words, so they have no token stream; no data card is
    drawn, and the cleaned reviews take its place.
    """
    name = config.embedding.vocabulary
    clean = clean_and_split(config, dataset)
    checks = tuple(check_table(config, *what) for what in (("raw", dataset), ("clean", clean)))
    vocabulary = train_vocabulary(config, name, clean)
    file = str(vocabulary.folder / VOCABULARY_FILE)
    streams = {split: tokenize.submit(config, file, split, clean, name) for split in ("train", "validation")}
    tokens = {split: stream.result() for split, stream in streams.items()}
    return Prepared(clean, clean, {name: vocabulary}, {name: tokens}, checks)


def _promoted(config: RunConfig, prepared: Prepared, fitted: FittedVectors, run_id: str) -> Promotion:
    config = config.asking(config.embedding.model_name)

    def judge(champion: ChampionVectors | None, version: int | None) -> Promotion:
        decision = judge_vectors(config, prepared, fitted, champion, version)
        return settle_vectors(config, prepared, fitted, champion, version, decision, run_id)

    return judge_registered(
        lambda: open_champion_vectors(config),
        lambda champion: register_vectors(config, prepared, fitted, champion),
        judge,
    )
