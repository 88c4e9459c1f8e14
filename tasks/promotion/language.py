"""Measure language models for the gate, and gather what only their gate asks for."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl

from reviewlm.core.config.sections.data import SplitConfig
from reviewlm.core.config.sections.evaluation import EvaluationConfig, PromotionConfig
from reviewlm.core.config.sections.execution import ExecutionConfig
from reviewlm.core.errors import converted_errors
from reviewlm.core.store import Artifact, Store
from reviewlm.core.workspace import Workspace
from reviewlm.corpus.splitting.learnt import TEST
from reviewlm.corpus.splitting.split import TABLE, scan_split
from reviewlm.evaluation.gate.case import IDENTITY
from reviewlm.evaluation.gate.evidence import Evidence, ModelEvidence, departure
from reviewlm.evaluation.gate.language import LanguageCase
from reviewlm.evaluation.scoring.score import score_stream
from reviewlm.evaluation.statistics.comparison import baseline_of
from reviewlm.evaluation.statistics.groups import (
    groups_of,
    independent_reviews,
    least_sure_gain,
    reviews_for_gain,
)
from reviewlm.models.base import STATIC
from reviewlm.models.specs import ModelSpec, NGramSpec, parts_of
from reviewlm.models.streams import TokenStream
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.tasks.data.documents import documents_of, grouped_by
from reviewlm.tasks.data.prepare import VOCABULARY_FILE, Prepared, tokenize
from reviewlm.tasks.evaluation.evaluate import Measured, score_bundle, scores_of, tokens_for
from reviewlm.tasks.evaluation.intervals import JUDGED_FILE, Evaluated, baselines_of, estimate_floor
from reviewlm.tasks.evaluation.model_work import ModelWork, only_opened
from reviewlm.tasks.evaluation.processes import with_model
from reviewlm.tasks.execution.devices import OpenBundle
from reviewlm.tasks.execution.progress import progress
from reviewlm.tasks.family import Champion, ModelFamily, Scored
from reviewlm.tasks.fitting.fit import bundle_digest
from reviewlm.tasks.promotion.choose import passed_over, reasons_to_refuse, unfair_because
from reviewlm.tracking.logged_models.export import LANGUAGE_MODEL

log = logging.getLogger(__name__)
NOTEWORTHY = 0.02
"""Least provable gain that is worth a line: many a better model gains less over the n-gram baseline."""

WORTH_PROVING = 0.01
"""Gain for which a larger test split is proposed."""
MOST_OF_TEST = 0.4
"""Largest share of the reviews that is proposed for it."""


class LanguageModels(ModelFamily):
    """Language models."""

    case = LanguageCase
    form = LANGUAGE_MODEL
    evaluated: Evaluated
    challenger: Measured

    @property
    def policy(self) -> PromotionConfig:
        """See `ModelFamily`."""
        return self.config.promotion

    def load_stored(self, model: Measured) -> Scored:
        """See `ModelFamily`."""
        if model.fresh:
            # Other fits may have taken hours since the scores were written.
            Store.of(self.config.home).verify(model.test)
        return stored_scores(model.test)

    def score_registered(
        self,
        folder: Path,
        label: str,
        stored: Scored,
    ) -> Scored:
        """Return scores of this run if the registered bundle opens, and score it anew if they are older; see `ModelFamily`."""
        challenger = self.challenger
        if challenger.fresh:
            with_model(
                self.config.execution, ModelWork(only_opened, challenger.name, folder, work=folder)
            )
            return replace(stored, departure=0.0)

        tokens = self.prepared.tokens[challenger.fitted.spec.vocabulary]["test"]
        return score_now(
            self.config.execution,
            folder,
            tokens,
            challenger.test,
            label,
        )

    def score_champion(self, folder: Path, label: str) -> Scored:
        """See `ModelFamily`."""
        workspace = self.config.workspace
        evaluation = self.config.evaluation
        tokens = tokens_for(workspace, folder, self.prepared)
        if bundle_digest(folder) == bundle_digest(self.bundle):  # no decision depends on its scores
            return stored_scores(
                score_bundle(
                    workspace,
                    evaluation,
                    folder,
                    tokens,
                    label,
                ).artifact
            )

        return score_bundle_now(
            workspace,
            evaluation,
            folder,
            tokens,
            label,
        )

    def score_champions_reviews(
        self,
        chosen: Artifact,
        earlier: Artifact,
        scored: tuple[Scored, Scored],
        folders: Mapping[str, Path],
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """See `ModelFamily`; if all of the reviews are test reviews of this run, their scores are there."""
        ours, theirs = (cast(pl.DataFrame, scores.rows) for scores in scored)
        types = {name: ours.schema[name] for name in IDENTITY}
        ids = pl.read_parquet(chosen.folder / TABLE, columns=list(IDENTITY)).cast(types)  # type: ignore[arg-type]
        ours = ours.join(ids, on=IDENTITY, how="semi")
        theirs = theirs.join(ids, on=IDENTITY, how="semi")
        if len(ours) == len(theirs) == len(ids):
            return ours, theirs

        def scored_by(who: str) -> pl.DataFrame:
            label = f"{who} on the champion's reviews"
            bundle = folders[who]
            workspace = self.config.workspace
            tokens = tokenize(
                workspace,
                str(bundle / VOCABULARY_FILE),
                TEST,
                chosen,
                label,
            )
            scores = score_bundle_now(
                workspace,
                self.config.evaluation,
                bundle,
                tokens,
                label,
            )
            return cast(pl.DataFrame, scores.rows)

        return scored_by("challenger"), scored_by("champion")

    def baseline_model(self) -> Measured:
        """See `ModelFamily`: for an adapting challenger an adapting baseline, if the run has one.

        Otherwise return the configured baseline, which an adapting model must beat at least.
        """
        name = baseline_of(
            baselines_of(self.config.baseline, self.evaluated.models), self.challenger.name
        )
        return self.evaluated.model_named(name or self.config.baseline)

    def baseline_scores(self, base: Measured) -> Scored:
        """See `ModelFamily`."""
        return stored_scores(base.test)

    def ruled_out(self, model: Measured) -> str:
        """See `ModelFamily`."""
        return reasons_to_refuse(
            self.config.promotion,
            self.config.home,
            self.prepared,
            model,
            None,
        )

    def complete_evidence(
        self, evidence: Evidence[pl.DataFrame], champion: Champion | None
    ) -> Evidence[pl.DataFrame]:
        """See `ModelFamily`."""
        challenger = self.challenger
        theirs = None
        if champion and champion.folder:
            theirs = Vocabulary.load(champion.folder / VOCABULARY_FILE).normal_form

        audit: dict[str, float] = {}
        for name, value in challenger.audit.facts.items():
            if isinstance(value, int | float):
                audit[name] = float(value)

        single = models_of_single_reviews(self.config.models, challenger.fitted.spec)
        better = passed_over(
            self.config.promotion,
            self.config.home,
            self.prepared,
            self.evaluated,
            challenger,
            theirs,
            self.refused,
        )
        floor = _floor(self.config.workspace, self.prepared)
        return replace(
            evidence,
            floor=floor,
            unfair_because=unfair_because(self.bundle, theirs),
            audit=audit,
            single_review_model=single[0] if single else "",
            passed_over=better,
        )


def stored_scores(artifact: Artifact, measured: float | None = None) -> Scored:
    """Return the scores of an artifact."""
    facts = artifact.facts
    return ModelEvidence(
        rows=scores_of(artifact),
        test=facts["reviews_digest"],
        departure=measured,
        adaptation=facts["adaptation"] or STATIC,
    )


def score_bundle_now(
    workspace: Workspace,
    evaluation: EvaluationConfig,
    folder: Path,
    tokens: Artifact,
    label: str,
) -> Scored:
    """Return a bundle's current scores; `score_now` gives them if the stored ones were reused."""
    built = score_bundle(
        workspace,
        evaluation,
        folder,
        tokens,
        label,
    )
    if built.reused:
        return score_now(
            workspace.execution,
            folder,
            tokens,
            built.artifact,
            label,
        )

    return stored_scores(built.artifact, 0.0)


def score_now(
    execution: ExecutionConfig,
    folder: Path,
    tokens: Artifact,
    stored: Artifact,
    label: str,
) -> Scored:
    """Score a bundle now; the new scores are compared with the stored ones and are not stored.

    Raises:
        BundleError: The bundle does not open, or its probe texts score differently from when it was saved.
    """
    with converted_errors(folder), OpenBundle(execution, folder) as opened:
        stream = TokenStream.open(tokens.folder)
        with progress(f"gate {label}", len(stream), "reviews") as report:
            rows = score_stream(opened(), stream, report=lambda done, total: report(done))
    return replace(stored_scores(stored, departure(rows, scores_of(stored))), rows=rows)


def models_of_single_reviews(models: Sequence[ModelSpec], spec: ModelSpec) -> list[str]:
    """Return the names of the n-gram models with n-grams of one review, among a model and its parts, at any depth."""
    if isinstance(spec, NGramSpec):
        if spec.order > 1 and spec.min_documents < 2:
            return [spec.name]
        return []
    spec_of = {model.name: model for model in models}
    return [
        name for part in parts_of(spec) for name in models_of_single_reviews(models, spec_of[part])
    ]


def _floor(workspace: Workspace, prepared: Prepared) -> pl.DataFrame | None:
    """Return the cost of the test reviews under the grammar; None if the grammar did not write them."""
    floor = estimate_floor(workspace, prepared).artifact
    if floor.facts.get("explained"):
        return pl.read_parquet(floor.folder / JUDGED_FILE)
    return None


def tell_provable_gain(
    promotion: PromotionConfig,
    split: SplitConfig,
    clean: Artifact,
) -> None:
    """Log the smallest gain that can be proved, if it is so large that a better model may be refused."""
    tests = scan_split(clean.folder, TEST).select("review_id").collect()
    documents = documents_of(clean)
    groups_D = groups_of(tests["review_id"], documents)
    if groups_D is None:
        counts_C = np.ones(len(tests), np.int64)
    else:
        counts_C = np.bincount(groups_D)

    by = ""
    if groups_D is not None:
        by = f" in {len(counts_C):,} groups ({grouped_by(clean, documents)})"

    there = f"there are {len(tests):,} test reviews{by}"
    if len(counts_C) < promotion.min_test_reviews:
        log.warning(
            "%s, and the gate promotes no model with fewer than %d: give more reviews, or a larger split.test",
            there,
            promotion.min_test_reviews,
        )
        return

    limit = min(promotion.min_relative_gain, promotion.min_gain_over_baseline)
    sure = (promotion.confidence, promotion.max_review_loss, limit)
    number = independent_reviews(counts_C)
    least = least_sure_gain(number, *sure)
    if least <= NOTEWORTHY:
        return

    goal = limit + WORTH_PROVING
    times = reviews_for_gain(goal, *sure) / number
    needs = ""
    if times > 1:
        share = math.ceil(100 * times * split.test) / 100
        remedy = f"{times:.0f} times as many reviews"
        if share <= MOST_OF_TEST:
            remedy = f"--set split.test={share:.2f}, from the first run on"
        needs = f"; {100 * goal:.1f} % needs {remedy}"

    log.info(
        "%s: a gain over baseline or champion below %.1f %% cannot be proved%s",
        there,
        100 * least,
        needs,
    )
