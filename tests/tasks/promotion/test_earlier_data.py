"""The data behind a warm start with which the held-out reviews of a run are compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reviewlm.core.config.presets import parse_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.errors import BundleError
from reviewlm.core.store import Artifact
from reviewlm.tasks.data.prepare import EARLIER, cleaning_options
from reviewlm.tasks.execution.stage import run_stage
from reviewlm.tasks.promotion.ancestry import earlier_data, earlier_data_of
from reviewlm.tracking.tags import DATA_TAG

Chain = Callable[..., None]


def config_of(start: str = "champion", **split: Any) -> RunConfig:
    model = {
        "kind": "lstm",
        "name": "lstm",
        "training": {"start": start},
    }
    return parse_config(
        {
            "models": [{"kind": "ngram", "name": "kn"}, model],
            "baseline": "kn",
            "split": split,
        }
    )


def data_set(*files: str) -> Artifact:
    facts = {"sources": [{"sha256": file} for file in files]}
    return run_stage(
        RunConfig().workspace,
        "ingest",
        {},
        {file: file for file in files},
        lambda work: facts,
    ).artifact


def prepared(*files: str, earlier: tuple[Artifact, ...] = (), **split: Any) -> Artifact:
    config = config_of(**split)
    options = cleaning_options(config.selection, config.duplicates, config.split, config.clean)
    inputs = {"dataset": data_set(*files).digest} | {
        f"{EARLIER}{one.digest}": one.digest for one in earlier
    }
    return run_stage(
        RunConfig().workspace,
        "prepare",
        options,
        inputs,
        lambda work: {},
    ).artifact


@pytest.fixture
def champion(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Chain:
    """Sets the data that the champion and its start weights have learnt from, its own first."""

    def learnt(
        *data: Artifact,
        problems: tuple[str, ...] = (),
        lost: bool = False,
        none: bool = False,
    ) -> None:
        def bundle_folder(version: Any) -> Path:
            if lost:
                raise BundleError("gone")
            return own_home

        found = {one.digest: one for one in data}
        version = (
            None if none else SimpleNamespace(version=3, tags={DATA_TAG: next(iter(found), "")})
        )
        registry = SimpleNamespace(alias=lambda name: version, bundle_folder=bundle_folder)
        monkeypatch.setattr(
            "reviewlm.tasks.promotion.ancestry.registry_of", lambda *asked: registry
        )
        monkeypatch.setattr(
            "reviewlm.tasks.promotion.ancestry.learnt_data", lambda *given: (found, problems)
        )

    return learnt


def test_a_warm_start_is_compared_with_all_that_the_champion_has_learnt_from(
    champion: Chain,
) -> None:
    may, june = prepared("may"), prepared("june")
    champion(june, may)
    assert earlier_data(config_of(), data_set("july")) == [june, may]


def test_fresh_weights_have_no_past(champion: Chain) -> None:
    champion(prepared("may"))

    assert earlier_data(config_of("fresh"), data_set("june")) == []


def test_a_first_week_has_no_past(champion: Chain) -> None:
    champion(none=True)

    assert earlier_data(config_of(), data_set("june")) == []


def test_a_lost_champion_has_no_past(champion: Chain) -> None:
    champion(prepared("may"), lost=True)

    assert earlier_data(config_of(), data_set("june")) == []


def test_a_run_whose_own_result_is_champion_is_compared_with_what_was_before(
    champion: Chain,
) -> None:
    may = prepared("may")
    june = prepared("june", earlier=(may,))
    champion(june, may)
    assert earlier_data(config_of(), data_set("june")) == [may], (
        "so that the same run makes the same data again"
    )


def test_growing_data_are_compared_once(champion: Chain) -> None:
    may = prepared("may")
    june = prepared("may", "june", earlier=(may,))
    july = prepared("may", "june", "july", earlier=(june,))
    champion(july, june, may)
    assert earlier_data(config_of(), data_set("may", "june", "july", "august")) == [july]
    champion(july, june, may)
    assert earlier_data(config_of(), data_set("may", "june", "july")) == [june]


def test_a_lost_data_set_replaces_nothing(champion: Chain) -> None:
    may = prepared("may")
    june = prepared("may", "june", earlier=(may,))
    for file in data_set("may").folder.iterdir():
        file.unlink()
    champion(june, may)
    assert earlier_data(config_of(), data_set("may", "june", "july")) == [june, may]


def test_a_damaged_bundle_has_taught_nothing(
    champion: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    may = prepared("may")
    champion(prepared("may", "june", earlier=(may,)), may)

    def damaged(*given: Any) -> Any:
        raise json.JSONDecodeError("cut off", "", 0)

    monkeypatch.setattr("reviewlm.tasks.promotion.ancestry.learnt_data", damaged)
    assert earlier_data(config_of(), data_set("july")) == []


def test_a_version_is_compared_again_with_what_it_was_compared_with(champion: Chain) -> None:
    may = prepared("may")
    june = prepared("june", earlier=(may,))
    assert earlier_data_of(config_of().home, june.digest) == [may]
    assert earlier_data_of(config_of().home, may.digest) == []
    assert (
        earlier_data_of(config_of().home, "") is earlier_data_of(config_of().home, "0" * 16) is None
    )
    (may.folder / "manifest.json").unlink()
    assert earlier_data_of(config_of().home, june.digest) is None
