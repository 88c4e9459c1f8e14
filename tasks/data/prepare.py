"""Check, clean and split data, choose canaries, train vocabularies, and write memory-mapped token streams."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.data import (
    CleanConfig,
    DuplicatesConfig,
    SelectionConfig,
    SplitConfig,
)
from reviewlm.core.config.sections.evaluation import AuditConfig
from reviewlm.core.errors import Unreadable, converted_errors
from reviewlm.core.store import Artifact, sha256_of
from reviewlm.core.workspace import Workspace
from reviewlm.corpus.cleaning.clean import prepare
from reviewlm.corpus.ingestion.ingest import count_by_file, reading_options
from reviewlm.corpus.splitting.shares import Shares
from reviewlm.corpus.splitting.split import TRAIN_FIRST as TRAIN_FIRST
from reviewlm.corpus.splitting.split import remedy_of
from reviewlm.corpus.synthetic.canaries import Canaries, choose_canaries
from reviewlm.data_checks.report import CRITICAL, INFO, WARNING, CheckReport
from reviewlm.data_checks.suite_runs import check_stage
from reviewlm.models.specs import ModelSpec, VocabularySpec
from reviewlm.models.streams import EncodedBatch, write_encoded
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.vocabulary import FILE as VOCABULARY_FILE
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.tasks.data.account import account_of, show_account
from reviewlm.tasks.data.clean_parts import encoded_reviews, training_texts, write_on_nodes
from reviewlm.tasks.execution.cluster import engine_of, fan_out
from reviewlm.tasks.execution.progress import progress
from reviewlm.tasks.execution.stage import as_task_state, run_stage, show_markdown, stage_task
from reviewlm.training.vocabularies.learn import learn_vocabulary

log = logging.getLogger(__name__)
REPORT_FILE = "report.json"
CHECKED = {
    "raw": "parts",
    "clean": "clean.parquet",
    "tokens": "",
    "predictions": "scores.parquet",
    "samples": "samples.parquet",
}
"""File or folder of an artifact that each suite reads."""
EARLIER = "earlier:"
"""How the names of the inputs begin that are data which start weights have learnt from."""
CANARIES_INPUT = "canaries"
"""Name of the canaries among the inputs of a token stream that contains them."""
OPTIONS = {"canaries", "copies"}
"""Settings of the audit on which the choice of canaries depends."""


@dataclass(frozen=True)
class Prepared:
    """All data that the models are fitted and measured on."""

    clean: Artifact
    card: Artifact
    vocabularies: dict[str, Artifact] = field(default_factory=dict)
    tokens: dict[str, dict[str, Artifact]] = field(default_factory=dict)
    checks: tuple[Artifact, ...] = ()
    canaries: Artifact | None = None
    labels: Artifact | None = None
    """Of a run of classifiers, if they predict a field of the files (`tasks/classification/field_labels.py`)."""
    label_names: tuple[str, ...] = ()
    """What classifiers predict, in the order of the labels' numbers."""


@stage_task("check")
def check_table(
    config: RunConfig,
    stage: str,
    subject: Artifact,
    name: str = "",
) -> Artifact:
    """Check a finished artifact with its suite of expectations; the verdict with its Data Docs is an artifact too.

    Raises:
        CheckFailed: A critical expectation failed. The error has its message and the report's path.
    """
    label = name or stage

    def make(work: Path) -> dict[str, Any]:
        table = subject.folder / CHECKED[stage]
        data = f"{config.source.title} (stage {subject.stage}, digest {subject.digest})"
        facts = subject.facts
        if stage == "raw":
            facts = {**facts, "files": count_by_file(subject.folder)}

        report = check_stage(
            stage,
            table,
            config.checks,
            work / "docs",
            label,
            facts,
            data=data,
        )
        if report.broken:
            # It raises, so that a check that could not run is not stored.
            report.with_folder(work).require()

        (work / REPORT_FILE).write_text(report.to_json(), encoding="utf-8")
        verdict = {
            "suite": stage,
            "passed": report.passed,
            "expectations": len(report.results),
        }
        failed = [result.severity for result in report.results if not result.passed]
        return verdict | {
            f"failed_{severity}": failed.count(severity) for severity in (CRITICAL, WARNING, INFO)
        }

    options = {
        "suite": stage,
        "label": label,
        "limits": config.checks.model_dump(mode="json"),
    }
    built = run_stage(
        config.workspace,
        "check",
        options,
        {"subject": subject.digest},
        make,
        label,
    )
    report = read_report(built.artifact)
    if not all(result.passed for result in report.results):
        page = report.to_markdown() + f"\n\nData Docs: `{report.report_path}`"
        title = f"Expectations about the {label} data that do not hold"
        show_markdown(f"check-{label}", page, title)

    report.require(label)
    return as_task_state(built)


def read_report(artifact: Artifact) -> CheckReport:
    """Return the stored report of a check, with the full path of its page."""
    text = (artifact.folder / REPORT_FILE).read_text(encoding="utf-8")
    return CheckReport.from_json(text).with_folder(artifact.folder)


@stage_task("clean")
def clean_and_split(
    config: RunConfig,
    dataset: Artifact,
    earlier: Sequence[Artifact] = (),
) -> Artifact:
    """Convert texts to normal form, count bytes, draw the frozen split, and remove duplicates across splits.

    Args:
        earlier: Prepared data that start weights have learnt from; no held-out review may stand in them.

    Raises:
        Unreadable, MissingColumn: The table of businesses cannot be read or lacks a column.
        EmptyInput: A split would be empty.
        InputError: A held-out split is farther from its share than `split.max_deviation`.
    """
    options = cleaning_options(config.selection, config.duplicates, config.split, config.clean)
    business = None
    if config.source.business:
        business = Path(config.source.business)

    inputs = {"dataset": dataset.digest}
    if business:
        inputs["business"] = _digest_of(business)

    digests = sorted(artifact.digest for artifact in earlier)
    inputs |= {f"{EARLIER}{digest}": digest for digest in digests}

    reading = reading_options(config.source)
    learnt_from = [artifact.folder for artifact in earlier]

    def make(work: Path) -> dict[str, Any]:
        with progress("prepare", 1, "reviews") as report:
            return prepare(
                dataset.folder,
                work,
                config.clean,
                config.split,
                selection=config.selection,
                duplicates=config.duplicates,
                business=business,
                reading=reading,
                earlier=learnt_from,
                threads=config.execution.threads,
                report=lambda done, total: report(done, total=total),
                engine=engine_of(config.execution),
            )

    built = run_stage(
        config.workspace,
        "prepare",
        options,
        inputs,
        make,
        "clean text and split",
    )
    facts = built.artifact.facts
    _tell_left_out(facts)
    show_account(account_of(dataset, built.artifact), "prepare")
    shares = Shares.from_dict(facts["grouping"]["shares"])
    shares.require(config.split.max_deviation, remedy_of(config.split), built.artifact.folder)
    return as_task_state(built)


def _tell_left_out(facts: Mapping[str, Any]) -> None:
    """Log how many held-out reviews were left out because a model has read their text."""
    covered = {side: kinds.get("covered", 0) for side, kinds in facts["duplicates"].items()}
    left_out = _left_out(covered)
    if left_out:
        log.info(
            "prepare  left out %s, because much of their text is also in training reviews", left_out
        )

    learnt = {side: sum(kinds.values()) for side, kinds in facts.get("learnt", {}).items()}
    left_out = _left_out(learnt)
    if left_out:
        log.info(
            "prepare  left out %s, because the champion's weights have learnt their text or passages of it",
            left_out,
        )


def cleaning_options(
    selection: SelectionConfig,
    duplicates: DuplicatesConfig,
    split: SplitConfig,
    clean: CleanConfig,
) -> dict[str, Any]:
    """Return the options of prepared data, as their manifest has them: `clean` with the edition of its tables."""
    options = {"selection": selection.model_dump(mode="json")}
    options["duplicates"] = duplicates.model_dump(mode="json")
    options["split"] = split.model_dump(mode="json", exclude={"max_deviation"})  # it only refuses
    options["clean"] = NormalForm(**clean.model_dump()).to_dict()
    return options


def _left_out(counts: Mapping[str, int]) -> str:
    """Return how many reviews of which split were left out; empty if none was."""
    return " and ".join(f"{count:,} of {name}" for name, count in counts.items() if count)


def _digest_of(business: Path) -> str:
    """Return the SHA-256 of the table of businesses.

    Raises:
        Unreadable: It cannot be read.
    """
    try:
        return sha256_of(business)
    except OSError as error:
        raise Unreadable(
            "The table of businesses cannot be read",
            where=business,
            cause=str(error),
            remedy="correct the path source.business, or leave it empty",
        ) from error


@stage_task("vocabulary")
def train_vocabulary(
    workspace: Workspace,
    name: str,
    spec: VocabularySpec,
    clean_settings: CleanConfig,
    clean: Artifact,
    file: Path | None = None,
) -> Artifact:
    """Train one vocabulary on the training split only; for a warm start, take the one in the file *file* instead."""
    form = NormalForm(**clean_settings.model_dump())

    def make(work: Path) -> dict[str, Any]:
        if file:
            vocabulary = Vocabulary.load(file)
        else:
            engine = engine_of(workspace.execution)
            texts = training_texts(clean.folder, engine.keep_file if engine else None)
            workers = fan_out(workspace.execution, engine)
            vocabulary = learn_vocabulary(
                texts,
                spec,
                form,
                work,
                workers,
            )

        vocabulary.save(work / VOCABULARY_FILE)
        return {
            "name": name,
            "unit": spec.unit,
            "size": vocabulary.size,
            "vocabulary_digest": vocabulary.digest,
            "lossless": vocabulary.lossless,
            **vocabulary.facts,
        }

    options = {"spec": asdict(spec), "normal_form": form.to_dict()}
    if file:
        inputs = {"kept": Vocabulary.load(file).digest}
    else:
        inputs = {"clean": clean.digest}

    built = run_stage(
        workspace,
        "vocabulary",
        options,
        inputs,
        make,
        name,
    )
    return as_task_state(built)


@stage_task("tokens")
def tokenize(
    workspace: Workspace,
    vocabulary_file: str,
    split: str,
    clean: Artifact,
    label: str = "",
    canaries: Artifact | None = None,
) -> Artifact:
    """Encode one split with one vocabulary and plant *canaries* in it, if any; *label* does not change the artifact."""
    with converted_errors(vocabulary_file):
        vocabulary = Vocabulary.load(Path(vocabulary_file))

    def make(work: Path) -> dict[str, Any]:
        total = int(clean.facts["splits"][split]["reviews"])
        began = perf_counter()
        planted = Canaries.load(canaries.folder) if canaries else None
        engine = engine_of(workspace.execution)
        with progress(f"tokens {label}", total, "reviews") as report:
            if engine:
                facts = write_on_nodes(
                    work,
                    clean,
                    split,
                    vocabulary,
                    planted,
                    engine,
                    report,
                )
            else:
                batches = encoded_reviews(
                    clean,
                    split,
                    vocabulary,
                    planted,
                    fan_out(workspace.execution, None),
                )
                facts = write_encoded(work, vocabulary, _count_rows(batches, report))

        speed = round(total / (perf_counter() - began))
        return {
            **facts,
            "unit": vocabulary.unit,
            "reviews_per_second": speed,
        }

    inputs = {"vocabulary": vocabulary.digest, "clean": clean.digest}
    if canaries:
        inputs[CANARIES_INPUT] = canaries.digest
    built = run_stage(
        workspace,
        "tokens",
        {"split": split},
        inputs,
        make,
        f"{label} {split}",
    )
    return as_task_state(built)


def _count_rows(batches: Iterator[EncodedBatch], report: Any) -> Iterator[EncodedBatch]:
    """Yield the batches, and report how many reviews are done."""
    done = 0
    for batch in batches:
        yield batch
        done += len(batch.lengths)
        report(done)


def vocabularies_in_use(
    models: Sequence[ModelSpec], vocabulary: Mapping[str, VocabularySpec]
) -> Sequence[str]:
    """Return the names of the vocabularies that at least one model uses, in the configuration's order."""
    names = {spec.vocabulary for spec in models}
    return [name for name in vocabulary if name in names]


@stage_task("canaries")
def choose(
    workspace: Workspace,
    audit: AuditConfig,
    clean: Artifact,
) -> Artifact:
    """Choose the texts to plant among the training reviews; the manifest records their number."""

    def make(work: Path) -> dict[str, Any]:
        canaries = choose_canaries(clean.folder, audit)
        canaries.save(work)
        return canaries.facts()

    options = audit.model_dump(mode="json", include=OPTIONS)
    inputs = {"clean": clean.digest}
    built = run_stage(
        workspace,
        "canaries",
        options,
        inputs,
        make,
        "for the audit",
    )
    return as_task_state(built)
