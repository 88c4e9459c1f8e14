"""Read the versions of one registered model, and open one for use: its bundle, its engine, the requests that use it."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any, TypeVar

from reviewlm.core.config.sections.execution import ServingConfig
from reviewlm.core.environment import available_cores, chosen_device
from reviewlm.core.errors import ReviewLMError
from reviewlm.core.workspace import Workspace
from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.classification.bundle import ClassifierBundle
from reviewlm.models.completion.reading import Steps
from reviewlm.models.completion.spellings import QUICK
from reviewlm.models.completion.suggestions import Suggestions, suggestion_steps
from reviewlm.models.threads import return_freed
from reviewlm.serving.engine.engine import Engine
from reviewlm.serving.engine.jobs import EngineContext, Search
from reviewlm.serving.engine.requests import EngineFigures, EngineLimits, Generation
from reviewlm.serving.engine.waiting_times import Mean
from reviewlm.tracking.logged_models.export import LANGUAGE_MODEL, Form
from reviewlm.tracking.registry.locating import asked_model, tracker_at
from reviewlm.tracking.registry.opening import open_champion
from reviewlm.tracking.registry.version_card import recorded_card
from reviewlm.tracking.registry.versions import CHAMPION, SCHEME, contents_of

WARM_SECONDS = 120.0
TOO_SLOW = (
    f"it did not answer within {WARM_SECONDS:g} s; probably this machine is busy with other work"
)
PROBE = "The food was"
Result = TypeVar("Result")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Contents:
    """Versions and aliases of a model in the registry.

    Args:
        aliases: Key of a version by alias.
        created: Time of registration by key, the newest version first. The key of a version is its number: "3"; that
            of another model of its run has the model's name besides: "3/kn5".
    """

    aliases: Mapping[str, str] = field(default_factory=dict)
    created: Mapping[str, datetime] = field(default_factory=dict)


class RegistrySource:
    """The versions of a registered model. Methods raise any exception if it cannot be read.

    Args:
        workspace: Names the registry.
        model_name: Name of the registered model; without a model of the user's, the demo's is taken.
        form: Family of the model.

    Attributes:
        name: Name of the registered model.
    """

    def __init__(
        self,
        workspace: Workspace,
        model_name: str,
        form: Form = LANGUAGE_MODEL,
    ) -> None:
        self._workspace = workspace
        self._asked = model_name
        self._tracker = tracker_at(workspace)
        self._form = form
        self._device = chosen_device(workspace.execution.device)
        self.name = asked_model(self._tracker, model_name)

    def successor(self) -> RegistrySource | None:
        """Return the versions of the user's own model, if these are the demo's and there is one by now."""
        if self.name == self._asked:
            return None

        own = RegistrySource(self._workspace, self._asked, self._form)
        return own if own.name == self._asked else None

    def contents(self) -> Contents:
        """Return the model's aliases and versions as they are now."""
        versions, aliases = contents_of(self._tracker, self.name)
        keys = {alias: str(number) for alias, number in aliases.items()}
        created: dict[str, datetime] = {}
        for version in reversed(versions):
            created[str(version.version)] = version.created
            for model in version.siblings:
                created[f"{version.version}/{model}"] = version.created

        return Contents(keys, created)

    def open(self, key: str) -> Any:
        """Open a bundle with the installed code, check its files and ask it for its probe texts."""
        address = f"{SCHEME}{self.name}/{key}"
        bundle, *_ = open_champion(self._tracker, address, self._device, self._form)
        return bundle

    def card(self, key: str) -> dict[str, Any]:
        """Return the verdict of the gate with its rules and figures, and the decisions about all versions."""
        number, _, model = key.partition("/")
        recorded = recorded_card(self._tracker, self.name, int(number))
        if model:  # the gate has judged the version, not this model of its run
            recorded["verdict"] = f"not registered: a model of the run of version {number}"
            recorded |= {
                "since": None,
                "rules": [],
                "figures": [],
                "adaptation": "",
            }

        return recorded


class UnknownVersion(Exception):
    """There is no such model, alias or version; the message names those that there are."""


def key_named(
    reference: str | None,
    name: str,
    contents: Contents,
) -> str:
    """Return the key of the version that a request names; None names the champion.

    A request names NAME, NAME@ALIAS, NAME/3, NAME/3/MODEL, or the same without NAME.

    Args:
        reference: What the request says.
        name: Name of the registered model.
        contents: What the registry holds of it.

    Raises:
        UnknownVersion: There is none of this name.
    """
    version = (reference or CHAMPION).removeprefix(SCHEME)
    if version == name:
        version = CHAMPION

    for mark in "@/":
        version = version.removeprefix(f"{name}{mark}")

    key = contents.aliases.get(version, version)
    if key in contents.created:
        return key

    if not contents.created:
        raise UnknownVersion(f"no version of {name} is registered yet")
    if version == CHAMPION:
        raise UnknownVersion(f"{name} has no champion yet; {name}/NUMBER names a version")

    number = version.partition("/")[0]
    names = [f"{name}/{key}" for key in contents.created if key.startswith(f"{number}/")]
    if not names:
        names = [f"{name}@{alias}" for alias in sorted(contents.aliases)]
        names.append(f"{name}/NUMBER")

    shown = json.dumps((reference or "")[:80])
    raise UnknownVersion(f"the model {shown} does not exist; there are {', '.join(names)}")


class UnusableVersion(Exception):
    """A version cannot be served; the message says why.

    Args:
        retry_after: Seconds after which it may be served.
    """

    def __init__(self, message: str, retry_after: float = 30.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True)
class Refusal:
    """A version that cannot be served, and why."""

    key: str
    why: str
    when: datetime = field(default_factory=lambda: datetime.now(UTC))
    clock: float = field(default_factory=monotonic)

    def as_error(self, model: str, seconds: float) -> UnusableVersion:
        """Return the error for a request that names the version before it is tried again, in so many seconds."""
        return UnusableVersion(f"{model}/{self.key} was refused: {self.why}", seconds)


@dataclass
class OpenVersion:
    """A version in use. `Versions` guards the fields that change."""

    name: str
    key: str
    bundle: Bundle
    engine: Engine
    opened: datetime = field(default_factory=lambda: datetime.now(UTC))
    leases: int = 0
    used: float = field(default_factory=monotonic)
    scores: list[Any] = field(default_factory=list)
    """Requests that wait for their scores (`serving/api/score.py`)."""

    @property
    def id(self) -> str:
        """The version's name in answers: "reviewlm/3"."""
        return f"{self.name}/{self.key}"

    @property
    def task(self) -> str:
        """Task of the version: "classification", or "language model"."""
        return "classification" if isinstance(self.bundle, ClassifierBundle) else "language model"

    def facts(self) -> dict[str, Any]:
        """Return the facts about the version that are shown when the server is ready."""
        numbers, why = self.number_format
        return {
            "model": self.id,
            "task": self.task,
            "numbers": numbers,
            "why_numbers": why,
        }

    @property
    def number_format(self) -> tuple[str, str]:
        """In which number format it writes texts, and why."""
        if isinstance(self.bundle, ClassifierBundle):
            return "float32", "labels are always computed in float32"
        return self.bundle.writer.numbers, self.bundle.writer.why

    def fingerprint(self) -> str:
        """Return the first digits of the bundle's digest and the number format: a seed gives one text for each."""
        return f"lm_{self.bundle.digest[:12]}_{self.number_format[0]}"


def engine_limits(settings: ServingConfig) -> EngineLimits:
    """Return the limits of an engine."""
    return EngineLimits(
        live=settings.max_streams,
        queue=settings.max_waiting,
        cache_megabytes=settings.cache_megabytes,
        threads=settings.threads or available_cores(),
    )


class ClassifierThread:
    """The one thread in which a classifier answers; it has the methods of an engine that `Versions` uses."""

    def __init__(self, bundle: ClassifierBundle) -> None:
        self.bundle = bundle
        self._done = 0
        self._taken = 0
        self._seconds = Mean(0.01)
        self._thread = ThreadPoolExecutor(1, "classifier")

    def run(
        self, job: Callable[[ClassifierBundle], Result], in_order: bool = True
    ) -> Future[Result]:
        """Run a job after those that wait; all are in order."""

        def work() -> Result:
            began = monotonic()
            try:
                return job(self.bundle)
            finally:
                self._done += 1
                self._seconds.add(monotonic() - began)

        self._taken += 1
        return self._thread.submit(work)

    def seconds_of_jobs(self) -> float:
        """Return the seconds in which the jobs that wait now will be done."""
        return (self._taken - self._done) * self._seconds.value

    def figures(self) -> EngineFigures:
        """Return the counts of the version; its thread cannot end by itself."""
        return EngineFigures(alive=True, jobs=self._done)

    def close(self, seconds: float) -> None:
        """End the thread; jobs that wait are cancelled."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def start_engine(
    name: str,
    key: str,
    bundle: Any,
    limits: EngineLimits,
) -> OpenVersion:
    """Start an engine for a bundle and use it once in every way, so that a faulty or cold one answers no request.

    Raises:
        UnusableVersion: It does not answer, or with figures that are no numbers.
    """
    is_classifier = isinstance(bundle, ClassifierBundle)
    if is_classifier:
        engine: Any = ClassifierThread(bundle)
    else:
        engine = Engine(bundle, limits)

    try:
        if is_classifier:
            engine.run(lambda opened: opened.classify((PROBE, ""))).result(WARM_SECONDS)
        else:
            _write_once(engine)
    except Exception as error:
        engine.close(0)
        slow = isinstance(error, TimeoutError) or getattr(error, "reason", "") == "deadline"
        raise UnusableVersion(TOO_SLOW if slow else str(error)) from error

    return_freed()
    opened = OpenVersion(name, key, bundle, engine)
    log.info("%s answers in %s: %s", opened.id, *opened.number_format)
    return opened


def _write_once(engine: Engine) -> None:
    engine.submit(
        Generation(
            prompt=PROBE,
            max_tokens=8,
            seconds=WARM_SECONDS,
        )
    ).result()

    def begin(context: EngineContext) -> Steps[Suggestions]:
        return suggestion_steps(context.bundle, PROBE, readers=context.readers, cutoffs=QUICK)

    engine.run(Search(begin)).result(WARM_SECONDS)

    score = engine.run(lambda context: context.bundle.score_text(PROBE)).result(WARM_SECONDS)
    if not math.isfinite(score.nats):
        raise UnusableVersion(f"its log-probability of the text {PROBE!r} is not finite")


def reason_of(error: Exception) -> str:
    """Return an error in one line, without what only developers need."""
    if isinstance(error, ReviewLMError):
        return ": ".join(filter(None, (error.what, error.cause.partition("\n")[0])))
    return str(error).partition("\n")[0] or type(error).__name__
