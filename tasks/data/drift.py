"""Test the reviews that came since the champion was trained for drift; log the verdict and emit an event."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.data import (
    DriftConfig,
    DuplicatesConfig,
    SelectionConfig,
    SourceConfig,
)
from reviewlm.core.config.sections.evaluation import PromotionConfig
from reviewlm.core.errors import BundleError, EmptyInput
from reviewlm.core.services.join import DRIFT_SEEN, DRIFTED
from reviewlm.core.store import Artifact, Store
from reviewlm.core.workspace import Workspace
from reviewlm.corpus.account import ACCOUNT
from reviewlm.corpus.cleaning.business import read_businesses
from reviewlm.corpus.cleaning.normalise import in_languages
from reviewlm.corpus.ingestion.ingest import reading_options
from reviewlm.corpus.known_reviews import RESTATED, UNLEARNT, KnownReviews, Standing, Standings
from reviewlm.corpus.profile import sample_reviews
from reviewlm.corpus.splitting.split import scan_split
from reviewlm.evaluation.drift.odd_reviews import odd_counts, odd_table
from reviewlm.evaluation.drift.report import FEWEST_REVIEWS, DriftReport, compare, flagged_sentence
from reviewlm.evaluation.scoring.score import score_stream
from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.streams import TokenStream, write_stream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.tasks.data.account import warn_of_oddities
from reviewlm.tasks.execution.devices import OpenBundle
from reviewlm.tasks.execution.progress import progress
from reviewlm.tasks.execution.stage import (
    announce,
    as_task_state,
    run_stage,
    show_markdown,
    stage_task,
)
from reviewlm.tasks.fitting.fit import bundle_digest
from reviewlm.tasks.records.track import registry_of, tracker_of
from reviewlm.tracking.registry.versions import CHAMPION, Version
from reviewlm.tracking.tags import DATA_TAG, DRIFT_TAG

REPORT_FILE = "drift.json"
PAGE_FILE = "drift.html"
TABLE_FILE = "drift.md"
ODD_FILE = "odd_reviews.parquet"
ODD_SHOWN = 50
log = logging.getLogger(__name__)


class NotCompared(Exception):
    """There was nothing to compare."""

    def __init__(self, reason: str, level: int = logging.INFO) -> None:
        super().__init__(reason)
        self.reason = reason
        self.level = level


@stage_task("drift")
def measure_drift(
    config: RunConfig,
    dataset: Artifact,
    parent_run_id: str,
    parameters: Mapping[str, Any] | None = None,
) -> Artifact | NotCompared:
    """Compare the reviews of *dataset* that are not in the champion's data with the champion's own reviews.

    Args:
        parameters: Those of the retrain that the event of newly found drift starts. None: the event only tells.

    Returns:
        The artifact with the report; or why nothing can be compared: there is no champion yet, its bundle or its data
        are missing or damaged, or too few reviews are new.
    """
    try:
        return _measure(config, dataset, parent_run_id, parameters)
    except (EmptyInput, BundleError) as error:
        # Too few reviews, or a damaged champion, must not end a retraining.
        why = NotCompared(str(error))
    except NotCompared as error:
        why = error

    log.log(why.level, "drift: %s", why.reason)
    return why


def sentence_of(outcome: Artifact | NotCompared) -> str:
    """Return the outcome of `measure_drift` in a sentence for the gate's table."""
    if isinstance(outcome, NotCompared):
        return f"not measured: {outcome.reason}"
    return str(outcome.facts["sentence"])


def _measure(
    config: RunConfig,
    dataset: Artifact,
    parent_run_id: str,
    parameters: Mapping[str, Any] | None,
) -> Artifact:
    """Return the artifact of `measure_drift`.

    Raises:
        NotCompared, EmptyInput, BundleError: Nothing can be compared.
    """
    version = registry_of(config.workspace, config.promotion.model_name).alias(CHAMPION)
    if version is None:
        raise NotCompared("there is no champion yet, so nothing to compare with")

    reference = data_of(config.home, version)
    known = known_reviews(config.home, reference)
    comparison = known.compare(dataset.folder)
    entries = comparison.entries("drift")
    warn_of_oddities(entries)
    _require_enough(comparison)
    folder = _champion_folder(config.workspace, config.promotion, version)
    inputs = {
        "bundle": bundle_digest(folder),
        "known": reference.digest,
        "dataset": dataset.digest,
    }
    counts = comparison.counts
    facts = _page_facts(version, reference, dataset, counts)
    options = {**config.drift.model_dump(mode="json"), "seed": config.seed}
    options["business"] = config.source.business
    options["selection"] = config.selection.model_dump(mode="json")
    options["duplicates"] = config.duplicates.model_dump(mode="json")

    def make(work: Path) -> dict[str, Any]:
        # A run without new reviews does not wait for matplotlib.
        from reviewlm.evaluation.drift.figures import drift_page

        batch = _unlearnt_sample(
            config.duplicates,
            config.selection,
            config.drift,
            dataset,
            known,
            comparison,
        )
        report, odd = _report(
            config.drift,
            config.source,
            config.seed,
            opened(),
            reference,
            batch,
            work,
        )
        (work / REPORT_FILE).write_text(report.to_json(), encoding="utf-8")
        page = drift_page(report, facts, pl.read_parquet(work / ODD_FILE), odd)
        (work / TABLE_FILE).write_text(page.to_markdown(), encoding="utf-8")
        (work / PAGE_FILE).write_text(page.to_html(), encoding="utf-8")

        found: dict[str, Any] = {}
        found["sentence"] = _with_restated(flagged_sentence(report), comparison)
        found["drifted"] = list(report.drifted)
        unknown = [kind for kind in Standing if kind != Standing.KNOWN]
        found |= {kind.name.lower(): counts[kind] for kind in unknown}
        found["excess"] = {figure.name: figure.excess for figure in report.figures}
        found["odd"] = odd
        found[ACCOUNT] = [entry.to_dict() for entry in entries]
        return found

    name = f"champion v{version.version}"
    with OpenBundle(config.execution, folder) as opened:
        built = run_stage(
            config.workspace,
            "drift",
            options,
            inputs,
            make,
            name,
        )

    _show(config.workspace, built.artifact, parent_run_id)
    if built.artifact.facts["drifted"]:
        seen_before = built.reused
        if parameters is not None:  # an event of the command has started no retrain
            mark = {"drift": built.artifact.digest}
            event = run_stage(
                config.workspace,
                "drift",
                {"event": DRIFTED},
                mark,
                lambda work: {},
            )
            seen_before = event.reused
        if not seen_before:
            _announce(config.promotion, built.artifact, version, parameters)

    return as_task_state(built)


def _champion_folder(
    workspace: Workspace,
    promotion: PromotionConfig,
    version: Version,
) -> Path:
    try:
        return registry_of(workspace, promotion.model_name).bundle_folder(version)
    except BundleError as error:  # the gate will refuse it too, with a remedy
        reason = f"champion v{version.version} cannot be measured: {error}"
        raise NotCompared(reason, logging.WARNING) from error


def _page_facts(
    version: Version,
    reference: Artifact,
    dataset: Artifact,
    counts: Mapping[Standing, int],
) -> dict[str, Any]:
    """Return the facts at the head of the report's page."""
    facts: dict[str, Any] = {"champion": f"version {version.version}"}
    facts["champion's data"] = reference.digest
    facts["new data"] = dataset.digest
    facts["new reviews"] = f"{counts[Standing.NEW]:,}"
    facts |= {f"{kind.kind}": f"{counts[kind]:,}" for kind in RESTATED}
    facts["from"] = dataset.facts.get("date_min")
    facts["to"] = dataset.facts.get("date_max")
    return facts


def known_reviews(home: Path, reference: Artifact) -> KnownReviews:
    """Return the reviews of prepared data, and those that were left out of them as long as the store has the data set."""
    digest = reference.manifest["inputs"].get("dataset", "")
    dataset = Store.of(home).find_usable("ingest", digest)
    folder = dataset.folder if dataset else None
    masked = bool(reference.facts["normal_form"]["mask_personal_data"])
    return KnownReviews(reference.folder, folder, NormalForm(mask_personal_data=masked))


def _require_enough(comparison: Standings) -> None:
    """Raise NotCompared if too few reviews have texts that the champion does not know."""
    if comparison.unlearnt >= FEWEST_REVIEWS:
        return
    reason = "no review is new since the champion"
    if comparison.unlearnt:
        reason = f"only {comparison.unlearnt} reviews are new to the champion; {FEWEST_REVIEWS} are needed"
    raise NotCompared(_with_restated(reason, comparison))


def _with_restated(sentence: str, comparison: Standings) -> str:
    """Return a sentence with what else was found about known reviews."""
    return "; ".join(part for part in (sentence, comparison.sentence) if part)


def _unlearnt_sample(
    duplicates: DuplicatesConfig,
    selection: SelectionConfig,
    drift: DriftConfig,
    dataset: Artifact,
    known: KnownReviews,
    comparison: Standings,
) -> pl.DataFrame:
    """Return a sample of the reviews of *dataset* whose texts the champion has not learnt.

    Edited reviews whose text is nearly the same as before are left out: it would be measured on what it has learnt.
    """
    masks = comparison.masks(UNLEARNT)
    batch = sample_reviews(dataset.folder, drift.reviews, known.form, masks)
    batch, _ = in_languages(batch, selection)
    if not comparison.counts[Standing.EDITED]:
        return batch

    return known.without_reworded(batch, duplicates.similarity, duplicates.shingle)


def data_of(home: Path, version: Version) -> Artifact:
    """Return the prepared data set that a version was trained on.

    Raises:
        NotCompared: It is not in the store.
    """
    digest = version.tags.get(DATA_TAG, "")
    reference = Store.of(home).find_usable("prepare", digest)
    if reference is not None:
        return reference

    raise NotCompared(
        f"the data of version {version.version} ({digest or 'unknown'}) are not in this store; prepare them with "
        "`reviewlm run --until prepare --input`",
        logging.WARNING,
    )


def _report(
    drift: DriftConfig,
    source: SourceConfig,
    seed: int,
    bundle: Bundle,
    reference: Artifact,
    batch: pl.DataFrame,
    work: Path,
) -> tuple[DriftReport, dict[str, float]]:
    """Return the drift figures and the counts of odd reviews; write the oddest reviews as a table to *work*."""
    count = drift.reviews
    if source.business:
        batch = read_businesses(Path(source.business), reading_options(source)).join(batch)

    held_out = _first(reference.folder, ("validation", "test"), count)
    with progress("drift", batch.height + held_out.height, "reviews") as report:
        new_scores = score_texts(bundle, batch, work / "new", report)
        known = score_texts(bundle, held_out, work / "known", report)

    batch = batch.with_columns(new_scores.select("nats", "tokens", "oov", "spelling_nats"))
    train = _first(reference.folder, ("train",), count)
    compared = compare(
        train,
        known,
        batch,
        drift,
        seed,
    )
    odd_table(known, batch, ODD_SHOWN).write_parquet(work / ODD_FILE)
    return compared, odd_counts(known, batch, drift.false_alarm)


def _first(
    clean_folder: Path,
    splits: tuple[str, ...],
    count: int,
) -> pl.DataFrame:
    """Return the first *count* reviews of the splits: a random sample, because rows are in the order of a hash."""
    parts = [scan_split(clean_folder, split).head(count) for split in splits]
    return pl.concat(parts).head(count).collect()


def score_texts(
    bundle: Bundle,
    rows: pl.DataFrame,
    folder: Path,
    report: Callable[[int], None] = lambda done: None,
) -> pl.DataFrame:
    """Return a bundle's scores of reviews, in their order.

    Args:
        rows: Columns review_id, text, stars, bytes, words.
        folder: For the token stream, which is removed.
    """
    write_stream(folder, bundle.vocabulary, [rows])
    scores = score_stream(bundle, TokenStream.open(folder), report=lambda done, total: report(done))
    shutil.rmtree(folder)
    return scores


def _show(
    workspace: Workspace,
    artifact: Artifact,
    parent_run_id: str,
) -> None:
    """Show the report in the log, in Prefect and in MLflow."""
    facts = artifact.facts
    level = logging.WARNING if facts["drifted"] else logging.INFO
    log.log(level, "drift: %s", facts["sentence"])
    table = (artifact.folder / TABLE_FILE).read_text(encoding="utf-8")
    show_markdown("drift", f"{table}\n\nReport: `{artifact.folder / PAGE_FILE}`", facts["sentence"])
    tracker = tracker_of(workspace)
    tracker.log_folder(parent_run_id, artifact.folder, "drift")

    figures = {f"drift/{name}": value for name, value in facts["excess"].items()}
    for name, value in facts["odd"].items():
        figures[f"drift/odd_{name}"] = value
    tracker.log_metrics(parent_run_id, figures)
    tracker.set_tags(parent_run_id, {DRIFT_TAG: ", ".join(facts["drifted"]) or "none"})


def _announce(
    promotion: PromotionConfig,
    artifact: Artifact,
    version: Version,
    parameters: Mapping[str, Any] | None,
) -> None:
    """Emit an event about new drift; one with the parameters of a flow starts the deployment `on-drift`."""
    event = DRIFT_SEEN if parameters is None else DRIFTED
    facts = {name: artifact.facts[name] for name in ("drifted", "sentence", "excess")}
    payload = {
        **(parameters or {}),
        "version": version.version,
        **facts,
        "report": str(artifact.folder / PAGE_FILE),
    }
    announce(event, promotion.model_name, payload)
