"""Try the stages on the first reviews of each input file with tiny models, in this process.

A Prefect server costs more time than all stages on 200 reviews. So the functions of the stages are called directly,
without MLflow, and fits do not get processes of their own.
"""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import orjson
import polars as pl
from prefect import State

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.data import SourceConfig, SplitConfig
from reviewlm.core.errors import EmptyInput, converted_errors
from reviewlm.core.store import Artifact
from reviewlm.corpus.ingestion.ingest import reading_options
from reviewlm.corpus.reading.readers import Progress, read
from reviewlm.corpus.reading.sources import source_names
from reviewlm.corpus.schema import COLUMNS, FIELDS, Block
from reviewlm.models.specs import (
    ModelSpec,
    NPLMSpec,
    RecurrentSpec,
    TrainingSpec,
    VocabularySpec,
    parts_of,
)
from reviewlm.tasks.data.card import describe_data
from reviewlm.tasks.data.ingest import ingest_files
from reviewlm.tasks.data.prepare import (
    TRAIN_FIRST,
    VOCABULARY_FILE,
    Prepared,
    check_table,
    choose,
    clean_and_split,
    tokenize,
    train_vocabulary,
    vocabularies_in_use,
)
from reviewlm.tasks.evaluation.evaluate import Measured, audit, observe, score, write_samples
from reviewlm.tasks.evaluation.intervals import compare
from reviewlm.tasks.execution.stage import Stage
from reviewlm.tasks.fitting.fit import FitSettings, fitted_parts, plan_fit
from reviewlm.tasks.fitting.fit_worker import run as fit_here
from reviewlm.tasks.fitting.job import FitJob, Fitted, LanguageModelJob, Report

REVIEWS = 200
SAMPLE = "sample.jsonl"

PLAIN = orjson.OPT_PASSTHROUGH_DATETIME
"""Dates are written by `str`, as in Yelp's files."""
MOST_BLOCKS = 8
MOST_FILES = 20
"""Files that are opened; more would only cost time."""

WIDTH = 16
BATCH = 8
WINDOW = 20
ENTRIES = 600
EVALUATION = {
    "resamples": 100,
    "observed_reviews": 4,
    "max_tokens": 12,
}
AUDIT = {
    "samples": 10,
    "max_words": 12,
    "candidates": 100,
    "copies": (1,),
}
EXECUTION = {
    "device": "cpu",
    "threads": 1,
    "ranks": 1,
    "rebuild": (),
    "tracking_uri": "",
}
OF_AMOUNTS = (
    "reviewlm.corpus.synthetic.canaries",
    "reviewlm.training.ngram.fitting",
    "reviewlm.training.ngram.smoothing",
    "reviewlm.training.vocabularies.learn",
)
"""Loggers of modules that warn of too little text or too small a vocabulary only: here the trial itself causes both."""
SHARES = 0.2
"""Share of the validation and of the test split, so that few reviews suffice for all splits."""


@dataclass
class CheckedStage:
    """A stage that was tried, its seconds, and "ok" or "failed"."""

    stage: str
    seconds: float
    result: str = "ok"


@dataclass
class StageLog:
    """The stages that were tried so far, in order."""

    stages: list[CheckedStage] = field(default_factory=list)

    def run(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return the result of a function, of a stage without Prefect; an error in it is recorded and passes on."""
        tried = CheckedStage(name, 0.0, "failed")
        began = time.monotonic()
        self.stages.append(tried)
        try:
            plain = function.fn if isinstance(function, Stage) else function
            result = plain(*arguments)
            tried.result = "ok"
            if isinstance(result, State):
                return result.result()
            return result
        finally:
            tried.seconds = round(time.monotonic() - began, 2)


def try_stages(config: RunConfig, log: StageLog) -> None:
    """Run every stage up to the comparison of the models on the first reviews of the input, in the current home.

    Raises:
        ReviewLMError: The first error of a stage; `log.stages` ends with this stage.
    """
    file = config.home / SAMPLE
    log.run(
        "read the input",
        write_sample,
        config.source,
        file,
        REVIEWS,
    )
    with without_warnings_of_amounts():
        _try_tiny_models(tiny(config, file), log)


@contextmanager
def without_warnings_of_amounts() -> Iterator[None]:
    """Hide warnings that hold of the trial's few reviews and tiny models, and not of the user's data."""
    loggers = [logging.getLogger(name) for name in OF_AMOUNTS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)

    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _try_tiny_models(config: RunConfig, log: StageLog) -> None:
    """Prepare the sample, fit the tiny models, measure and compare them."""
    workspace = config.workspace
    evaluation = config.evaluation
    settings = FitSettings.of(config)
    prepared = _prepare(config, log)
    fitted: dict[str, Fitted] = {}
    measured = []
    for spec in config.models:
        fitted[spec.name] = log.run(
            f"fit {spec.name}",
            _fit,
            settings,
            spec,
            prepared,
            fitted,
        )

    for name, model in fitted.items():
        scores = log.run(
            f"score {name}",
            score,
            workspace,
            evaluation,
            model,
            prepared,
        )
        test, validation = (built.artifact for built in scores)
        observed = log.run(
            f"observe {name}",
            observe,
            workspace,
            evaluation,
            model,
            test,
            prepared,
        )
        audited = log.run(
            f"audit {name}",
            audit,
            workspace,
            config.audit,
            model,
            prepared,
        )
        samples = log.run(
            f"samples {name}",
            write_samples,
            workspace,
            evaluation,
            model,
        )
        label = f"predictions {name}"
        check = log.run(
            f"check {name}",
            check_table,
            config,
            "predictions",
            test,
            label,
        )
        measured.append(
            Measured(
                model,
                test,
                validation,
                samples,
                observed,
                audited,
                (check,),
            )
        )

    step = "compare the models"
    log.run(
        step,
        compare,
        workspace,
        evaluation,
        config.baseline,
        prepared,
        measured,
    )


def _prepare(config: RunConfig, log: StageLog) -> Prepared:
    """Ingest, check, clean, split and tokenize the sample."""
    workspace = config.workspace
    dataset = log.run("ingest", ingest_files, config)
    checks = [
        log.run(
            "check raw",
            check_table,
            config,
            "raw",
            dataset,
        )
    ]
    clean = log.run("prepare", clean_and_split, config, dataset)
    checks.append(
        log.run(
            "check clean",
            check_table,
            config,
            "clean",
            clean,
        )
    )
    card = log.run(
        "card",
        describe_data,
        workspace,
        config.source,
        dataset,
        clean,
    )
    canaries = None
    if config.audit.canaries:
        canaries = log.run(
            "canaries",
            choose,
            workspace,
            config.audit,
            clean,
        )

    vocabularies: dict[str, Artifact] = {}
    tokens: dict[str, dict[str, Artifact]] = {}
    for name in vocabularies_in_use(config.models, config.vocabulary):
        spec = config.vocabulary[name]
        step = f"vocabulary {name}"
        vocabularies[name] = log.run(
            step,
            train_vocabulary,
            workspace,
            name,
            spec,
            config.clean,
            clean,
        )
        file = str(vocabularies[name].folder / VOCABULARY_FILE)
        tokens[name] = {}
        for split in TRAIN_FIRST:
            planted = canaries if split == "train" else None
            step = f"tokens {name}, {split}"
            tokens[name][split] = log.run(
                step,
                tokenize,
                workspace,
                file,
                split,
                clean,
                name,
                planted,
            )

        label = f"tokens {name} train"
        train = tokens[name]["train"]
        checks.append(
            log.run(
                f"check {label}",
                check_table,
                config,
                "tokens",
                train,
                label,
            )
        )

    return Prepared(
        clean,
        card,
        vocabularies,
        tokens,
        tuple(checks),
        canaries,
    )


def _fit(
    settings: FitSettings,
    spec: ModelSpec,
    prepared: Prepared,
    fitted: Mapping[str, Fitted],
) -> Fitted:
    """Fit a model in this process, without MLflow."""

    def run(job: FitJob, report: Report) -> Mapping[str, float]:
        assert isinstance(job, LanguageModelJob)
        with converted_errors(job.spec.name):
            return fit_here(job, report)

    built = plan_fit(settings, spec, prepared, fitted_parts(spec, fitted)).build(run=run)
    return Fitted(spec, built.artifact, "", built.reused)


def write_sample(
    source: SourceConfig,
    file: Path,
    most: int,
) -> int:
    """Write at most *most* reviews of the input to *file* as JSON lines, and return their number.

    The files are read by the readers of the pipeline. Each gives the same number of reviews, from its beginning; if
    some have fewer, the others give more.

    Raises:
        Unreadable, MissingColumn: A file cannot be read.
        EmptyInput: No file has a usable review at its beginning.
    """
    options = replace(reading_options(source), workers=1)
    beginnings = []
    complaints: list[str] = []
    names = source_names(source.input, source.skip_missing)
    for path, name in list(names.items())[:MOST_FILES]:
        blocks = cast(Generator[Block], read(path, name, options, Progress()))
        beginning = _beginning(blocks, most, complaints)
        beginnings.append(beginning.with_columns(number=pl.int_range(pl.len())))

    rows = pl.concat(beginnings).sort("number", maintain_order=True).head(most).select(FIELDS)
    if rows.is_empty():
        inputs = " ".join(f"--input {shlex.quote(path)}" for path in source.input)
        cause = complaints[0] if complaints else "the files hold no records"
        raise EmptyInput(
            "No file has a review that can be used",
            where=", ".join(source.input),
            cause=cause,
            remedy="mend this, or name other files; to see all that is wrong, `reviewlm data ingest "
            f"{inputs}`, then `reviewlm data quarantine show {inputs}`",
        )

    lines: list[bytes] = []
    for row in rows.iter_rows(named=True):
        present = {name: value for name, value in row.items() if value is not None}
        lines.append(orjson.dumps(present, default=str, option=PLAIN) + b"\n")
    file.write_bytes(b"".join(lines))

    return rows.height


def _beginning(
    blocks: Generator[Block],
    most: int,
    complaints: list[str],
) -> pl.DataFrame:
    """Return at most *most* usable reviews of a file; after `MOST_BLOCKS` blocks the rest is not read.

    What is wrong with the first unusable record of each block is added to *complaints*.
    """
    beginning = pl.DataFrame(schema=COLUMNS)
    with closing(blocks):
        for block in islice(blocks, MOST_BLOCKS):
            for row in block.bad.head(1).iter_rows(named=True):
                complaints.append(f"{row['source']}, line {row['line']}: {row['detail']}")
            beginning = pl.concat([beginning, block.good.select(*COLUMNS)]).head(most)
            if beginning.height == most:
                break
    return beginning


def tiny(config: RunConfig, sample: Path) -> RunConfig:
    """Return the configuration with *sample* as its input and with tiny models, one of each kind.

    Reviews are split at random, because a few hundred may all be of one month or business.
    """
    models = tuple(_tiny_model(spec) for spec in one_of_each_kind(config.models, config.baseline))
    used = {spec.vocabulary for spec in models}
    vocabulary: dict[str, VocabularySpec] = {}
    for name, words in config.vocabulary.items():
        if name in used:
            vocabulary[name] = replace(words, size=min(words.size, ENTRIES), min_count=1)

    source = {"input": (str(sample),), "fields": {}}
    audit_settings = {**AUDIT, "canaries": min(config.audit.canaries, 1)}
    changes: dict[str, Any] = {"vocabulary": vocabulary, "models": models}
    changes["source"] = config.source.model_copy(update=source)
    changes["split"] = SplitConfig(
        salt=config.split.salt,
        validation=SHARES,
        test=SHARES,
    )
    changes["evaluation"] = config.evaluation.model_copy(update=EVALUATION)
    changes["audit"] = config.audit.model_copy(update=audit_settings)
    changes["execution"] = config.execution.model_copy(update=EXECUTION)
    return config.model_copy(update=changes)


def one_of_each_kind(models: Sequence[ModelSpec], baseline: str) -> list[ModelSpec]:
    """Return the baseline, the first model of each kind and vocabulary, and the models that these combine."""
    names = {baseline}
    kinds: set[tuple[str, str]] = set()
    for spec in models:
        kind = (spec.kind, spec.vocabulary)
        if kind not in kinds:
            kinds.add(kind)
            names.add(spec.name)
    for spec in reversed(models):  # a model comes after its parts
        if spec.name in names:
            names |= set(parts_of(spec))

    return [spec for spec in models if spec.name in names]


def _tiny_model(spec: ModelSpec) -> ModelSpec:
    """Return a network with few cells and a short training; other models as they are."""
    if isinstance(spec, NPLMSpec | RecurrentSpec):
        small: dict[str, Any] = {"hidden": min(spec.hidden, WIDTH)}
        if not spec.vectors:  # word vectors keep their size
            small["embedding"] = min(spec.embedding, WIDTH)
        if isinstance(spec, RecurrentSpec):
            small["layers"] = min(spec.layers, 2)
        return replace(spec, training=_short(spec.training), **small)
    return spec


def _short(training: TrainingSpec) -> TrainingSpec:
    """Return a training of half an epoch at most, in small batches and windows."""
    epochs = min(training.epochs, 0.5)
    batch = min(training.batch, BATCH)
    window = min(training.bptt_len, WINDOW)
    return replace(
        training,
        epochs=epochs,
        batch=batch,
        micro_batch=None,
        bptt_len=window,
        bptt_grad_len=None,
        evaluations=1,
        start="fresh",
        precision="float32",
    )
