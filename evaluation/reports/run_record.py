"""Record a run as JSON beside its report, so that a later run can show what has changed since the champion's run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reviewlm.core.figures import CHANGES, figures_at
from reviewlm.evaluation.reports.run_results import RunResults

REPORTS = "reports"
RECORD_FILE = "run.json"
REPORT_FILE = "report.html"
FORMAT = 1
TEST_REVIEWS = "test reviews"
"""Name of the digest of the test reviews among the digests of a run."""
MACHINE = ("execution.", "preset")
"""Beginnings of the settings that belong to the machine or only name a set of others: they change no result."""


def record_of(results: RunResults) -> dict[str, Any]:
    """Return the record of a run as JSON values."""
    winner = results.model(results.winner)
    decision = results.decision
    row = {**winner.observed, **results.row(results.winner)}
    settings = {}
    if results.config:
        settings = flat(json.loads(results.config))

    record = {
        "format": FORMAT,
        "run": dict(results.run),
        "winner": results.winner,
    }
    record["bundle"] = winner.digests.get("bundle", "")
    record["version"] = results.version
    record["vocabulary"] = row.get("vocabulary")
    record["promoted"] = None if decision is None else decision.promote
    record["settings"] = settings
    record["data"] = {name: str(value) for name, value in results.data.items()}
    record["digests"] = dict(results.digests)
    compared = figures_at(CHANGES)
    record["figures"] = {figure.words: figure.number(row.get(figure.name)) for figure in compared}
    return record


def samples_of(results: RunResults) -> list[tuple[int | None, str, bool]]:
    """Return the winner's first sample of each rating, as (stars, text, ended)."""
    frame = results.model(results.winner).samples
    if frame is None:
        return []
    return frame.filter(number=0).select("stars", "text", "ended").rows()


def read_records(reports: Path) -> dict[str, dict[str, Any]]:
    """Return the records in the folders of *reports* by the name of the folder, the newest first.

    A file may be damaged: such a folder has only its name here.
    """
    folders = []
    for path in reports.glob(f"*/{REPORT_FILE}"):
        if not path.parent.is_symlink():
            folders.append(path.parent)

    folders.sort(key=lambda folder: (folder / REPORT_FILE).stat().st_mtime, reverse=True)
    return {folder.name: _read(folder / RECORD_FILE) for folder in folders}


def run_of_bundle(
    reports: Path,
    digest: str,
    except_run: str = "",
) -> dict[str, Any] | None:
    """Return the record of the run whose winner is this bundle, with its folder's name as "folder"; else None.

    Of several, it is the newest that promoted the bundle, else the newest. *except_run* is the folder of the run that
    asks.
    """
    if not digest:
        return None

    runs = []
    for name, record in read_records(reports).items():
        if name != except_run and record.get("bundle") == digest:
            runs.append({**record, "folder": name})

    promoting = [run for run in runs if run["promoted"] is True]
    return next(iter([*promoting, *runs]), None)  # the newest are first


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested settings as dotted names and JSON texts; an entry of a list of models is called by its name."""
    entries: dict[str, str] = {}
    for name, value in values.items():
        if (
            isinstance(value, list)
            and value
            and all(isinstance(one, Mapping) and "name" in one for one in value)
        ):
            value = {str(one["name"]): one for one in value}
        if isinstance(value, Mapping) and value:
            entries |= flat(value, f"{prefix}{name}.")
        elif value not in (None, "", [], {}):
            if isinstance(value, str):
                entries[prefix + name] = value
            else:
                entries[prefix + name] = json.dumps(value, ensure_ascii=False)

    return entries


def differences(
    then: Mapping[str, str],
    now: Mapping[str, str],
    ignored: Sequence[str] = (),
) -> list[dict[str, str]]:
    """Return the names whose values differ, with both values; "–" for none."""
    names = [name for name in {**then, **now} if not name.startswith(tuple(ignored))]
    pairs = {name: (then.get(name, "–"), now.get(name, "–")) for name in names}
    return [
        {
            "what": name,
            "then": before,
            "now": after,
        }
        for name, (before, after) in pairs.items()
        if before != after
    ]


def _read(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    whole = isinstance(record, dict) and record.get("format") == FORMAT
    return record if whole else {}
