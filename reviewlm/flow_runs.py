"""Check what a command names, then run its flow and show which of its stages were built.

The devices, files and versions that a command names are checked before any work; no check starts a server or a
framework.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reviewlm import terminal
from reviewlm.core.environment import reaching_prefect
from reviewlm.core.errors import (
    ConfigError,
    EmptyInput,
    ReviewLMError,
    Unreadable,
    nearest,
    without_password,
)
from reviewlm.core.extras import require_gensim
from reviewlm.core.processes import interrupts
from reviewlm.core.processes.ahead import imported_ahead
from reviewlm.core.processes.memory import lasting_objects, limit_heaps
from reviewlm.core.sqlite_files import database_file
from reviewlm.options import configure, set_up

if TYPE_CHECKING:
    from reviewlm.core.config.run_config import RunConfig
    from reviewlm.core.config.sections.data import SourceConfig
    from reviewlm.core.config.sections.execution import ExecutionConfig
    from reviewlm.core.config.sections.other_models import ClassificationConfig
    from reviewlm.models.specs import ModelSpec
    from reviewlm.tasks.execution.stage import RunRecord
    from reviewlm.tracking.registry.version_settings import VersionSettings

MODULES = {
    "ingest_only": "ingest",
    "promote_only": "retrain",
    "compare": "versions",
    "reproduce": "versions",
    "rescore": "drift",
    **dict.fromkeys(("classify", "compare_classifiers_of", "embed", "punctuate"), "other_models"),
}
"""Modules of the flows that have another name."""
RESUME = "run the same command to resume"
WITHOUT_FITS = ("ingest_only", "embed")
"""Flows that fit no model of the configuration, and so need no files of word vectors."""
CHECKS = "reviewlm.data_checks.gx:great_expectations"
"""Function that imports what checks data, which takes two seconds."""
DRAWINGS = "reviewlm.evaluation.reports.canvas"
"""Module that imports what draws the data card: one second."""
WHOLE = "retrain"
"""Flow that is looked at before it runs: it may have nothing to do."""
WITHOUT_TRACKING = ("ingest_only",)
"""Flows that need no MLflow."""


def settings_of_versions(
    references: Sequence[str],
    preset: str,
    input: list[str] | None,
    overrides: list[str] | None,
    classifiers: bool = False,
) -> VersionSettings:
    """Return data and settings of a command about registered versions, and set up this process's environment for them.

    Given values win; otherwise the versions decide (`tracking/registry/version_settings.py`). *classifiers* says
    whether they are classifiers, not language models.
    """
    from reviewlm.tracking.logged_models.export import CLASSIFIER, LANGUAGE_MODEL
    from reviewlm.tracking.registry.version_settings import settings_of, where_of

    set_up(where_of(preset, overrides or []), create=False)
    form = CLASSIFIER if classifiers else LANGUAGE_MODEL
    return settings_of(
        references,
        preset,
        input or [],
        overrides or [],
        form,
    )


def settings_of_compared(
    references: Sequence[str],
    preset: str,
    input: list[str] | None,
    overrides: list[str] | None,
) -> VersionSettings:
    """Return data and settings of a comparison, as `settings_of_versions`; of names of models, the champion's."""
    from reviewlm.tracking.registry import version_settings

    set_up(version_settings.where_of(preset, overrides or []), create=False)
    return version_settings.settings_of_compared(references, preset, input or [], overrides or [])


def with_rebuild(overrides: list[str] | None, rebuild: list[str] | None) -> list[str]:
    """Return the overrides together with those of `--rebuild`."""
    again = []
    if rebuild:
        again = [f"execution.rebuild={list(rebuild)!r}"]

    return [*(overrides or []), *again]


def run_flow(
    name: str,
    preset: str,
    input: list[str] | None,
    overrides: list[str],
    check: Callable[[RunConfig], object] = lambda config: None,
    hint: str = RESUME,
    **arguments: Any,
) -> dict[str, Any]:
    """Check the configuration, then import and run a flow, and return its result.

    Args:
        input: Reviews.
        overrides: Settings.
        check: Raises if the configuration does not suit the flow, before a Prefect server is started for it.
        hint: Hint for the user after an interrupt.
        arguments: Further arguments of this flow.
    """
    limit_heaps()  # before the first library starts threads
    config = configure(preset, overrides).with_input(input or [])
    # Before the table engine reads the input: its threads would be missing in a fork.
    with imported_ahead(needed_soon(name, config.home)):
        require_input(config.source)
        check(config)
        if name not in WITHOUT_FITS and arguments.get("until") != "prepare":
            require_model_files(
                config.models, config.classification, config.vectors, classifiers=name == "classify"
            )

        if name not in WITHOUT_TRACKING:
            from reviewlm.tracking.client import require_whole

            require_whole(config.tracking_address)

        return _run(
            name,
            config,
            preset,
            input,
            overrides,
            hint,
            **arguments,
        )


def needed_soon(name: str, home: Path) -> list[str]:
    """Return the functions and modules that import libraries which a flow in a new home will need, but only later."""
    if (home / "store" / "check").is_dir():
        return []
    return [CHECKS] if name in WITHOUT_FITS else [CHECKS, DRAWINGS]


def run_version_flow(
    name: str,
    chosen: VersionSettings,
    preset: str,
    input: list[str] | None,
    overrides: list[str],
    **arguments: Any,
) -> dict[str, Any]:
    """Run a flow about a registered version; the flow itself finds the same data and settings.

    Args:
        chosen: Data and settings that the flow will find; the caller has checked them.
        preset: As given, empty for none.
        arguments: Further arguments of this flow.
    """
    limit_heaps()
    terminal.say(f"Data: {chosen.data}.\nSettings: {chosen.settings}.")
    return {
        **_run(
            name,
            chosen.config,
            preset,
            input,
            overrides,
            **arguments,
        ),
        **chosen.describe(),
    }


def _run(
    name: str,
    config: RunConfig,
    preset: str,
    input: list[str] | None,
    overrides: list[str],
    hint: str = RESUME,
    **arguments: Any,
) -> dict[str, Any]:
    require_device(config.execution)
    begun = datetime.now(UTC)
    clock = time.monotonic()
    before = None
    if name == WHOLE and not any(arguments.values()):
        settled_run = import_module("reviewlm.tasks.records.settled_run")
        before = settled_run.circumstances_of(config)
        result: dict[str, Any] | None = settled_run.repeat(before) if before else None
        if result is not None:
            show_unchanged(result, time.monotonic() - clock)
            return result

    server = without_password(os.environ.get("PREFECT_API_URL", "")).removesuffix("/api")
    waits = "a temporary Prefect server needs some seconds"
    if server:
        waits = f"the Prefect server at {server} is used"

    logging.getLogger(__name__).info("starting; %s", waits)
    servers = import_module("reviewlm.flows.server.private_server")
    # The server needs as long to start as this process needs for its imports and for a new MLflow database.
    with (
        interrupts.resumable(hint),
        reaching_prefect(),
        servers.private_server() as wait_for_server,
    ):
        with lasting_objects():
            chosen: Callable[..., dict[str, Any]] = getattr(
                import_module(f"reviewlm.flows.{MODULES.get(name, name)}"), name
            )
            own_runs = import_module("reviewlm.flows.server.own_runs")
            client = import_module("reviewlm.tracking.client")
            if name not in WITHOUT_TRACKING and database_file(config.tracking_address):
                with suppress(ReviewLMError):  # a run can begin without MLflow
                    client.open_client(config.tracking_address)  # imports MLflow
        wait_for_server()
        own_runs.end_lost_runs()
        with import_module("reviewlm.tasks.execution.stage").recorded_stages(begun) as record:
            result = own_runs.ended_with_process(chosen)(
                preset, list(input or []), overrides, **arguments
            )

        if before is not None and wait_for_server is not servers.lasting_server:
            results = [(one.stage, one.digest) for one in record.stages]
            settled_run.keep_settled(before, results, result)

    show_stages(record, time.monotonic() - clock)
    return result


def show_unchanged(result: Mapping[str, Any], seconds: float) -> None:
    """Write that a run had nothing to do, how many results were verified for that, and how long this took."""
    terminal.say(f"Nothing has changed: {result['verified']} results verified, {seconds:.0f} s")


def show_stages(record: RunRecord, seconds: float) -> None:
    """Write how many results were re-used, how long the run took, and each of its steps if any result was built.

    A result is what one stage made of one thing, e.g. the scores of a model.

    Args:
        seconds: From the start of the command, with the time in which libraries and servers start.
    """
    from reviewlm.tasks.execution.progress import duration

    results = {(one.stage, one.label): one for one in reversed(record.stages)}
    if not results:
        return

    reused = sum(one.reused for one in results.values())
    if reused:
        count = f"{reused} of {len(results)} steps re-used"
    else:
        count = f"{len(results)} steps"

    parts = []
    if record.waited >= 1:
        parts.append(f"waited {duration(record.waited)} for another retrain")

    if reused < len(results):
        parts += [f"{name} {duration(took)}" for name, took in record.steps.items()]

    steps = f": {', '.join(parts)}" if parts else ""
    terminal.say(f"{count}, {duration(seconds)}{steps}")


def require_device(execution: ExecutionConfig) -> None:
    """Refuse a GPU that is requested but missing.

    Raises:
        ConfigError: There is no GPU.
    """
    if execution.device == "cuda":
        from reviewlm.models.neural.device import gpu_problem

        if problem := gpu_problem():
            raise ConfigError(
                "The requested GPU is not available",
                where="execution.device",
                value="cuda",
                cause=problem,
                remedy="--set execution.device=auto uses a GPU if there is one, otherwise the processor",
            )


def require_input(source: SourceConfig) -> None:
    """Refuse input files that do not exist, or whose first records show that they cannot be used.

    Raises:
        Unreadable: A path does not exist, a pattern matches nothing, or a file is in no known format.
        EmptyInput: A folder holds no reviews, or there are no records.
        MissingColumn: A file has no text.
    """
    if source.input:
        from reviewlm.corpus.ingestion.look_before import require_usable

        require_usable(source.input, source)
    if source.business:
        require_file(Path(source.business), "source.business")


def require_model_files(
    models: Sequence[ModelSpec],
    classification: ClassificationConfig,
    vectors: Mapping[str, str],
    classifiers: bool = False,
) -> None:
    """Refuse files of word vectors that do not exist, before a command that fits models which need them.

    Args:
        classifiers: The command also fits its classifiers.

    Raises:
        Unreadable: A file does not exist.
        ConfigError: gensim, which reads them, is not installed.
    """
    for spec in (*models, *(classification.models if classifiers else ())):
        if name := getattr(spec, "vectors", ""):
            require_gensim()
            require_file(Path(vectors[name]), f"vectors.{name}")


def require_file(path: Path, where: str) -> None:
    """Refuse a file or folder that does not exist.

    Raises:
        Unreadable: It does not exist.
    """
    if not path.exists():
        beside = []
        if path.parent.is_dir():
            beside = [entry.name for entry in path.parent.iterdir()]

        raise Unreadable(
            "There is no such file or folder",
            where=where,
            value=path,
            remedy=f"{nearest(path.name, beside)}check the spelling and the working directory",
        )


def require_data_of(chosen: VersionSettings) -> None:
    """Refuse a version whose data set is not in the store and cannot be read again.

    Raises:
        Unreadable: Its files do not exist any more either.
    """
    from reviewlm.core.store import Store

    if not chosen.dataset or Store.of(chosen.config.home).find("ingest", chosen.dataset) is None:
        require_input(chosen.config.source)


def require_versions_or_models(chosen: VersionSettings, references: Sequence[str]) -> None:
    """Refuse a name that is neither a registered version nor a model of the configuration.

    Raises:
        ConfigError: Names the models.
    """
    from reviewlm.tracking.registry.locating import version_called
    from reviewlm.tracking.registry.remedies import no_such_model

    workspace = chosen.config.workspace
    model_name = chosen.config.promotion.model_name
    models = [spec.name for spec in chosen.config.models]
    for reference in references:
        registered = version_called(workspace, model_name, reference)
        if registered is None and reference not in models:
            raise no_such_model(workspace, model_name, models, reference)


def require_champion(chosen: VersionSettings) -> None:
    """Refuse a command about the champion if there is none.

    Raises:
        EmptyInput: No version is registered as the champion.
    """
    if chosen.version is None:
        raise EmptyInput(
            "There is no champion yet",
            where=f"models:/{chosen.config.promotion.model_name}@champion",
            remedy="run `reviewlm run` first; `reviewlm history` lists the versions",
        )


def require_new_reviews(chosen: VersionSettings) -> None:
    """Refuse to look for new reviews in the embedded corpus of a version: it never grows.

    Raises:
        ConfigError: No files are named, and the version was not trained on files.
    """
    if chosen.dataset and not chosen.config.source.input:
        raise ConfigError(
            "There are no new reviews",
            where="--input",
            remedy="name them: --input FILES",
            cause=f"the data are {chosen.data}, which never change",
        )
