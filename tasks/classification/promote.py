"""Register the best classifier on validation, gather the evidence about it, and let the gate decide."""

from __future__ import annotations

import logging
from dataclasses import replace

import polars as pl

from core.config.run_config import RunConfig
from core.errors import BundleError, Damaged
from core.model_errors import converted_errors
from core.processes.interrupts import during
from core.store import Artifact
from corpus.splitting.certificate import reviews_digest
from corpus.splitting.split import scan_split
from evaluation.classification.predicted import Predicted
from evaluation.gate.classification import ClassifierCase
from evaluation.gate.decision import Decision
from evaluation.gate.evidence import DataEvidence, Evidence, ModelEvidence
from models.classification.bundle import load_classifier
from tasks.classification.champion import ChampionClassifier, answer_champion_reviews, checked_answers
from tasks.classification.compare import Compared, MeasuredClassifier
from tasks.data.documents import documents_of, grouped_by
from tasks.data.family import family_of_run
from tasks.data.prepare import Prepared
from tasks.fitting.fit import bundle_digest
from tasks.promotion.ancestry import look_back
from tasks.promotion.champion_reviews import tests_of
from tasks.promotion.evidence import checked, look_for_leaks, rolled_back, served, with_past
from tasks.promotion.promote import Promotion, carry_out, register_fit
from tasks.promotion.score_now import in_short, require_registered
from tasks.stage import stage
from tasks.track import registry_of, tracking_was_away
from tracking.logged_models.forms import CLASSIFIER

log = logging.getLogger(__name__)


def choose(compared: Compared) -> MeasuredClassifier:
    """Return the classifier with the best macro-F1 on the validation reviews; the test reviews have no say."""
    challenger = max(compared.models, key=lambda model: compared.validation[model.name]["macro_f1"] or 0.0)
    log.info("challenger is '%s', the classifier with the best macro-F1 on validation", challenger.name)
    return challenger


@stage("register classifier", retry_if=tracking_was_away)
@during("register")
def register_classifier(
    config: RunConfig, prepared: Prepared, challenger: MeasuredClassifier, champion: ChampionClassifier | None
) -> int | None:
    """Register the challenger as a new version; return None if it equals the champion and that can answer."""
    standing = champion.answered if champion else None
    if standing is not None and standing.digest == bundle_digest(challenger.fitted.bundle) and not standing.problem:
        return None
    return register_fit(config, prepared.clean, challenger.fitted, (challenger.test, challenger.validation), {})


@stage("judge classifier", retry_if=tracking_was_away)
@during("gate")
def judge_classifier(
    config: RunConfig, prepared: Prepared, compared: Compared, challenger: MeasuredClassifier,
    champion: ChampionClassifier | None, version: int | None,
) -> Decision:  # fmt: skip
    """Gather the evidence about challenger and champion, and return the gate's decision; the registry is unchanged."""
    passed, detail = checked(prepared.checks)
    documents = documents_with_words(prepared.clean)
    past = look_back(config, prepared.clean, challenger.fitted.bundle)  # of the language model that it started from
    evidence = Evidence(
        _challenger(config, prepared, challenger, version),
        champion.answered if champion else None,
        _answered(config, prepared, compared.named(config.classification.baseline)),
        data=DataEvidence(
            documents, grouped_by(prepared.clean, documents), passed, detail,
            with_past(look_for_leaks(prepared.clean, None), past),
        ),
        serving=served(config, challenger.fitted, version, CLASSIFIER),
        champion_reviews=answer_champion_reviews(config, prepared, challenger, champion, version),
        rolled_back=rolled_back(config, challenger.fitted),
        resamples=config.evaluation.resamples, seed=config.evaluation.seed,
    )  # fmt: skip
    return ClassifierCase.judge(config.classification.promotion, evidence)


@stage("gate for classifiers", retry_if=tracking_was_away)
@during("gate")
def settle_classifier(
    config: RunConfig, prepared: Prepared, challenger: MeasuredClassifier, champion: ChampionClassifier | None,
    version: int | None, decision: Decision, parent_run_id: str,
) -> Promotion:  # fmt: skip
    """Carry out a decision: write it to the version and the flow's run, and move the alias if it says so.

    The decision is made before, so a retry carries out the same one.
    """
    expected = champion.version if champion else None
    return carry_out(config, prepared.clean, decision, challenger.fitted, version, expected, parent_run_id)


def _challenger(
    config: RunConfig, prepared: Prepared, challenger: MeasuredClassifier, version: int | None
) -> ModelEvidence[Predicted]:
    """Return the challenger's answers, or why the registered bundle, which is the one that is served, does not open."""
    found = _answered(config, prepared, challenger)
    if version is None:
        return found
    try:
        folder = registry_of(config).bundle_folder(version)
        require_registered(folder, found.digest)
        with converted_errors(folder):
            load_classifier(folder)
    except (BundleError, Damaged) as error:
        problem = f"the registered challenger, version {version}, cannot answer: {in_short(error)}"
        log.warning(problem)
        return replace(found, problem=problem)
    return found


def _answered(config: RunConfig, prepared: Prepared, model: MeasuredClassifier) -> ModelEvidence[Predicted]:
    answers = checked_answers(config, model.fitted.spec.labels, model.test, prepared.clean)
    family = family_of_run(config, prepared.clean)
    digest, test = bundle_digest(model.fitted.bundle), reviews_digest(tests_of(prepared.clean))
    return ModelEvidence(digest, answers, test, name=model.name, family=family, labels=model.fitted.spec.labels)


def documents_with_words(clean: Artifact) -> pl.DataFrame:
    """Return the facts about the test reviews (`documents_of`), and their number of words."""
    rows = scan_split(clean.folder, "test")
    return documents_of(clean).join(rows.select("review_id", "words").collect(), on="review_id", how="left")
