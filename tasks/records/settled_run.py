"""End a command's run that would change nothing, before its libraries are imported, and record it all the same.

A whole run whose model is the champion already leaves the home as it found it. So a later run with the same settings,
files, code, libraries and machine, in a home with the same versions and data, would take each result from the store and
decide the same. Such a run only verifies these results. Its MLflow run and its entry in the log of decisions are those
of the run that it repeats. What is kept of a run for this stands in the folder of its report.

Only runs that nobody else needs to see in Prefect are looked at: those of a command without a lasting server.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.errors import ReviewLMError
from reviewlm.core.manifest import canonical, hash_of, seal, sha256_of, unseal
from reviewlm.core.output import write_output
from reviewlm.core.processes.interrupts import during
from reviewlm.core.processes.memory import lasting_objects
from reviewlm.core.provenance import git_commit, made_with
from reviewlm.core.sqlite_files import home_database
from reviewlm.core.store import DIGEST_LENGTH, Store
from reviewlm.core.workspace import Workspace
from reviewlm.tracking import tags as tag
from reviewlm.tracking.artifacts import folder_of
from reviewlm.tracking.client import Absent
from reviewlm.tracking.logged_models.bundles import has_bundle
from reviewlm.tracking.registry.locating import tracker_at
from reviewlm.tracking.registry.registry import Registry
from reviewlm.tracking.registry.versions import CHAMPION, contents_of
from reviewlm.tracking.runs.runs import Tracker, end_left_runs

BEGINNING = "settled-"
"""Beginning of the name of the file beside a report; the key of the run follows."""
VARIABLES = ("REVIEWLM_", "MLFLOW_", "PREFECT_")
"""Beginnings of the variables that decide where a run writes, and how."""
PREFECT_SETTINGS = ("prefect.toml", "pyproject.toml", ".env")
"""Files of the working directory in which Prefect looks for its settings, e.g. for a server."""
DATA = ("ingest", "prepare")
"""Stages whose earlier results a run looks for: data of the champion and of its ancestors."""
OF_ONE_RUN = frozenset(
    tag.stored_name(name)
    for name in (
        tag.RUN_NAME,
        tag.USER,
        tag.SOURCE_NAME,
        tag.SOURCE_TYPE,
        tag.COMMIT,
        tag.NOTE,
        tag.KEY,
        tag.FLOW_RUN,
        tag.FLOW_RUN_URL,
        tag.FLOW_RUN_NAME,
    )
)
"""Tags of an MLflow run that a run with the same results has not."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Circumstances:
    """Configuration and digests that decide how a run ends.

    Attributes:
        workspace: Its home and tracking address.
        model_name: Name of the registered model.
        key: Digest of settings, files, code, libraries, machine and variables.
        state: Digest of the registered versions and of the names of the data in the store.
    """

    workspace: Workspace
    model_name: str
    key: str
    state: str


@dataclass(frozen=True)
class SettledRun:
    """A run that left the home as it found it.

    Attributes:
        file: The file that describes it.
        results: Stage and digest of each result that it used.
        summary: What its command returned.
    """

    file: Path
    results: list[tuple[str, str]]
    summary: dict[str, Any]


def circumstances_of(config: RunConfig) -> Circumstances | None:
    """Return the circumstances of a run that is about to begin; None for one that is never ended early.

    That is one with a lasting Prefect server or an MLflow elsewhere, on a cluster, with word vectors, or that builds
    results anew; or whose files or versions cannot be read, which the run itself will tell.
    """
    execution = config.execution
    elsewhere = "PREFECT_API_URL" in os.environ or config.tracking_address != home_database(
        config.home
    )
    if elsewhere or execution.cluster or execution.rebuild or config.vectors:
        return None

    named = config.named_by_data()
    workspace = named.workspace
    model_name = named.promotion.model_name
    try:
        with during("look for what has changed"):
            key = _key_of(named.model_dump(mode="json"), workspace.home, named.source)
            return Circumstances(workspace, model_name, key, _state_of(workspace, model_name))
    except (ReviewLMError, OSError) as error:
        log.debug("what has changed is not known: %s", error)
        return None


def _key_of(
    settings: Mapping[str, Any],
    home: Path,
    source: SourceConfig,
) -> str:
    """Return the digest of all that decides a run and lies outside of the store and the registry."""
    variables = {}
    for name, value in os.environ.items():
        if name.startswith(VARIABLES):
            variables[name] = value

    folder = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH") or folder / "profiles.toml")
    read = [home / "forgotten.json", profiles, *map(Path, PREFECT_SETTINGS)]
    if source.business:
        read.append(Path(source.business))

    decisive = {
        "config": settings,
        "made_with": made_with(),
        "variables": variables,
        "files": _hashes_of(read),
        "input": _input_of(source, home),
    }
    return hash_of(decisive)[:DIGEST_LENGTH]


def _hashes_of(files: Iterable[Path]) -> dict[str, str]:
    """Return the SHA-256 of files by path; that of a missing one is empty."""
    return {str(file): sha256_of(file) if file.is_file() else "" for file in files}


def _input_of(source: SourceConfig, home: Path) -> list[tuple[str, str, str]]:
    """Return name, place and SHA-256 of each input file, and what else was found beside them."""
    if not source.input:
        return []

    from reviewlm.corpus.reading.sources import find_files, identify_all

    found = find_files(source.input, source.skip_missing)
    sources = identify_all(found, Store.of(home).root / ".files")
    rows = [(one.name, str(one.path.absolute()), one.sha256) for one in sources]
    return rows + [("", "", str(entry)) for entry in found.entries]


def _state_of(workspace: Workspace, model_name: str) -> str:
    """Return the digest of the registered versions and of the data in the store, by which a run decides."""
    versions, aliases = contents_of(tracker_at(workspace), model_name)
    registered = [json.dumps(asdict(one), sort_keys=True, default=str) for one in versions]
    store = Store.of(workspace.home).root
    data = sorted(
        path.parent.name + path.name for stage in DATA for path in store.glob(f"{stage}/*")
    )
    return hash_of({"registered": registered, "aliases": aliases, "data": data})


def keep_settled(
    before: Circumstances,
    results: Iterable[tuple[str, str]],
    summary: Mapping[str, Any],
) -> None:
    """Store the results and the summary of a run, if another one like it would change nothing.

    Args:
        before: Its circumstances at its beginning.
        results: Stage and digest of each result that it used.
        summary: What its command returns.
    """
    report = summary.get("report")
    settled = summary.get("same_model") and summary.get("version") is None
    if not report or not settled:
        return

    content = {
        "state": before.state,
        "results": sorted(set(results)),
        "summary": summary,
    }
    try:
        if _state_of(before.workspace, before.model_name) == before.state:
            write_output(_file_in(Path(report).parent, before.key), canonical(seal(content)))
    except (ReviewLMError, OSError, TypeError, ValueError) as error:
        log.debug("the next run will not be ended early: %s", error)


def _file_in(folder: Path, key: str) -> Path:
    return folder / f"{BEGINNING}{key}.json"


def find_settled(now: Circumstances) -> SettledRun | None:
    """Return the newest run that a run under these circumstances would only repeat; None if there is none."""
    from reviewlm.evaluation.reports.run_record import REPORTS

    kept = (now.workspace.home / REPORTS).glob(f"*/{BEGINNING}{now.key}.json")
    files = [file for file in kept if not file.parent.is_symlink()]
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        with suppress(OSError, ValueError, KeyError):
            content = unseal(file.read_text(encoding="utf-8"))
            summary = content["summary"]
            if content["state"] == now.state and Path(summary["report"]).is_file():
                return SettledRun(file, [(one, two) for one, two in content["results"]], summary)

    return None


def repeat(now: Circumstances) -> dict[str, Any] | None:
    """Verify the results of a settled run and record that another run has found them; return what the command shows.

    None: there is no such run, or something of it is missing or damaged, so this one must not be ended early.
    """
    run = find_settled(now)
    if run is None:
        return None

    try:
        with during("verify the results"):
            if not _is_whole(now, run):
                return None

        with during("record the run"):
            return _record(now, run)
    except (ReviewLMError, OSError) as error:
        log.debug("the run is not ended early: %s", error)
        return None


def _is_whole(now: Circumstances, run: SettledRun) -> bool:
    """Return whether all results and logged models of a run are there and have their digests.

    Raises:
        Damaged: A result in the store differs from its manifest.
    """
    store = Store.of(now.workspace.home)
    for stage, digest in run.results:
        if store.find(stage, digest) is None:
            log.debug("%s %s is gone", stage, digest)
            return False

    tracker = tracker_at(now.workspace)
    with lasting_objects():
        _ = tracker.client  # imports MLflow

    addresses = [
        tracker.tag(model["mlflow_run_id"], tag.MODEL_URI_TAG) for model in run.summary["models"]
    ]
    champion = Registry(tracker, now.model_name).alias(CHAMPION)
    if champion is not None:
        addresses.append(champion.source)
    return all(has_bundle(tracker, address) for address in addresses)


def _record(now: Circumstances, run: SettledRun) -> dict[str, Any] | None:
    """Write the MLflow run and the decision of a run that repeats a settled one; return its summary."""
    tracker = tracker_at(now.workspace)
    earlier = _run_of(tracker, run.summary["mlflow_run_id"])
    if earlier is None:
        return None

    end_left_runs(now.workspace.home)
    run_id = _copy_run(tracker, earlier, len(run.results))
    Registry(tracker, now.model_name).settle(
        None,
        run.summary["champion_version"],
        False,
        "",
        {tag.REASON: run.summary["reason"]},
        run_id=run_id,
    )
    tracker.end_run(run_id, "FINISHED")
    tracker.sync()
    for used in (run.file, Path(run.summary["report"])):  # clean-up goes by it
        with suppress(OSError):
            os.utime(used)

    stages = sorted({stage for stage, _ in run.results})
    return {
        **run.summary,
        "verified": len(run.results),
        "reused": stages,
        "stages": len(stages),
        "mlflow_run_id": run_id,
        "mlflow_page": tracker.link(run_id),
        "unchanged_since": earlier.info.run_id,
    }


def _run_of(tracker: Tracker, run_id: str) -> Any:
    """Return MLflow's entity of a run; None if it was removed."""
    with suppress(Absent):
        found = tracker.ask(lambda client: client.get_run(run_id))
        return None if found.info.lifecycle_stage == "deleted" else found
    return None


def _copy_run(
    tracker: Tracker,
    earlier: Any,
    results: int,
) -> str:
    """Start an MLflow run with tags, figures, inputs and files of an earlier one; return its id."""
    stored = dict(earlier.data.tags)
    run_id = earlier.info.run_id
    name, _, _ = stored[tag.RUN_NAME].rpartition(", ")
    shown = f"{name}, {datetime.now(UTC):{tag.RUN_TIME}}"
    since = f"Nothing has changed since [{stored[tag.RUN_NAME]}]({tracker.link(run_id)})"
    note = f"{since}: its {results} results were verified.\n\n{stored.get(tag.NOTE, '')}"
    about = {tag.NOTE: note}
    if commit := git_commit():
        about[tag.COMMIT] = commit

    same = {name: value for name, value in stored.items() if name not in OF_ONE_RUN}
    new = tracker.start_run(shown, about)
    tracker.write(new, tags=same, params=dict(earlier.data.params))
    tracker.log_metrics(new, earlier.data.metrics)
    if earlier.inputs is not None:
        with tracker.reaching() as client:
            client.log_inputs(new, earlier.inputs.dataset_inputs)

    files = folder_of(earlier.info.artifact_uri, tracker.uri)
    if files is not None:
        tracker.log_folder(new, files)
    return new
