"""Run the stages of the pipeline one after the other in this process, without Prefect's server and without MLflow.

A server costs more time than all stages on 200 reviews. So the functions of the stages are called directly, and fits do
not get processes of their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from prefect import State

from core.config.run_config import RunConfig
from core.errors import FitError
from core.model_errors import converted_errors
from core.store import Artifact
from models.specs import NPLMSpec, RecurrentSpec
from models.streams import TokenStream
from tasks.data.canaries import choose
from tasks.data.card import describe_data
from tasks.data.ingest import ingest_files
from tasks.data.prepare import (
    TRAIN_FIRST,
    VOCABULARY_FILE,
    Prepared,
    check_table,
    clean_and_split,
    tokenize,
    train_vocabulary,
    vocabularies_in_use,
)
from tasks.evaluation.audit import audit_bundle
from tasks.evaluation.evaluate import Measured, draw_samples, score_bundle
from tasks.evaluation.intervals import compare
from tasks.evaluation.observe import observe_bundle
from tasks.fitting.fit import build_fit, fitted_parts, plan_fit
from tasks.fitting.fit_worker import run as fit_here
from tasks.fitting.fitted import Fitted
from tasks.fitting.job import LanguageModelJob
from tasks.quick_check.sample import write_sample
from tasks.quick_check.tiny_models import tiny
from tasks.stage import Stage
from training.neural.overfit import GOAL, overfit_one_batch

REVIEWS = 200
SAMPLE = "sample.jsonl"
R = TypeVar("R")


@dataclass
class CheckedStage:
    """A stage that was tried, its seconds, and "ok" or "failed"."""

    stage: str
    seconds: float
    result: str = "ok"
    note: str = ""


@dataclass
class StageLog:
    """The stages that were tried so far, in order.

    Args:
        tell: Called with each stage when it ends.
    """

    tell: Callable[[CheckedStage], object] = lambda stage: None
    stages: list[CheckedStage] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[CheckedStage]:
        """Time the block as a stage; an error in it is recorded and passes on."""
        tried, began = CheckedStage(name, 0.0, "failed"), time.monotonic()
        self.stages.append(tried)
        try:
            yield tried
            tried.result = "ok"
        finally:
            tried.seconds = round(time.monotonic() - began, 2)
            self.tell(tried)


def try_stages(config: RunConfig, record: StageLog) -> None:
    """Run every stage up to the comparison of the models on the first reviews of the input, in the current home.

    Raises:
        ReviewLMError: The first error of a stage; `record.stages` ends with this stage.
    """
    file = config.home / SAMPLE
    with record.stage("read the input") as tried:
        tried.note = f"{write_sample(config, file, REVIEWS)} reviews"
    small = tiny(config, file)
    prepared = _prepare(small, record)
    fitted: dict[str, Fitted] = {}
    for spec in small.models:
        with record.stage(f"fit {spec.name}"):
            parts = fitted_parts(spec, fitted) or {}
            built = build_fit(small, plan_fit(small, spec, prepared, parts), prepared, _ignore, parts, _run_here)
            fitted[spec.name] = Fitted(spec, built.artifact, "", built.reused)
    measured = [_measure(small, model, prepared, record) for model in fitted.values()]
    with record.stage("compare the models"):
        compare(small, prepared, measured)
    _overfit(small, prepared, record)


def _prepare(config: RunConfig, record: StageLog) -> Prepared:
    with record.stage("ingest"):
        dataset = _result(ingest_files, config)
    with record.stage("check raw"):
        checks = [_result(check_table, config, "raw", dataset)]
    with record.stage("prepare"):
        clean = _result(clean_and_split, config, dataset)
    with record.stage("check clean"):
        checks.append(_result(check_table, config, "clean", clean))
    with record.stage("card"):
        card = _result(describe_data, config, dataset, clean)
    canaries = None
    if config.audit.canaries:
        with record.stage("canaries"):
            canaries = _result(choose, config, clean)
    vocabularies, tokens = dict[str, Artifact](), dict[str, dict[str, Artifact]]()
    for name in vocabularies_in_use(config):
        with record.stage(f"vocabulary {name}"):
            vocabularies[name] = _result(train_vocabulary, config, name, clean)
        with record.stage(f"tokens {name}"):
            file = str(vocabularies[name].folder / VOCABULARY_FILE)
            planted = {"train": canaries}
            tokens[name] = {
                split: _result(tokenize, config, file, split, clean, name, planted.get(split)) for split in TRAIN_FIRST
            }
        with record.stage(f"check tokens {name}"):
            checks.append(_result(check_table, config, "tokens", tokens[name]["train"], f"tokens {name} train"))
    return Prepared(clean, card, vocabularies, tokens, tuple(checks), canaries)


def _measure(config: RunConfig, fitted: Fitted, prepared: Prepared, record: StageLog) -> Measured:
    """Score a model on both held-out splits, draw samples, observe its tokens, and run the audit."""
    name, tokens = fitted.spec.name, prepared.tokens[fitted.spec.vocabulary]
    with record.stage(f"evaluate {name}"), converted_errors(name):
        test = score_bundle(config, fitted.bundle, tokens["test"], f"{name} test").artifact
        validation = score_bundle(config, fitted.bundle, tokens["validation"], f"{name} validation").artifact
        samples = draw_samples(config, fitted.bundle, name).artifact
        observed = observe_bundle(config, fitted.bundle, tokens, test, name).artifact
        audit = audit_bundle(config, fitted.bundle, prepared, tokens["train"], name).artifact
        check = _result(check_table, config, "predictions", test, f"predictions {name}")
    return Measured(fitted, test, validation, samples, observed, audit, (check,))


def _overfit(config: RunConfig, prepared: Prepared, record: StageLog) -> None:
    """Learn one batch by heart with a network of each neural kind.

    Raises:
        FitError: The loss stays too high.
    """
    neural = {spec.kind: spec for spec in reversed(config.models) if isinstance(spec, RecurrentSpec | NPLMSpec)}
    for kind, spec in reversed(neural.items()):
        with record.stage(f"learn one batch, {kind}") as tried, converted_errors(spec.name):
            stream = TokenStream.open(prepared.tokens[spec.vocabulary]["train"].folder)
            size = int(prepared.vocabularies[spec.vocabulary].facts["size"])
            loss, updates = overfit_one_batch(spec, size, stream)
            tried.note = f"{loss:.4f} nats per token after {updates} updates"
            if not loss < GOAL:
                raise FitError(
                    f"A network of kind '{kind}' cannot overfit one batch", where=f"models.{spec.name}",
                    value=tried.note,
                    cause=f"at most {GOAL} was expected; an option of the model keeps it from learning",
                    remedy="try the options one by one, with `reviewlm check --set`",
                )


def _run_here(job: LanguageModelJob, report: Callable[[dict[str, Any]], None]) -> Mapping[str, float]:
    with converted_errors(job.spec.name):
        return fit_here(job, lambda news: None)


def _ignore(journal: Path) -> None:
    """Forward no journal: there is no MLflow run."""


def _result(stage: Stage[..., R], *arguments: Any) -> R:
    """Return the result of a stage's function, called without Prefect."""
    found: Any = stage.fn(*arguments)
    return found.result() if isinstance(found, State) else found  # type: ignore[no-any-return]
