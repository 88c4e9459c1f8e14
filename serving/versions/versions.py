"""Keep the champion open, and switch to a new one without a failed or mixed request.

A thread looks at the registry. A new champion is loaded and tried beside the old one; then requests that come from now
on get the new one, and those in progress finish with the old one. A version that cannot be used is refused: the old
champion goes on, and the reason is in the log, in the metrics and in `/readyz`. It also goes on when somebody deletes
its alias, its version or the whole model, or gives the model another name, and `/readyz` says so. The demo's model
gives way to the user's own as soon as that has a champion.

A language model and a classifier are opened alike. Versions are closed that were unused for too long, or were used
least recently beyond `serving.max_versions`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from threading import Event, RLock, Thread
from time import monotonic

from reviewlm.core.config.sections.execution import ServingConfig
from reviewlm.serving.lasting_objects import collect_lasting
from reviewlm.serving.metrics import Metrics
from reviewlm.serving.versions.open_version import (
    Contents,
    OpenVersion,
    Refusal,
    RegistrySource,
    UnusableVersion,
    engine_limits,
    key_named,
    reason_of,
    start_engine,
)
from reviewlm.tracking.registry.versions import CHALLENGER, CHAMPION

RETRY_SECONDS = 60.0
"""Time after which a refused version is tried again: the disk may have been full, or the memory short."""
IDLE_SECONDS = 600.0
"""Time after which a version is closed that is neither champion nor challenger and that nobody asks for."""
CLOSE_SECONDS = 5.0
"""Time within which the thread of an engine that nobody uses must end."""
log = logging.getLogger(__name__)


class Versions:
    """The open versions of one registered model. Thread-safe.

    Args:
        source: The registry.
        settings: Limits of engines and of open versions.
        metrics: What is counted.

    Attributes:
        registry_error: Why the registry cannot be read, "" if it can.
        registry_note: What the registry says otherwise than this server does, "" if they agree: it names no champion.
    """

    def __init__(
        self,
        source: RegistrySource,
        settings: ServingConfig,
        metrics: Metrics,
    ) -> None:
        self.source = source
        self.settings = settings
        self.metrics = metrics
        self.name = source.name
        self.registry_error = ""
        self.registry_note = ""
        self._limits = engine_limits(settings)
        self._contents = Contents()
        self._champion = ""
        self._registered: datetime | None = None
        self._open: dict[str, OpenVersion] = {}
        self._refused: dict[str, Refusal] = {}
        self._loading: dict[str, Future[OpenVersion]] = {}
        self._left: list[OpenVersion] = []
        """Versions of the demo's model that still answer, after the change to the user's own."""
        self._own_from = 0.0
        """Time from which a user's own model that could not be opened is tried again."""
        self._closed_some = False
        self._lock = RLock()
        self._ended = Event()
        self._loader = ThreadPoolExecutor(1, "versions")
        self._watch = Thread(
            target=self._look_again_and_again,
            name="registry",
            daemon=True,
        )

    def start(self) -> OpenVersion | None:
        """Open the champion if there is one, and watch the registry in a thread: for the next one, or the first one.

        Returns:
            The champion; None if there is none, or it cannot be served (see `refusals`).

        Raises:
            Exception: What reading the registry raised.
        """
        self._contents = self.source.contents()
        key = self._contents.aliases.get(CHAMPION)
        if key is not None:
            with suppress(UnusableVersion):
                self._make_champion(self._load(key))
        self.metrics.ready.set(1)
        self._watch.start()
        return self.champion

    @property
    def champion(self) -> OpenVersion | None:
        """The version that answers as champion; None as long as there is none."""
        return self._open.get(self._champion)

    @property
    def draining(self) -> bool:
        """Whether the server is shutting down."""
        return self._ended.is_set()

    def refusals(self) -> list[Refusal]:
        """Return the versions that were tried in vain, the newest last."""
        with self._lock:
            return sorted(self._refused.values(), key=lambda refusal: refusal.clock)

    def contents(self) -> Contents:
        """Return aliases and versions as of the last look.

        `champion` is the version that answers as champion. It is among the versions as long as it is served, also if
        it was deleted in the registry.
        """
        with self._lock:
            if not self._champion or self._registered is None:
                return self._contents
            aliases = {**self._contents.aliases, CHAMPION: self._champion}
            created = {**self._contents.created}
            created.setdefault(self._champion, self._registered)
            return Contents(aliases, created)

    def open_versions(self) -> list[OpenVersion]:
        """Return the open versions."""
        with self._lock:
            return list(self._open.values())

    def key_of(self, reference: str | None) -> str:
        """Return the key of the version that a request names, see `key_named`.

        Raises:
            UnknownVersion: There is none of this name.
        """
        return key_named(reference, self.name, self.contents())

    async def lease(self, reference: str | None) -> OpenVersion:
        """Return the version that a request names, opened if need be; it stays open until `release`.

        Raises:
            UnknownVersion: There is none of this name.
            UnusableVersion: It cannot be served, or there is no room for it now.
        """
        while True:
            with self._lock:  # a version that loses its role may be closed at any other time
                key = self.key_of(reference)
                leased = self._lease(key)
                if leased is not None:
                    return leased
                loading = self._start_loading(key)
            await asyncio.shield(asyncio.wrap_future(loading))

    def release(self, leased: OpenVersion) -> None:
        """End a lease."""
        with self._lock:
            leased.leases -= 1
            leased.used = monotonic()

    def _lease(self, key: str) -> OpenVersion | None:
        with self._lock:
            version = self._open.get(key)
            if version is not None:
                version.leases += 1
                version.used = monotonic()
            return version

    def _start_loading(self, key: str) -> Future[OpenVersion]:
        """Return the future of a version that is being opened, at most one at a time."""
        with self._lock:
            if self._ended.is_set():
                raise UnusableVersion("the server is shutting down")
            refusal = self._refused.get(key)
            if refusal:
                seconds = refusal.clock + RETRY_SECONDS - monotonic()
                if seconds > 0:
                    raise refusal.as_error(self.name, seconds)
            if key not in self._loading:
                closed = self._make_room(key)
                self._loading[key] = self._loader.submit(self._load, key, closed)
            return self._loading[key]

    def _make_room(self, key: str) -> list[OpenVersion]:
        """Take a version out of the open ones if *key* would be one too many. Needs the lock.

        Raises:
            UnusableVersion: All of them answer requests.
        """
        most = self.settings.max_versions
        roles = self._roles()
        others = self._without_role()
        if key in roles or len(others) + len(self._loading.keys() - roles) < most:
            return []

        for one in others:
            if not one.leases:
                return [self._open.pop(one.key)]

        reason = (
            f"as many versions as serving.max_versions allows ({most}) are open and answer requests"
        )
        raise UnusableVersion(f"{self.name}/{key} is not open: {reason}")

    def _without_role(self) -> list[OpenVersion]:
        """Return the open versions that have no role, the one unused for longest first. Needs the lock."""
        roles = self._roles()
        others = [version for version in self._open.values() if version.key not in roles]
        return sorted(others, key=lambda version: version.used)

    def _roles(self) -> set[str]:
        """Return the numbers of champion, next champion and challenger. Needs the lock."""
        aliases = self._contents.aliases
        named = [aliases[role] for role in (CHAMPION, CHALLENGER) if role in aliases]
        return {self._champion, *named}

    def _load(self, key: str, closed: Sequence[OpenVersion] = ()) -> OpenVersion:
        """Close what makes room, open a version and try it; note a refusal. In one thread: none is opened twice."""
        self._end(closed)
        already = self._open.get(key)
        if already is not None:
            with self._lock:
                self._loading.pop(key, None)
            return already

        try:
            opened = start_engine(self.name, key, self.source.open(key), self._limits)
        except Exception as error:
            refusal = Refusal(key, reason_of(error))
            log.warning("version %s of %s cannot be served: %s", key, self.name, refusal.why)
            log.debug("why version %s cannot be served", key, exc_info=error)
            self.metrics.versions.labels("refused").inc()
            with self._lock:
                self._refused[key] = refusal
                self._loading.pop(key, None)
            raise refusal.as_error(self.name, RETRY_SECONDS) from error

        with self._lock:
            self._open[key] = opened
            self._refused.pop(key, None)
            self._loading.pop(key, None)

        self.metrics.versions.labels("opened").inc()
        return opened

    def _make_champion(self, opened: OpenVersion) -> None:
        with self._lock:
            self._champion = opened.key
            self._registered = self._contents.created.get(opened.key, opened.opened)
        self.metrics.champion.labels(self.name).set(int(opened.key))
        self.metrics.versions.labels("champion").inc()
        log.info("%s is served as champion", opened.id)

    def _look_again_and_again(self) -> None:
        while not self._ended.wait(self.settings.poll_seconds):
            try:
                self.look()
            except Exception:
                # A defect must not end the thread: the next champion would never come.
                log.exception("looking at the registry failed")

    def look(self) -> None:
        """Look at the registry once: switch to a new champion, close what is not used."""
        if monotonic() >= self._own_from:
            self._follow_own_model()

        self._read_registry()
        champion = self._contents.aliases.get(CHAMPION)
        if champion is not None and champion != self._champion:
            opened = self._try_version(champion)
            if opened is not None:
                self._make_champion(opened)

        self._compare()
        self._close_unused()
        if self._closed_some:  # here nothing refers to them any more
            self._closed_some = False
            collect_lasting()
        self.observe()

    def _follow_own_model(self) -> None:
        """Change from the demo's model to the user's own one, once it has a champion that can be served."""
        try:
            own = self.source.successor()
            contents = Contents() if own is None else own.contents()
        except Exception:  # `_read_registry` tells of a registry that cannot be read
            return

        if own is not None and CHAMPION in contents.aliases and not self._ended.is_set():
            self._loader.submit(self._change_source, own, contents).result()

    def _change_source(self, own: RegistrySource, contents: Contents) -> None:
        """Open the champion of another model, and answer with it. In the thread that opens versions."""
        key = contents.aliases[CHAMPION]
        try:
            opened = start_engine(own.name, key, own.open(key), self._limits)
        except Exception as error:
            log.warning(
                "version %s of %s cannot be served, so %s stays in use: %s",
                key,
                own.name,
                self.name,
                reason_of(error),
            )
            self._own_from = monotonic() + RETRY_SECONDS
            return

        with self._lock:
            self._left += self._open.values()
            self._open = {key: opened}
            self._refused = {}
            self._contents = contents
            self.source = own
            self.name = own.name
            self._make_champion(opened)

        self.metrics.versions.labels("opened").inc()

    def _read_registry(self) -> None:
        try:
            contents = self.source.contents()
        except Exception as error:
            if not self.registry_error:
                log.warning(
                    "the registry cannot be read, so the present champion stays in service: %s",
                    error,
                )
            self.registry_error = reason_of(error)
        else:
            with self._lock:
                self._contents = contents
                self._forget_old_refusals()
            if self.registry_error:
                log.info("the registry can be read again")
            self.registry_error = ""

        self.metrics.ready.set(not self.registry_error)

    def _forget_old_refusals(self) -> None:
        """Forget refusals that may be tried again, but of versions with an alias. Needs the lock."""
        named = set(self._contents.aliases.values())
        for key, refusal in list(self._refused.items()):
            is_old = monotonic() - refusal.clock >= RETRY_SECONDS
            if is_old and key not in named:
                del self._refused[key]

    def _compare(self) -> None:
        """Note where the registry no longer names the champion that is served; log it once."""
        note = ""
        served = self.champion
        if served is not None and not self.registry_error:
            if not self._contents.created:
                note = f"no version of {self.name} is registered any more"
            elif served.key not in self._contents.created:
                note = f"version {served.key} was deleted"
            elif CHAMPION not in self._contents.aliases:
                note = f"{self.name} has no champion any more"
            if note:
                note = f"{note}; {served.id} stays in use until there is a new champion"

        if note and note != self.registry_note:
            log.warning("%s", note)

        self.registry_note = note

    def _try_version(self, key: str) -> OpenVersion | None:
        """Return a version, opened if need be; None if it is refused."""
        try:
            return self._open.get(key) or self._start_loading(key).result()
        except UnusableVersion:
            return None

    def _close_unused(self) -> None:
        """Close versions without a role beyond the limit, and those not used for long; the champion stays."""
        with self._lock:
            others = self._without_role()
            beyond = others[: max(0, len(others) - self.settings.max_versions)]
            closed: list[OpenVersion] = []
            for version in list(self._open.values()):
                is_idle = version.used < monotonic() - IDLE_SECONDS
                in_use = version.leases or version.key == self._champion
                if not in_use and (is_idle or version in beyond):
                    del self._open[version.key]
                    closed.append(version)

            closed += [version for version in self._left if not version.leases]
            self._left = [version for version in self._left if version.leases]

        self._end(closed)

    def observe(self) -> None:
        """Add the engines' counts to the metrics."""
        figures = {version.key: version.engine.figures() for version in self.open_versions()}
        self.metrics.observe(self.name, figures)

    def _end(self, closed: Sequence[OpenVersion]) -> None:
        for one in closed:
            one.engine.close(CLOSE_SECONDS)
            self.metrics.versions.labels("closed").inc()
            log.info("%s is closed", one.id)
            self._closed_some = True

    def drain(self) -> None:
        """Note that the server is shutting down, for `/readyz`; versions that are open go on answering."""
        self._ended.set()

    def close(self) -> None:
        """End all engines; texts in progress end without a finish reason."""
        self._ended.set()
        self._loader.shutdown(wait=False, cancel_futures=True)
        if self._watch.ident:
            self._watch.join(1.0)
        for one in [*self.open_versions(), *self._left]:
            one.engine.close(0)
