"""Keep the champion of a registered classifier open, like that of the language model."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from core.config.run_config import RunConfig
from core.config.sections.execution import ServingConfig
from models.classification.bundle import ClassifierBundle
from serving.engine.requests import EngineFigures
from serving.metrics import Metrics
from serving.versions.open_version import OpenVersion, RegistrySource, UnusableVersion
from serving.versions.versions import Versions
from tracking.registry.opening import open_classifier
from tracking.registry.versions import SCHEME

PROBES = ("The food was great and the staff were very friendly.", "")
Result = TypeVar("Result")
log = logging.getLogger(__name__)


class ClassifierThread:
    """The one thread in which a classifier answers; it has the methods of an engine that `Versions` uses."""

    def __init__(self, bundle: ClassifierBundle) -> None:
        self.bundle = bundle
        self._thread = ThreadPoolExecutor(1, "classifier")
        self._done = 0

    def run(self, job: Callable[[ClassifierBundle], Result], in_order: bool = True) -> Future[Result]:
        """Run a job after those that wait; all are in order."""

        def work() -> Result:
            self._done += 1
            return job(self.bundle)

        return self._thread.submit(work)

    def figures(self) -> EngineFigures:
        """Return what it has done; the thread cannot end by itself."""
        return EngineFigures(alive=True, jobs=self._done)

    def close(self, seconds: float) -> None:
        """End the thread; jobs that wait are cancelled."""
        self._thread.shutdown(wait=False, cancel_futures=True)


class ClassifierVersions(Versions):
    """The open versions of a registered classifier; there may be none, and a first one may come later."""

    def start(self) -> OpenVersion | None:  # type: ignore[override]
        """Open the champion if there is one, then watch the registry in a thread.

        Raises:
            Exception: What reading the registry raised.
        """
        try:
            return super().start()
        except UnusableVersion as error:
            log.info("no classifier is served yet: %s", error)
            self.watch()
            return None

    def _started(self, number: int, bundle: Any) -> OpenVersion:
        thread: Any = ClassifierThread(bundle)
        try:
            thread.run(lambda opened: opened.classify(PROBES)).result()
        except Exception as error:
            thread.close(0)
            raise UnusableVersion(str(error)) from error
        return OpenVersion(self.name, number, bundle, thread)

    def _observe(self) -> None:
        """Count nothing: the figures are those of language models."""


class ClassifierSource(RegistrySource):
    """The registered classifiers of a configuration; without one of the user's, the demo's."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config.asking(config.classification.model_name))
        self._config = config

    def open(self, number: int) -> Any:
        """Open a version's bundle with the installed code, check its files and ask it for its probe texts.

        Raises:
            BundleError, InputError, TrackingUnavailable: As `open_champion`.
        """
        return open_classifier(self._config, f"{SCHEME}{self.name}/{number}")[0]


def classifiers_of(config: RunConfig, settings: ServingConfig, metrics: Metrics) -> ClassifierVersions:
    """Return the classifiers that the server answers with, opened."""
    versions = ClassifierVersions(ClassifierSource(config), settings, metrics)
    versions.start()
    return versions
