"""The data behind start weights: a test review of today that they were trained on is found, however far back it is."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.evaluation import PromotionConfig
from reviewlm.core.store import Artifact
from reviewlm.evaluation.gate.evidence import Evidence, Leaks, ModelEvidence
from reviewlm.evaluation.gate.language import LanguageCase
from reviewlm.evaluation.gate.rules import leak_certificate
from reviewlm.tasks.data.prepare import EARLIER
from reviewlm.tasks.execution.stage import run_stage
from reviewlm.tasks.fitting.warm_start import LEARNT, VECTORS, past_of
from reviewlm.tasks.promotion.ancestry import learnt_by, look_back
from reviewlm.tasks.promotion.evidence import with_past


def prepared(salt: str, earlier: Artifact | None = None, **splits: list[str]) -> Artifact:
    """Prepared data: ids of the reviews of each split; of those compared with *earlier* data three were left out."""

    def make(work: Path) -> dict[str, Any]:
        rows = [(one, split, f"text of {one[:1]}") for split, ids in splits.items() for one in ids]
        pl.DataFrame(rows, schema=["review_id", "split", "text"], orient="row").write_parquet(
            work / "clean.parquet"
        )
        learnt = {"test": {"exact": 1, "covered": 1}, "validation": {"exact": 0, "covered": 1}}
        return {"learnt": learnt} if earlier else {}

    inputs = {f"{EARLIER}{earlier.digest}": earlier.digest} if earlier else {}
    return run_stage(
        RunConfig().workspace,
        "prepare",
        {"salt": salt},
        inputs,
        make,
    ).artifact


def fitted(clean: Artifact, *before: Path, vectors: str = "") -> Path:
    """The bundle of a network on prepared data; *before* are its parts and the bundle that it started from."""
    folder = Path(tempfile.mkdtemp())
    own = {LEARNT: [clean.digest], VECTORS: [vectors] if vectors else []}
    past = past_of(own, *(json.loads((bundle / "spec.json").read_text()) for bundle in before))
    (folder / "spec.json").write_text(json.dumps(past))
    return folder


@pytest.fixture
def today(own_home: Path) -> Artifact:
    return prepared(
        "today",
        train=["a", "b"],
        validation=["c"],
        test=["d", "e"],
    )


@pytest.mark.parametrize(
    "warm", [False, True], ids=["a fresh model", "start weights of the very same data"]
)
def test_what_the_certificate_speaks_for_has_no_past(today: Artifact, warm: bool) -> None:
    past = look_back(RunConfig().home, today, fitted(today, *[fitted(today)] * warm))
    assert (past.free, past.detail) == (True, "")


def test_test_reviews_that_a_model_has_learnt_are_known(today: Artifact) -> None:
    """Of today's test reviews d and e: it trained on d itself, and chose by a copy of e."""
    before = prepared(
        "before",
        train=["d"],
        validation=["e copied"],
        test=["a"],
    )
    assert learnt_by(RunConfig().home, today, fitted(before), ["train"]) == (["d"], [])
    assert learnt_by(RunConfig().home, today, fitted(before)) == (["d", "e"], [])
    assert learnt_by(RunConfig().home, today, fitted(today)) == ([], [])


def test_start_weights_of_data_with_the_same_frozen_split_are_clean(today: Artifact) -> None:
    before = prepared("before", train=["a"], test=["d"])
    past = look_back(RunConfig().home, today, fitted(today, fitted(before)))
    assert past.free
    assert before.digest in past.detail


def test_reviews_that_were_left_out_because_the_start_weights_know_their_text_are_counted() -> None:
    before = prepared("before", train=["a"], test=["d"])
    today = prepared(
        "today",
        earlier=before,
        train=["a", "b"],
        test=["d", "e"],
    )
    past = look_back(RunConfig().home, today, fitted(today, fitted(before)))
    assert past.free
    assert past.detail.endswith(
        f"; 3 held-out reviews that repeat texts or passages of {before.digest} were left out"
    )


def test_a_test_review_that_the_start_weights_were_trained_on_is_named(today: Artifact) -> None:
    before = prepared("another salt", train=["a", "e"], test=["b", "d"])
    past = look_back(RunConfig().home, today, fitted(today, fitted(before)))
    assert not past.free
    assert "1 of today's test reviews (e) were training reviews" in past.detail
    assert before.digest in past.detail
    assert 'training.start = "fresh"' in past.detail


def test_it_is_found_inside_a_mixture_of_two_warm_starts_before(today: Artifact) -> None:
    oldest = prepared("another salt", train=["d"], test=["a"])
    mixture = fitted(oldest, fitted(oldest))
    second = fitted(prepared("before", train=["a"], test=["d"]), mixture)
    past = look_back(RunConfig().home, today, fitted(today, fitted(today, second)))
    assert not past.free
    assert "(d)" in past.detail


def test_data_that_have_left_the_store_are_said_to_be_gone(today: Artifact) -> None:
    before = prepared("before", train=["a"], test=["d"])
    challenger = fitted(today, fitted(before))
    shutil.rmtree(before.folder)
    past = look_back(RunConfig().home, today, challenger)
    assert not past.free
    assert (
        f"the prepared data '{before.digest}', which it has learnt from, are no longer in the store"
        in past.detail
    )
    assert 'training.start = "fresh"' in past.detail


def test_a_model_that_begins_with_one_of_unknown_data_is_refused(
    today: Artifact, tmp_path: Path
) -> None:
    (tmp_path / "spec.json").write_text("{}")
    assert not look_back(RunConfig().home, today, fitted(today, tmp_path)).free


def test_word_vectors_of_unknown_texts_are_named_however_far_back(today: Artifact) -> None:
    past = look_back(RunConfig().home, today, fitted(today, fitted(today, vectors="glove")))
    assert past.free
    assert past.detail == "it is not known on which texts the word vectors 'glove' were trained"


def test_the_rule_fails_where_start_weights_know_test_reviews(today: Artifact) -> None:
    challenger = fitted(today, fitted(prepared("salt", train=["e"])))
    leaks = with_past(
        Leaks(True, "no text stands in two splits", "t"),
        look_back(RunConfig().home, today, challenger),
    )
    evidence = Evidence(ModelEvidence("new", test="t"), leaks=leaks)
    outcome = leak_certificate(LanguageCase(PromotionConfig(), evidence))
    assert outcome.passed is False
    assert "(e)" in outcome.detail
