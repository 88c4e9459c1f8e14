"""The data behind start weights: a test review of today that they were trained on is found, however far back it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from core.config.run_config import RunConfig
from core.config.sections.evaluation import PromotionConfig
from core.errors import BundleError
from core.store import Artifact, sha256_of_file
from evaluation.gate.case import Evidence, Leaks, ModelEvidence
from evaluation.gate.language import LanguageCase
from evaluation.gate.rules import leak_certificate
from tasks.data.prepare import EARLIER
from tasks.promotion.ancestry import look_back
from tasks.promotion.evidence import with_past
from tasks.stage import run_stage


@pytest.fixture(autouse=True)
def registered(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path | None]:
    """Bundles of the registered versions, None of one whose files are gone."""
    folders: list[Path | None] = []

    def bundle_folder(number: int) -> Path:
        if (folder := folders[number]) is None:
            raise BundleError("gone")
        return folder

    registry = SimpleNamespace(versions=lambda: range(len(folders)), bundle_folder=bundle_folder)
    monkeypatch.setattr("tasks.promotion.ancestry.registry_of", lambda config: registry)
    return folders


def prepared(salt: str, earlier: Artifact | None = None, **splits: list[str]) -> Artifact:
    """Prepared data: ids of the reviews of each split; of those compared with *earlier* data three were left out."""

    def make(work: Path) -> dict[str, Any]:
        rows = [(one, split) for split, ids in splits.items() for one in ids]
        pl.DataFrame(rows, schema=["review_id", "split"], orient="row").write_parquet(work / "clean.parquet")
        learnt = {"test": {"exact": 1, "covered": 1}, "validation": {"exact": 0, "covered": 1}}
        return {"learnt": learnt} if earlier else {}

    inputs = {f"{EARLIER}{earlier.digest}": earlier.digest} if earlier else {}
    return run_stage(RunConfig(), "prepare", {"salt": salt}, inputs, make).artifact


def fitted(
    name: str, clean: Artifact, start: Path | None = None, holds: Path | None = None, vectors: str = "", **parts: Path
) -> Path:
    """The bundle of a network, or of a mixture that *holds* the weights of one."""

    def make(work: Path) -> dict[str, Any]:
        weights = work / "bundle" / ("parts/0/weights.safetensors" if holds else "weights.safetensors")
        weights.parent.mkdir(parents=True)
        weights.write_bytes(weights_of(holds).read_bytes() if holds else name.encode())
        told: dict[str, Any] = {"name": name, "clean_digest": clean.digest}
        told |= {"spec": {"vectors": vectors}} if vectors else {}
        told |= {"start": sha256_of_file(weights_of(start))} if start else {}
        told |= {"parts": {name: sha256_of_file(part / "spec.json") for name, part in parts.items()}} if parts else {}
        (work / "bundle" / "spec.json").write_text(json.dumps(told))
        return {}

    return run_stage(RunConfig(), "fit", {"name": name}, {}, make).artifact.folder / "bundle"


def weights_of(bundle: Path) -> Path:
    return next(bundle.rglob("weights.safetensors"))


@pytest.fixture
def today() -> Artifact:
    return prepared("today", train=["a", "b"], validation=["c"], test=["d", "e"])


@pytest.mark.parametrize("warm", [False, True], ids=["a fresh model", "start weights of the very same data"])
def test_what_the_certificate_speaks_for_has_no_past(today: Artifact, warm: bool) -> None:
    past = look_back(RunConfig(), today, fitted("second", today, start=fitted("first", today) if warm else None))
    assert (past.clean, past.detail) == (True, "")


def test_start_weights_of_data_with_the_same_frozen_split_are_clean(today: Artifact) -> None:
    before = prepared("before", train=["a"], test=["d"])
    past = look_back(RunConfig(), today, fitted("second", today, start=fitted("first", before)))
    assert past.clean
    assert before.digest in past.detail


def test_reviews_that_were_left_out_because_the_start_weights_know_their_text_are_counted() -> None:
    before = prepared("before", train=["a"], test=["d"])
    today = prepared("today", earlier=before, train=["a", "b"], test=["d", "e"])
    past = look_back(RunConfig(), today, fitted("second", today, start=fitted("first", before)))
    assert past.clean
    assert past.detail.endswith(f"; 3 held-out reviews that repeat texts or passages of {before.digest} were left out")


def test_a_test_review_that_the_start_weights_were_trained_on_is_named(today: Artifact) -> None:
    before = prepared("another salt", train=["a", "e"], test=["b", "d"])
    past = look_back(RunConfig(), today, fitted("second", today, start=fitted("first", before)))
    assert not past.clean
    assert "1 of today's test reviews (e) were training reviews" in past.detail
    assert before.digest in past.detail
    assert 'training.start = "fresh"' in past.detail


def test_it_is_found_two_warm_starts_back_and_inside_a_mixture(today: Artifact) -> None:
    oldest = prepared("another salt", train=["d"], test=["a"])
    network = fitted("lstm 1", oldest)
    mixture = fitted("mixture 1", oldest, holds=network, lstm=network)
    second = fitted("lstm 2", prepared("before", train=["a"], test=["d"]), start=mixture)
    third = fitted("lstm 3", today, start=second)
    past = look_back(RunConfig(), today, fitted("mixture 3", today, holds=third, lstm=third))
    assert not past.clean
    assert "(d)" in past.detail


def test_data_that_have_left_the_store_are_said_to_be_gone(today: Artifact) -> None:
    before = prepared("before", train=["a"], test=["d"])
    challenger = fitted("second", today, start=fitted("first", before))
    shutil.rmtree(before.folder)
    past = look_back(RunConfig(), today, challenger)
    assert not past.clean
    assert f"the prepared data '{before.digest}', which it has learnt from, are no longer in the store" in past.detail
    assert 'training.start = "fresh"' in past.detail


def test_a_fit_that_has_left_the_store_is_looked_up_among_the_registered_versions(
    today: Artifact, registered: list[Path | None], tmp_path: Path
) -> None:
    first = fitted("first", prepared("another salt", train=["d"]))
    challenger = fitted("second", today, start=first)
    registered += [None, first.rename(tmp_path / "registered")]
    shutil.rmtree(first.parent)
    assert "(d)" in look_back(RunConfig(), today, challenger).detail
    registered.pop()
    past = look_back(RunConfig(), today, challenger)
    assert not past.clean
    assert "how its start weights" in past.detail
    assert "is not known" in past.detail


def test_the_rule_fails_where_start_weights_know_test_reviews(today: Artifact) -> None:
    challenger = fitted("second", today, start=fitted("first", prepared("salt", train=["e"])))
    leaks = with_past(Leaks(True, "no text stands in two splits", "t"), look_back(RunConfig(), today, challenger))
    evidence = Evidence(ModelEvidence("new", test="t"), leaks=leaks)
    outcome = leak_certificate(LanguageCase(PromotionConfig(), evidence))
    assert outcome.passed is False
    assert "(e)" in outcome.detail
