"""Prepare a data set: clean the text, freeze the split, train vocabularies, write token streams."""

from __future__ import annotations

from prefect import flow

from core.config.run_config import RunConfig
from core.store import Artifact
from tasks.data.canaries import choose
from tasks.data.card import describe_data
from tasks.data.prepare import (
    SPLITS,
    VOCABULARY_FILE,
    Prepared,
    check_table,
    clean_and_split,
    tokenize,
    train_vocabulary,
    vocabularies_in_use,
)
from tasks.fitting.warm_start import champion_vocabulary


@flow(name="prepare", persist_result=False)
def prepare(config: RunConfig, dataset: Artifact) -> Prepared:
    """Return all data that the models are fitted and measured on, each part checked."""
    clean = clean_and_split.submit(config, dataset).result()
    # `ingest` has already done the check "raw", so this is only a look-up. The run's report needs its result too.
    checks = [check_table.submit(config, *what).result() for what in (("raw", dataset), ("clean", clean))]
    card = describe_data.submit(config, dataset, clean).result()
    canaries = choose.submit(config, clean).result() if config.audit.canaries else None
    planted = {"train": canaries}  # canaries go into the training split only
    vocabularies, tokens = {}, {}
    for name in vocabularies_in_use(config):
        kept = champion_vocabulary(config, name)
        vocabularies[name] = train_vocabulary.submit(config, name, clean, kept).result()
        file = str(vocabularies[name].folder / VOCABULARY_FILE)
        tokens[name] = {
            split: tokenize.submit(config, file, split, clean, name, planted.get(split)).result() for split in SPLITS
        }
        for split in SPLITS:
            checks.append(check_table.submit(config, "tokens", tokens[name][split], f"tokens {name} {split}").result())
    return Prepared(clean, card, vocabularies, tokens, tuple(checks), canaries)
