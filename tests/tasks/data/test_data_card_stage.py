"""The stage "card": its files, its re-use, what MLflow gets of it, and the table of fertility."""

import json
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.data import CleanConfig, SourceConfig, SplitConfig
from reviewlm.core.store import Artifact
from reviewlm.corpus.cleaning.clean import prepare
from reviewlm.corpus.synthetic.synth import write_reviews
from reviewlm.models.specs import VocabularySpec
from reviewlm.tasks.data.account import account_of
from reviewlm.tasks.data.card import describe_data, log_card
from reviewlm.tasks.data.prepare import VOCABULARY_FILE, tokenize, train_vocabulary
from reviewlm.tasks.records.track import tracker_of
from tests.corpus.data_sets import ingest


def built(
    config,
    stage,
    digest,
    make,
):
    """An artifact of the store, made without its flow."""
    from reviewlm.tasks.execution.stage import run_stage

    return run_stage(
        config.workspace,
        stage,
        {"made": digest},
        {},
        make,
    ).artifact


@pytest.fixture
def config(migrated_home) -> RunConfig:
    spec = VocabularySpec(
        unit="word",
        size=500,
        min_count=1,
    )
    return RunConfig(vocabulary={"word": spec, "char": VocabularySpec(unit="char")})


@pytest.fixture
def artifacts(config, tmp_path) -> tuple[Artifact, Artifact]:
    raw = tmp_path / "reviews.jsonl"
    write_reviews(raw, 300, seed=1, malformed=0.02)
    dataset = built(config, "ingest", "d", lambda work: ingest([raw], work, SourceConfig()))
    split = SplitConfig(validation=0.2, test=0.2)
    clean = built(
        config, "prepare", "c", lambda work: prepare(dataset.folder, work, CleanConfig(), split)
    )
    return dataset, clean


@pytest.mark.slow
def test_the_card_is_a_page_with_its_profile(config, artifacts):
    card = describe_data.fn(config.workspace, config.source, *artifacts)
    files = {path.name for path in card.folder.iterdir()}
    assert {"data_card.html", "data_card.md", "profile.json", "manifest.json"} == files


@pytest.mark.slow
def test_the_profile_counts_the_reviews_of_the_splits(config, artifacts):
    dataset, clean = artifacts
    card = describe_data.fn(config.workspace, config.source, dataset, clean)
    sides = clean.facts["splits"]
    assert card.facts["reviews"] == clean.facts["rows"]
    assert card.facts["bytes"] == sum(side["bytes"] for side in sides.values())
    profile = json.loads((card.folder / "profile.json").read_text(encoding="utf-8"))
    assert {side["split"]: side["reviews"] for side in profile["splits"]} == {
        name: side["reviews"] for name, side in sides.items()
    }


@pytest.mark.slow
def test_the_card_has_the_account_of_the_records(config, artifacts):
    dataset, clean = artifacts
    page = (
        describe_data.fn(config.workspace, config.source, dataset, clean).folder / "data_card.md"
    ).read_text()
    account = account_of(dataset, clean)
    assert "synthetic" in page
    assert account.used == clean.facts["rows"]
    assert account.equation in page


@pytest.mark.slow
def test_the_card_is_drawn_once(config, artifacts):
    describe_data.fn(config.workspace, config.source, *artifacts)
    assert describe_data.fn(config.workspace, config.source, *artifacts).name == "Reused"


@pytest.fixture
def logged(config, artifacts):
    """The card, MLflow's copy of it, and the tag of the run that names it."""
    dataset, clean = artifacts
    card = describe_data.fn(config.workspace, config.source, dataset, clean)
    workspace = config.workspace
    tokens = {}
    for name, spec in config.vocabulary.items():
        vocabulary = train_vocabulary.fn(
            workspace,
            name,
            spec,
            config.clean,
            clean,
        )
        file = str(vocabulary.folder / VOCABULARY_FILE)
        tokens[name] = {
            split: tokenize.fn(
                workspace,
                file,
                split,
                clean,
                name,
            )
            for split in ("train", "test")
        }

    tracker = tracker_of(config.workspace)
    run_id = tracker.start_run("retrain")
    log_card.fn(workspace, card, tokens, run_id)
    folder = next(Path(config.home / "mlartifacts").rglob("data_card"))
    return SimpleNamespace(
        card=card,
        folder=folder,
        tag=tracker.tag(run_id, "reviewlm.card"),
    )


@pytest.mark.slow
def test_mlflow_gets_the_card(logged):
    page = (logged.folder / "data_card.html").read_bytes()
    assert page == (logged.card.folder / "data_card.html").read_bytes()
    assert logged.tag == logged.card.digest


@pytest.mark.slow
def test_mlflow_gets_the_table_of_the_vocabularies(logged):
    rows = json.loads((logged.folder.parent / "fertility.json").read_text())
    table = pl.DataFrame(rows["data"], schema=rows["columns"], orient="row")
    assert table.select("vocabulary", "split").rows() == [
        (v, s) for v in ("word", "char") for s in ("train", "test")
    ]
    word, char = (
        table.filter(vocabulary=name, split="train").to_dicts()[0] for name in ("word", "char")
    )
    assert word["unit"] == "word"
    assert char["oov_share"] == 0
    assert 0 < word["oov_share"] < 0.2
    # A character is a byte here: the corpus is ASCII.
    assert char["bytes_per_token"] == pytest.approx(1, abs=1e-9)
    assert char["tokens"] == char["words"] * char["tokens_per_word"]
