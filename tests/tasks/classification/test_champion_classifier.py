"""A champion among classifiers as the gate finds it: whole, damaged, exchanged, of other labels, of other reviews."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.errors import Damaged
from reviewlm.core.store import Artifact
from reviewlm.models.classification.bundle import load_classifier, save_classifier
from reviewlm.models.classification.spec import CLASSIFIERS
from reviewlm.models.neural.labelling.rows import Sequences
from reviewlm.models.specs import VocabularySpec
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.tasks.classification.family import Classifiers
from reviewlm.tasks.classification.predict import PREDICTIONS_FILE, predict_bundle
from reviewlm.tasks.execution.stage import run_stage
from reviewlm.tasks.fitting.fit import bundle_digest
from reviewlm.tasks.fitting.job import MeasuredModel
from reviewlm.tasks.promotion.champion import (
    score_challenger,
    score_champion,
    score_champion_reviews,
)
from reviewlm.tasks.promotion.promote import register
from reviewlm.tracking.tags import BUNDLE_TAG, DATA_TAG
from reviewlm.training.context import FitContext
from reviewlm.training.labelling.examples import LabelledSequences
from reviewlm.training.labelling.fitting import fit_classifier
from reviewlm.training.vocabularies.learn import learn_vocabulary

WORDS = ("awful", "bad", "plain", "good", "great")
LABELS = {"stars": ("1", "2", "3", "4", "5"), "polarity": ("negative", "positive")}


def table(turned: bool = False, **splits: range) -> pl.DataFrame:
    """Reviews with one word that tells the stars; *turned*: praise and blame exchanged."""
    rows = [
        (
            f"r{number:03d}",
            f"{WORDS[number % 5]} tea {number}",
            5 - number % 5 if turned else 1 + number % 5,
            split,
        )
        for split, numbers in splits.items()
        for number in numbers
    ]
    frame = pl.DataFrame(rows, ["review_id", "text", "stars", "split"], orient="row").sort(
        "split", maintain_order=True
    )
    others = {name: pl.lit("") for name in ("user_id", "business_id", "categories")}
    return frame.with_columns(
        pl.col("stars").cast(pl.Int8),
        bytes=pl.col("text").str.len_bytes().cast(pl.Int32) + 1,
        **others,
        date=pl.lit(None, pl.Datetime("us")),
    )


def bundle_in(
    folder: Path,
    frame: pl.DataFrame,
    labels: str = "stars",
    **facts: Any,
) -> Path:
    """The bundle of a naive Bayes classifier of a table's training reviews."""
    rows = frame.filter(split="train")
    targets = rows["stars"].to_numpy().astype(np.int64) - 1
    if labels == "polarity":
        targets = (targets > 2).astype(np.int64)
    words = learn_vocabulary(rows["text"].to_list(), VocabularySpec(min_count=1), NormalForm())
    encoded = words.encode_documents(rows["text"].to_list(), rows["stars"].to_list(), whole=False)
    examples = LabelledSequences(Sequences(encoded.ids, encoded.offsets), targets)
    spec = CLASSIFIERS["bayes"][0](
        kind="bayes",
        name="bayes",
        labels=LABELS[labels],
    )
    model = fit_classifier(
        spec,
        words,
        examples,
        examples,
        FitContext(folder / "work"),
    ).model
    save_classifier(
        folder / "bundle",
        spec,
        words,
        model,
        ["great tea"],
        facts,
    )
    return folder / "bundle"


@dataclass
class Gate:
    """A challenger of today's reviews, and a champion of earlier ones that is registered as version 4."""

    folder: Path
    now: pl.DataFrame
    earlier: pl.DataFrame
    config: Any = field(default_factory=lambda: load_config("classify", ["execution.device=cpu"]))

    def prepared(self, name: str, frame: pl.DataFrame) -> Artifact:
        def make(work: Path) -> dict[str, Any]:
            frame.write_parquet(work / "clean.parquet")
            return {
                "splits": {
                    split: {"reviews": count}
                    for split, count in frame["split"].value_counts().rows()
                }
            }

        return run_stage(
            self.config.workspace,
            "prepare",
            {"name": name},
            {},
            make,
        ).artifact

    def measured(self, clean: Artifact) -> MeasuredModel:
        bundle = bundle_in(self.folder / "challenger", self.now, learnt_from=[clean.digest])
        fitted: Any = SimpleNamespace(bundle=bundle, spec=load_classifier(bundle).spec)
        test, validation = (
            predict_bundle(
                self.config.workspace,
                self.config.classification,
                bundle,
                clean,
                split,
                "bayes",
                None,
            ).artifact
            for split in ("test", "validation")
        )
        return MeasuredModel(fitted, test, validation)

    @property
    def registered(self) -> Path:
        return self.folder / "champion" / "bundle"

    def ask(
        self,
        monkeypatch: pytest.MonkeyPatch,
        label: str = "stars",
        damage: str = "",
        data: str = "",
        predicts: str = "",
    ) -> Any:
        """Return today's data, the challenger, the champion, and both on the champion's own reviews."""
        today, then = self.prepared("now", self.now), self.prepared("then", self.earlier)
        bundle_in(
            self.folder / "champion",
            self.earlier,
            label,
            **({"label": predicts} if predicts else {}),
        )
        tags = {BUNDLE_TAG: bundle_digest(self.registered), DATA_TAG: data or then.digest}
        if damage:
            (self.registered / damage).write_bytes(b"changed")
        version = SimpleNamespace(version=4, tags=tags)
        shelf = SimpleNamespace(
            alias=lambda name: version, bundle_folder=lambda version: self.registered
        )
        monkeypatch.setattr("reviewlm.tasks.promotion.champion.registry_of", lambda *asked: shelf)
        run: Any = SimpleNamespace(clean=today, labels=None)
        challenger = self.measured(today)
        family = Classifiers(self.config, run, None, challenger)
        champion = score_champion.fn(family)
        assert champion is not None
        kept = score_champion_reviews.fn(family, score_challenger.fn(family, None), champion, 5)
        return SimpleNamespace(
            run=run,
            family=family,
            challenger=challenger,
            champion=champion,
            kept=kept,
        )


@pytest.fixture
def gate(own_home: Path, tmp_path: Path) -> Gate:
    """Of the champion's forty test reviews, the challenger has learnt from three."""
    earlier = table(
        test=range(40),
        train=range(40, 100),
        validation=range(100, 110),
    )
    now = table(
        turned=True,
        test=range(200, 260),
        train=range(300, 400),
        validation=range(400, 410),
    )
    return Gate(
        tmp_path,
        pl.concat([now, table(train=range(3))]).sort("split", maintain_order=True),
        earlier,
    )


def test_both_answer_the_champions_reviews_that_the_challenger_has_not_learnt_from(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = gate.ask(monkeypatch)
    assert found.champion.scored.problem == ""
    assert found.champion.scored.digest == bundle_digest(gate.registered)
    assert found.champion.scored.rows.correct_N.mean() == 1 / 5, (
        "praise is blame today, but for three stars"
    )
    kept = found.kept
    assert (kept.reviews, kept.learnt_ids, kept.learnt_texts, kept.tried) == (40, 3, 0, 37)
    assert kept.challenger.review_ids.to_list() == [f"r{number:03d}" for number in range(3, 40)]
    assert kept.champion.correct_N.all()
    assert kept.challenger.correct_N.mean() < 0.3


def test_data_that_are_gone_are_a_finding_with_a_remedy(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = gate.ask(monkeypatch, data="gone").kept
    assert "version 4, cannot be measured on its own test reviews" in kept.problem
    assert "set promotion.max_champion_loss=none" in kept.problem


def test_reviews_that_the_challenger_has_learnt_from_altogether_leave_none(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.now = pl.concat([gate.now, table(train=range(3, 40))]).sort("split", maintain_order=True)
    kept = gate.ask(monkeypatch).kept
    assert (kept.left, kept.tried, kept.problem) == (0, 0, "")


@pytest.mark.parametrize("file", ["spec.json", "vocabulary.json"])
def test_a_damaged_champion_is_a_finding(
    gate: Gate,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
) -> None:
    found = gate.ask(monkeypatch, damage=file)
    assert found.champion.scored.problem.startswith("the champion, version 4, cannot be measured: ")
    assert found.champion.scored.rows is None
    assert found.kept is None


@pytest.mark.parametrize("file", ["spec.json", "vocabulary.json"])
def test_beside_a_damaged_champion_the_challenger_is_registered(
    gate: Gate,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
) -> None:
    found = gate.ask(monkeypatch, damage=file)
    monkeypatch.setattr("reviewlm.tasks.promotion.promote.register_fit", lambda *given: 5)
    same = SimpleNamespace(fitted=SimpleNamespace(bundle=gate.registered), measurements=())
    for challenger in (found.challenger, same):
        family = Classifiers(gate.config, found.run, None, challenger)  # type: ignore[arg-type]
        assert register.fn(family, found.champion) == 5


def test_a_champion_of_another_field_with_the_same_labels_is_not_compared(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would lose on a question that it was never asked, and be replaced."""
    scored = gate.ask(monkeypatch, predicts="service").champion.scored
    assert scored.problem.startswith(
        "the champion predicts 'service', and the challenger 'stars'; register it under"
    )
    assert (scored.labels, scored.rows) == ((), None)


def test_stored_answers_that_were_changed_are_no_evidence(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = gate.ask(monkeypatch)
    assert len(found.family.load_stored(found.challenger).rows) == 60
    file = found.challenger.test.folder / PREDICTIONS_FILE
    pl.read_parquet(file).with_columns(answer=pl.lit(0)).write_parquet(file)
    with pytest.raises(Damaged):
        found.family.load_stored(found.challenger)
