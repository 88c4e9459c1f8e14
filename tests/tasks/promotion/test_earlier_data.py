"""The data behind a warm start with which the held-out reviews of a run are compared."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.config.presets import parse_config
from core.config.run_config import RunConfig
from core.errors import BundleError
from core.store import Artifact
from tasks.data.prepare import EARLIER
from tasks.promotion.earlier_data import earlier_data
from tasks.stage import run_stage

Chain = Callable[..., None]


def config_of(start: str = "champion", **split: Any) -> RunConfig:
    model = {"kind": "lstm", "name": "lstm", "training": {"start": start}}
    return parse_config({"models": [{"kind": "ngram", "name": "kn"}, model], "baseline": "kn", "split": split})


def data_set(*files: str) -> Artifact:
    facts = {"sources": [{"sha256": file} for file in files]}
    return run_stage(RunConfig(), "ingest", 1, {}, {file: file for file in files}, lambda work: facts).artifact


def prepared(*files: str, earlier: tuple[Artifact, ...] = (), salt: str = "reviewlm") -> Artifact:
    options = {"split": config_of(salt=salt).split.model_dump(mode="json")}
    inputs = {"dataset": data_set(*files).digest} | {f"{EARLIER}{one.digest}": one.digest for one in earlier}
    return run_stage(RunConfig(), "prepare", 1, options, inputs, lambda work: {}).artifact


@pytest.fixture
def champion(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Chain:
    """Sets the data that the champion and its start weights have learnt from, its own first."""

    def learnt(*data: Artifact | str, problems: tuple[str, ...] = (), lost: bool = False, none: bool = False) -> None:
        def bundle_folder(version: Any) -> Path:
            if lost:
                raise BundleError("gone")
            return own_home

        registry = SimpleNamespace(
            alias=lambda name: None if none else SimpleNamespace(version=3), bundle_folder=bundle_folder
        )
        digests = [one if isinstance(one, str) else one.digest for one in data]
        monkeypatch.setattr("tasks.promotion.earlier_data.registry_of", lambda config: registry)
        monkeypatch.setattr("tasks.promotion.earlier_data.learnt_from", lambda *given: (digests, list(problems)))

    return learnt


def test_a_warm_start_is_compared_with_all_that_the_champion_has_learnt_from(champion: Chain) -> None:
    may, june = prepared("may"), prepared("june")
    champion(june, may)
    assert earlier_data(config_of(), data_set("july")) == [june, may]


def test_fresh_weights_and_a_first_week_have_no_past(champion: Chain) -> None:
    champion(prepared("may"))
    assert earlier_data(config_of("fresh"), data_set("june")) == []
    champion(none=True)
    assert earlier_data(config_of(), data_set("june")) == []
    champion(prepared("may"), lost=True)
    assert earlier_data(config_of(), data_set("june")) == []


def test_a_run_whose_own_result_is_champion_is_compared_with_what_was_before(champion: Chain) -> None:
    may = prepared("may")
    june = prepared("june", earlier=(may,))
    champion(june, may)
    assert earlier_data(config_of(), data_set("june")) == [may], "so that the same run makes the same data again"


def test_the_same_reviews_in_another_split_are_compared(champion: Chain) -> None:
    may = prepared("may", salt="another")
    champion(may)
    assert earlier_data(config_of(), data_set("may")) == [may]


def test_growing_data_are_compared_once_and_not_month_by_month(champion: Chain) -> None:
    may = prepared("may")
    june = prepared("may", "june", earlier=(may,))
    july = prepared("may", "june", "july", earlier=(june,))
    champion(july, june, may)
    assert earlier_data(config_of(), data_set("may", "june", "july", "august")) == [july]
    champion(july, june, may)
    assert earlier_data(config_of(), data_set("may", "june", "july")) == [june]


def test_data_that_hold_others_but_were_not_compared_with_them_do_not_replace_them(champion: Chain) -> None:
    may = prepared("may")
    june = prepared("may", "june")
    champion(june, may)
    assert earlier_data(config_of(), data_set("july")) == [june, may]


def test_lost_data_are_told_before_hours_of_training(champion: Chain, caplog: pytest.LogCaptureFixture) -> None:
    champion("0" * 16, problems=("how its start weights were made is not known",))
    with caplog.at_level(logging.WARNING):
        assert earlier_data(config_of(), data_set("june")) == []
    assert f"models that start from champion v3: the prepared data '{'0' * 16}' are not in the store" in caplog.text
    assert "how its start weights were made is not known" in caplog.text
