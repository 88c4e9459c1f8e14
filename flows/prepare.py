"""Prepare a data set: clean, split, train vocabularies, encode token streams, check the data, draw the data card."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import flow

from core.config.run_config import RunConfig
from core.store import Artifact
from flows.server.parameters import Given, on_workers
from tasks.data.card import describe_data
from tasks.data.prepare import (
    TRAIN_FIRST,
    VOCABULARY_FILE,
    Prepared,
    check_table,
    choose,
    clean_and_split,
    tokenize,
    train_vocabulary,
    vocabularies_in_use,
)
from tasks.fitting.warm_start import champion_vocabulary, warn_of_unknown
from tasks.promotion.earlier_data import compared_before, earlier_data
from tasks.stage import step


def prepare(
    config: RunConfig, dataset: Artifact, vocabularies: Sequence[str] | None = None, of: str = ""
) -> Prepared:
    """Return all data that the models are fitted and measured on, each part checked.

    Args:
        vocabularies: Names of those to prepare; None: those that the language models use.
        of: Digest of a version's prepared data, which are wanted again; empty: those of a new run.
    """
    with step("prepare", "clean, split and tokenize the reviews"):
        names = vocabularies_in_use(config) if vocabularies is None else vocabularies
        return on_workers(prepare_data, config.execution.workers)(config, dataset, names, of)


@flow(name="prepare", flow_run_name="{config.title}", persist_result=False)
def prepare_data(
    config: Given[RunConfig], dataset: Given[Artifact], names: Sequence[str], of: str = ""
) -> Prepared:  # fmt: skip
    """Clean and check the data; then draw the data card, where there are several workers beside the vocabularies."""
    past = compared_before(config, of)
    clean = clean_and_split(config, dataset, earlier_data(config, dataset) if past is None else past)
    # `ingest` has already done the check "raw", so this is only a look-up. The run's report needs its result too.
    checks = [check_table(config, *what) for what in (("raw", dataset), ("clean", clean))]
    canaries = choose(config, clean) if config.audit.canaries else None
    planted = {"train": canaries}  # canaries go into the training split only
    card = describe_data.submit(config, dataset, clean)
    vocabularies, streams, champions = {}, {}, {}
    for name in names:
        vocabulary = champions[name] = champion_vocabulary(config, name)
        # Wait for each one: the trainer of unigram vocabularies sets its number of threads for the whole process.
        vocabularies[name] = train_vocabulary.submit(config, name, clean, vocabulary).result()
        file = str(vocabularies[name].folder / VOCABULARY_FILE)
        streams[name] = {
            split: tokenize.submit(config, file, split, clean, name, planted.get(split)) for split in TRAIN_FIRST
        }
    tokens = {name: {split: stream.result() for split, stream in splits.items()} for name, splits in streams.items()}
    for name, vocabulary in champions.items():
        if vocabulary:
            warn_of_unknown(name, vocabulary, tokens[name]["train"])
    checked = [
        check_table.submit(config, "tokens", tokens[name][split], f"tokens {name} {split}")
        for name in tokens for split in TRAIN_FIRST
    ]
    checks += [check.result() for check in checked]
    return Prepared(clean, card.result(), vocabularies, tokens, tuple(checks), canaries)
