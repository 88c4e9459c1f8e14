"""The champion's own test reviews as the gate finds them: equal, within the challenger's, gone, damaged, not wanted."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.evaluation import GatePolicy
from reviewlm.core.store import Artifact
from reviewlm.corpus.splitting.certificate import reviews_digest
from reviewlm.evaluation.gate.evidence import ChampionReviews, ModelEvidence
from reviewlm.tasks.execution.stage import run_stage
from reviewlm.tasks.family import Champion
from reviewlm.tasks.promotion.champion import score_champion_reviews
from reviewlm.tasks.promotion.language import LanguageModels

CONFIG = ["execution.device=cpu"]


def table(**splits: range) -> pl.DataFrame:
    """Reviews of which number and text belong together, by split."""
    rows = [
        (f"r{number:03d}", f"text {number}", split)
        for split, numbers in splits.items()
        for number in numbers
    ]
    frame = pl.DataFrame(rows, ["review_id", "text", "split"], orient="row")
    columns = {
        "stars": pl.lit(3, pl.Int8),
        "bytes": pl.col("text").str.len_bytes().cast(pl.Int32) + 1,
    }
    others = {name: pl.lit("") for name in ("user_id", "business_id", "categories")}
    return frame.with_columns(
        **columns,
        **others,
        date=pl.lit(None, pl.Datetime("us")),
    )


def prepared(
    config: RunConfig,
    name: str,
    frame: pl.DataFrame,
) -> Artifact:
    def make(work: Path) -> dict[str, Any]:
        frame.write_parquet(work / "clean.parquet")
        return {}

    return run_stage(
        config.workspace,
        "prepare",
        {"name": name},
        {},
        make,
    ).artifact


def scores(frame: pl.DataFrame, nats: float) -> ModelEvidence[pl.DataFrame]:
    tests = frame.filter(split="test").with_columns(nats=pl.lit(nats), spelling_nats=pl.lit(0.0))
    tests = tests.with_columns(pl.col("bytes").cast(pl.Int64))
    return ModelEvidence(rows=tests, departure=0.0)


@dataclass
class Gate:
    """A challenger of today's data, and a champion of earlier ones."""

    folder: Path
    now: pl.DataFrame
    earlier: pl.DataFrame

    def asked(
        self, *overrides: str, data: str = "", digest: str = "old", **told: list[str]
    ) -> ChampionReviews | None:
        config = load_config("small", [*CONFIG, *overrides])
        today, then = prepared(config, "now", self.now), prepared(config, "then", self.earlier)
        bundle = self.folder / "challenger"
        bundle.mkdir(exist_ok=True)
        (bundle / "spec.json").write_text(json.dumps({"learnt_from": [today.digest], **told}))
        test = Artifact(
            "score",
            "s",
            "",
            {"facts": {"reviews_digest": reviews_digest(self.now.filter(split="test"))}},
        )
        challenger = SimpleNamespace(fitted=SimpleNamespace(bundle=bundle), test=test)
        champion = Champion(
            4, replace(scores(self.now, 2.0), digest=digest), bundle, data=data or then.digest
        )
        family = LanguageModels(config, SimpleNamespace(clean=today), None, challenger)  # type: ignore[arg-type]
        found: ChampionReviews | None = score_champion_reviews.fn(
            family, scores(self.now, 3.0), champion, 5
        )
        return found


@pytest.fixture
def gate(
    own_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Gate:
    """Data that have grown: all test reviews of before are test reviews still, but for three that moved."""
    monkeypatch.setattr(
        "reviewlm.tasks.promotion.ancestry.registry_of",
        lambda *asked: SimpleNamespace(versions=list),
    )
    earlier = table(test=range(40), train=range(40, 100))
    now = table(test=range(3, 60), validation=range(1, 3), train=[0, *range(60, 200)])  # type: ignore[arg-type]
    return Gate(tmp_path, now, earlier)


def test_what_is_left_is_taken_from_the_scores_that_are_there(gate: Gate) -> None:
    found = gate.asked()
    assert found is not None
    assert found.challenger is not None
    assert found.champion is not None
    assert (found.reviews, found.learnt_ids, found.learnt_texts, found.left) == (40, 3, 0, 37)
    wanted = [f"r{number:03d}" for number in range(3, 40)]
    assert (
        found.challenger["review_id"].to_list() == found.champion["review_id"].to_list() == wanted
    )
    assert set(found.challenger["nats"]) == {3.0}
    assert set(found.champion["nats"]) == {2.0}


def test_of_many_so_many_are_drawn(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GatePolicy, "champion_reviews", 100)
    gate.earlier, gate.now = table(test=range(300)), table(test=range(300), train=range(400, 500))
    gate.earlier = gate.earlier.with_columns(
        stars=pl.when(review_id="r000").then(1).otherwise(3).cast(pl.Int8)
    )
    gate.now = gate.now.with_columns(
        stars=pl.when(review_id="r000").then(1).otherwise(3).cast(pl.Int8)
    )
    gate.now = pl.concat([gate.now, table(test=range(900, 901)).select(gate.now.columns)])
    found = gate.asked()
    assert found is not None
    assert found.champion is not None
    assert (found.left, len(found.champion)) == (300, 100)


def test_other_data_with_the_same_reviews_need_no_second_look(gate: Gate) -> None:
    gate.earlier = gate.now.with_columns(pl.col("split").replace({"validation": "train"}))

    assert gate.asked() == ChampionReviews(57, same=True)


def test_the_same_data_need_no_second_look(gate: Gate) -> None:
    today = prepared(load_config("small", CONFIG), "now", gate.now)

    assert gate.asked(data=today.digest) == ChampionReviews(same=True)


@pytest.mark.parametrize("data", ["gone", "damaged"])
def test_data_that_are_gone_or_damaged_are_a_finding_that_says_what_to_do(
    gate: Gate, data: str
) -> None:
    digest = data
    if data == "damaged":
        broken = prepared(load_config("small", CONFIG), "broken", gate.earlier)
        (broken.folder / "clean.parquet").write_bytes(b"short")
        digest = broken.digest
    found = gate.asked(data=digest)
    assert found is not None
    assert "version 4, cannot be measured on its own test reviews" in found.problem
    assert "`reviewlm version lineage reviewlm/4`" in found.problem
    assert "promotion.max_champion_loss=none" in found.problem


@pytest.mark.parametrize("past", ["gone", "damaged", "unknown"])
def test_start_weights_of_which_the_data_are_not_known_are_a_finding(gate: Gate, past: str) -> None:
    """Which of the champion's test reviews the challenger has learnt from cannot be told then."""
    digest = past
    if past == "damaged":
        broken = prepared(load_config("small", CONFIG), "broken", gate.earlier)
        (broken.folder / "clean.parquet").write_bytes(b"short")
        digest = broken.digest
    found = gate.asked(learnt_from=[] if past == "unknown" else [digest])
    assert found is not None
    assert found.challenger is None
    assert f"the prepared data '{digest}'" in found.problem
    assert 'training.start = "fresh", or set promotion.max_champion_loss=none' in found.problem
