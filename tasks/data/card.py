"""Draw the data card of a prepared data set, and tabulate the fertility of the vocabularies on its text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.processes.ahead import call_ahead
from reviewlm.core.store import Artifact
from reviewlm.core.workspace import Workspace
from reviewlm.corpus.profile import profile_of
from reviewlm.evaluation.reports.card import MARKDOWN, Origin, draw
from reviewlm.tasks.data.account import account_of
from reviewlm.tasks.execution.stage import (
    as_task_state,
    run_stage,
    show_markdown,
    show_table,
    stage_task,
)
from reviewlm.tasks.records.track import tracker_of, tracking_was_away
from reviewlm.tracking.tags import CARD_TAG

PROFILE_FILE = "profile.json"


@stage_task("card")
def describe_data(
    workspace: Workspace,
    source: SourceConfig,
    dataset: Artifact,
    clean: Artifact,
) -> Artifact:
    """Draw the data card: `data_card.html`, `data_card.md` and `profile.json`."""
    synthetic = not source.input
    digests = {"dataset": dataset.digest, "clean": clean.digest}
    account = account_of(dataset, clean)
    options: dict[str, Any] = {"synthetic": synthetic}
    not_read = [entry.to_dict() for entry in account.entries if entry.step == "find"]
    if not_read:
        options["not_read"] = not_read

    def make(work: Path) -> dict[str, Any]:
        profile = profile_of(clean.folder)
        text = json.dumps(profile.to_dict(), ensure_ascii=False)
        (work / PROFILE_FILE).write_text(text, encoding="utf-8")
        call_ahead(
            draw,
            profile,
            Origin(
                dataset.facts,
                clean.facts,
                digests,
                synthetic,
                account,
            ),
            work,
        )
        sums = profile.splits.select(pl.col("reviews", "words", "bytes").sum())
        return dict(sums.to_dicts()[0])

    built = run_stage(
        workspace,
        "card",
        options,
        digests,
        make,
        "of the clean reviews",
    )
    page = (built.artifact.folder / MARKDOWN).read_text(encoding="utf-8")
    title = f"The reviews that the models learn from; with figures: `{built.artifact.folder}`"
    show_markdown("data-card", page, title)
    return as_task_state(built)


def fertility_table(tokens: Mapping[str, Mapping[str, Artifact]]) -> pl.DataFrame:
    """Return fertility and out-of-vocabulary share of each vocabulary on each split, from the token streams' facts.

    Only tokens of the text count: the end token of a review and the byte counted for it are left out.

    Returns:
        vocabulary, unit, size, split, reviews, words, tokens, tokens_per_word (fertility), bytes_per_token,
        oov_share (of tokens) and coverage (1 − oov_share).
    """
    rows: list[dict[str, Any]] = []
    for name, streams in tokens.items():
        for split, artifact in streams.items():
            rows.append(_fertility(name, split, artifact.facts))

    return pl.DataFrame(rows)


def _fertility(
    name: str,
    split: str,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the row of one vocabulary on one split."""
    reviews = facts["documents"]
    words = facts["words"]
    count = facts["tokens"] - reviews
    text_bytes = facts["bytes"] - reviews
    row = {
        "vocabulary": name,
        "unit": facts["unit"],
        "size": facts["vocabulary_size"],
    }
    row |= {
        "split": split,
        "reviews": reviews,
        "words": words,
        "tokens": count,
    }
    row["tokens_per_word"] = count / max(words, 1)
    row["bytes_per_token"] = text_bytes / max(count, 1)
    row["oov_share"] = facts["oov"] / max(count, 1)
    row["coverage"] = 1 - row["oov_share"]
    return row


@stage_task("card-tracking", retry_if=tracking_was_away)
def log_card(
    workspace: Workspace,
    card: Artifact,
    tokens: Mapping[str, Mapping[str, Artifact]],
    parent_run_id: str,
) -> None:
    """Copy the data card into the MLflow run, and show the fertility table there and in Prefect."""
    table = fertility_table(tokens)
    tracker = tracker_of(workspace)
    tracker.log_folder(parent_run_id, card.folder, "data_card")
    tracker.log_table(parent_run_id, table, "fertility.json")
    tracker.set_tags(parent_run_id, {CARD_TAG: card.digest})
    rounded = table.with_columns(pl.selectors.float().round(4))
    link = f"Data card and table: {tracker.link(parent_run_id)}"
    title = f"Tokens per word, and tokens out of vocabulary. {link}"
    show_table("fertility", rounded.to_dicts(), title)
