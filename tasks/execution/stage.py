"""Run a stage: find or build its artifact, convert errors, show the results in the Prefect UI.

A task resolves its inputs and calls `run_stage` with a function of another room. `run_stage` returns an artifact.
Prefect's own result cache is off, so that only the store decides what is finished.

What a run has made is one table in Prefect, whose server needs some 15 ms for each artifact.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast
from uuid import UUID

from prefect import State, Task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.context import FlowRunContext, TagsContext, TaskRunContext
from prefect.events import emit_event
from prefect.logging.handlers import APILogHandler
from prefect.runtime import deployment
from prefect.states import Completed
from prefect.utilities.annotations import quote

from reviewlm.core.config.section import Section
from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.errors import converted_errors
from reviewlm.core.manifest import flat
from reviewlm.core.processes.interrupts import during
from reviewlm.core.processes.memory import returned_memory
from reviewlm.core.provenance import git_commit, made_with
from reviewlm.core.services.join import resource_of
from reviewlm.core.store import Artifact, Built, Store
from reviewlm.core.workspace import Workspace
from reviewlm.tasks.execution.code_version import WORKERS, running_code
from reviewlm.tasks.execution.progress import activity, slug

P = ParamSpec("P")
R = TypeVar("R")
RETRY_DELAYS = [2.0, 10.0]
"""Seconds before each retry of a stage that may be retried."""
MADE_ELSEWHERE = "made_elsewhere"
"""Fact of a result that another machine made: the description of that machine, which replaces this one in the record."""
RESOURCES = "resources"
"""Entry of that description: devices, ranks and threads."""
FIRST_NAME = "created as: "
"""Beginning of the tag of a deployment's run with the name that Prefect gave it."""
MINUTE = "%Y-%m-%d %H:%M UTC"
"""How reports and MLflow write the time at which a run began."""
ROOT = "reviewlm"
"""Logger above all of ours, whose messages Prefect gets."""
log = logging.getLogger(__name__)
WHOLE_DATA = frozenset(
    {"ingest", "check", "prepare", "card", "canaries", "vocabulary", "tokens", "reference"}
)
"""Stages that process all reviews in batches of columns in this process; freed memory is returned during them."""


@dataclass(frozen=True)
class StageRun:
    """One request for an artifact: stage, label, step of the run, seconds of a build, digest and facts."""

    stage: str
    label: str
    step: str
    reused: bool
    seconds: float
    digest: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class RunRecord:
    """Stages requested so far, the seconds of each step of the run, when it began, and its table in Prefect."""

    stages: list[StageRun] = field(default_factory=list)
    steps: dict[str, float] = field(default_factory=dict)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    table: UUID | None = None
    waited: float = 0.0
    """Seconds in which it waited for another run; they are part of its duration, but no work of it."""


_record: ContextVar[RunRecord | None] = ContextVar("record", default=None)
_step: ContextVar[str] = ContextVar("step", default="")


class Stage(Task[P, R]):
    """Prefect task whose direct call returns the result, even if its run ends in a state such as "Reused".

    Its runs do not get the flow run's tags: Prefect would ask the server before and after each one whether a limit
    stands for one of them. So a limit of a tag does not hold for stages. Nor does Prefect look through the
    configuration for the results of other tasks.
    """

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:  # type: ignore[override]
        """Run the stage in the caller's thread."""
        with TagsContext(current_tags=set()):
            result: Any = super().__call__(
                *map(_quote_settings, args),
                **{name: _quote_settings(kwargs[name]) for name in kwargs},
            )
        return cast(R, result.result() if isinstance(result, State) else result)

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        """Run the stage in a worker thread; return its future."""
        with TagsContext(current_tags=set()):
            return super().submit(
                *map(_quote_settings, args),
                **{name: _quote_settings(kwargs[name]) for name in kwargs},
            )


class WithoutFutures:
    """Base class of arguments of a stage that hold no results of other tasks, so Prefect need not look for any."""


def _quote_settings(argument: Any) -> Any:
    """Keep Prefect from looking through settings for the results of other tasks."""
    if isinstance(argument, Section | Workspace | WithoutFutures):
        return quote(argument)
    return argument


def stage_task(
    name: str,
    run_name: str | None = None,
    retry_if: Callable[[Task[..., Any], Any, State], bool] | None = None,
) -> Callable[[Callable[P, R]], Stage[P, R]]:
    """Declare a function as a stage: a Prefect task without Prefect's result cache, because the store has the results.

    Args:
        run_name: Template for the names of its runs, filled with the arguments of the call.
        retry_if: Decides whether a failed run is repeated, after the seconds of `RETRY_DELAYS`; None: never.
    """

    def declare(function: Callable[P, R]) -> Stage[P, R]:
        return Stage(
            function,
            name=name,
            task_run_name=run_name,
            cache_policy=NO_CACHE,
            persist_result=False,
            retries=len(RETRY_DELAYS) if retry_if else 0,
            retry_delay_seconds=RETRY_DELAYS,
            retry_condition_fn=retry_if,
        )

    return declare


def run_stage(
    workspace: Workspace,
    stage: str,
    options: Mapping[str, Any],
    inputs: Mapping[str, str],
    make: Callable[[Path], Mapping[str, Any]],
    label: str = "",
    resumable: bool = False,
    kind: str = "",
) -> Built:
    """Return the stage's artifact; build it only if the store does not have it.

    Args:
        stage, options, inputs, make, resumable: See `Store.build`.
        kind: The only kind of models that is used, see `SourceCode.used_by`.
    """
    store = Store.of(workspace.home)
    version = running_code().version(WORKERS.get(stage, make.__module__), kind)
    environment = {
        "git_commit": git_commit(),
        "execution": workspace.execution.model_dump(mode="json"),
        **made_with(),
    }
    freed: AbstractContextManager[None] = nullcontext()
    if stage in WHOLE_DATA:
        freed = returned_memory()

    def made(work: Path) -> Mapping[str, Any]:
        facts = dict(make(work))
        environment.update(facts.pop(MADE_ELSEWHERE, {}))
        return facts

    with during(activity(stage, label)), converted_errors(stage), freed:
        built = store.build(
            stage,
            version,
            options,
            inputs,
            made,
            environment=environment,
            rebuild=stage in workspace.execution.rebuild,
            resumable=resumable,
        )

    seconds = 0.0
    if not built.reused:
        seconds = float(built.artifact.manifest.get("seconds", 0))

    record = _record.get()
    if record is not None:
        facts = {}
        for name, value in flat(built.artifact.facts).items():
            if not isinstance(value, list):
                facts[name] = value

        record.stages.append(
            StageRun(
                stage,
                label,
                _step.get(),
                built.reused,
                seconds,
                built.artifact.digest,
                facts,
            )
        )

    log.debug(
        "%-10s %-24s %s",
        stage,
        label or "-",
        "already finished" if built.reused else f"{seconds:.1f} s",
    )
    return built


@contextmanager
def recorded_stages(begun: datetime | None = None) -> Iterator[RunRecord]:
    """Record which stages are built or reused within this block; a block within it goes on with its record.

    *begun* is when the run began, if that was before this block.
    """
    record = _record.get() or RunRecord(started=begun or datetime.now(UTC))
    token = _record.set(record)
    try:
        yield record
    finally:
        _record.reset(token)


@contextmanager
def step(name: str, work: str) -> Iterator[None]:
    """Show and time one step of a run: the stages requested within this block belong to it."""
    log.info("%-8s %s", name, work)
    began = time.monotonic()
    token = _step.set(name)
    record = _record.get() or RunRecord()
    try:
        yield
    finally:
        _step.reset(token)
        record.steps[name] = record.steps.get(name, 0.0) + time.monotonic() - began

    _show_results(record)


@contextmanager
def one_log() -> Iterator[None]:
    """Send all messages of this block to the log of its flow run, if that is a deployment's; it has the terminal's lines.

    Prefect would write those of a part (prepare, train, evaluate …) into the log of the part alone, where nobody looks.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or not deployment.id:
        yield
        return

    def to_whole_run(record: logging.LogRecord) -> bool:
        record.flow_run_id = run.id
        return True

    ours = logging.getLogger(ROOT)
    level = ours.level
    handlers = [one for one in ours.handlers if isinstance(one, APILogHandler)]
    for handler in handlers:
        handler.addFilter(to_whole_run)

    ours.setLevel(logging.INFO)  # no command line has set one, and the root's is WARNING
    try:
        yield
    finally:
        ours.setLevel(level)
        for handler in handlers:
            handler.removeFilter(to_whole_run)


def conclude(
    result: R,
    sentence: str,
    lines: Iterable[str] = (),
    always: bool = False,
) -> R:
    """Return a flow's result as its state, whose message is a sentence: what came out, with its figures.

    It is also the last line in the log of a deployment's run, after other *lines*. A command's log has it only if
    *always*, for the command shows its result itself.
    """
    if deployment.id:
        with one_log():
            for line in (*lines, sentence):
                log.info("%s", line)
    elif always:
        log.info("%s", sentence)

    state: Any = Completed(message=sentence, data=result)
    return cast(R, state)


def deployment_name() -> str:
    """Return the deployment that started the current run, `FLOW/DEPLOYMENT`; "" if a person's command did."""
    with suppress(Exception):  # a name is no reason to fail
        started_by = deployment.id
        if started_by is not None:
            with get_client(sync_client=True) as client:
                found = client.read_deployment(UUID(started_by))
                return f"{client.read_flow(found.flow_id).name}/{found.name}"
    return ""


def _show_results(record: RunRecord) -> None:
    """Show the results so far as one table of the flow run, which grows with its steps; outside a flow do nothing."""
    if FlowRunContext.get() is None:
        return

    rows = [_row_of(result) for result in record.stages]
    if record.table is None:
        about = "What each step built or took from the store"
        record.table = cast(UUID, create_table_artifact(rows, "results", about))
    else:
        with get_client(sync_client=True) as client:
            client.update_artifact(record.table, ArtifactUpdate(data=json.dumps(rows)))


def _row_of(result: StageRun) -> dict[str, Any]:
    """Return the row of a stage in the table of its run."""
    row = {
        "step": result.step,
        "stage": result.stage,
        "of": result.label,
        "digest": result.digest,
    }
    row["result"] = "reused" if result.reused else f"built in {result.seconds:.1f} s"
    row["facts"] = ", ".join(f"{fact}: {value}" for fact, value in result.facts.items())
    return row


def reuse_of_this_run() -> dict[str, Any]:
    """Return the stages whose results were all `reused`, and the number of `stages`, since `recorded_stages` began."""
    record = _record.get()
    results = record.stages if record else []
    stages = {result.stage for result in results}
    built = {result.stage for result in results if not result.reused}
    return {"reused": sorted(stages - built), "stages": len(stages)}


def started() -> datetime:
    """Return when the current run began (UTC); outside of `recorded_stages`, now."""
    record = _record.get()
    if record:
        return record.started
    return datetime.now(UTC)


def waited() -> float:
    """Return the seconds in which the current run waited for another run; outside of `recorded_stages`, 0."""
    record = _record.get()
    return record.waited if record else 0.0


@contextmanager
def counted_wait() -> Iterator[None]:
    """Count the time of this block as a wait of the current run for another run."""
    began = time.monotonic()
    try:
        yield
    finally:
        record = _record.get()
        if record is not None:
            record.waited += time.monotonic() - began


def as_task_state(built: Built) -> Artifact:
    """Return the artifact as a stage's result; wrap a reused one in the state "Reused" for the UI."""
    return result_as_task_state(built, built.artifact)


def result_as_task_state(built: Built, result: R) -> R:
    """Return *result* as a stage's result; wrap that of a reused artifact in the state "Reused" for the UI."""
    if not built.reused:
        return result

    message = f"{built.artifact.digest} was there already"
    reused: Any = Completed(
        name="Reused",
        message=message,
        data=result,
    )
    return reused  # type: ignore[no-any-return]


def show_table(
    key: str,
    rows: Sequence[Mapping[str, Any]],
    description: str,
) -> None:
    """Show rows as a table artifact of the current task run or flow run; outside of both do nothing."""
    if TaskRunContext.get() or FlowRunContext.get():
        create_table_artifact(
            key=slug(key),
            table=[dict(row) for row in rows],
            description=description,
        )


def show_markdown(
    key: str,
    markdown: str,
    description: str = "",
) -> None:
    """Show a Markdown artifact of the current task run; outside a task run do nothing."""
    if TaskRunContext.get() is not None:
        create_markdown_artifact(
            key=slug(key),
            markdown=markdown,
            description=description or None,
        )


def describe_flow_run(
    title: str,
    preset: str,
    source: SourceConfig,
) -> None:
    """Give the current flow run a name and tags that say flow, day, preset and data; outside a flow do nothing.

    Prefect gave a deployment's run another name before its code ran ("cherubic-pigeon"), which logs of workers and
    programs that started it keep. A tag and a line of its log say it.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return

    flow = context.flow.name if context.flow else "run"
    run = context.flow_run
    name = f"{flow}: {started():%d %b}, {title}"
    if run.name != name:
        tags = {f"preset: {preset}", f"data: {source.title}"}
        if deployment.id:
            tags.add(f"{FIRST_NAME}{run.name}")
            with one_log():
                log.info("this run was created as '%s' and is called '%s' now", run.name, name)

        run.name = name
        run.tags = sorted({*run.tags, *tags})
        # A name is no reason to fail.
        with suppress(Exception), get_client(sync_client=True) as client:
            client.update_flow_run(run.id, name=run.name, tags=run.tags)


def announce(
    event: str,
    model_name: str,
    payload: dict[str, Any],
) -> None:
    """Emit an event about a registered model; outside a flow run nobody would get it.

    Args:
        event: One of the names in `core/services/join.py`.
        payload: JSON values; alerts show `sentence`.
    """
    if FlowRunContext.get() is not None:
        emit_event(event, resource=resource_of(model_name), payload=payload)
