"""Serve the champions over HTTP with uvicorn: open them, bind the port, finish open requests before the end."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path

import uvicorn

from reviewlm.core import credentials
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.evaluation import PromotionConfig
from reviewlm.core.config.sections.execution import ServingConfig
from reviewlm.core.credentials import AccessTokens
from reviewlm.core.errors import BundleError, ConfigError, ReviewLMError
from reviewlm.core.processes import interrupts
from reviewlm.core.workspace import Workspace
from reviewlm.serving.api.app import create_app
from reviewlm.serving.api.door import Door, is_loopback
from reviewlm.serving.connections import (
    AT_ONCE,
    TimedConnection,
    connections_allowed,
    tell_seldom,
)
from reviewlm.serving.lasting_objects import set_lasting
from reviewlm.serving.metrics import Metrics
from reviewlm.serving.versions.open_version import TOO_SLOW, OpenVersion, RegistrySource
from reviewlm.serving.versions.versions import Versions
from reviewlm.tracking.logged_models.export import CLASSIFIER
from reviewlm.tracking.registry.locating import tracker_at
from reviewlm.tracking.registry.remedies import nothing_registered, way_back
from reviewlm.tracking.registry.versions import CHAMPION, SCHEME

BACKLOG = 2_048
KEEP_ALIVE = 75
"""Seconds for which an idle connection stays open: more than the 60 of usual proxies, so that they close it first."""
NOTICE = 0.2
"""Seconds for which `/readyz` says that the server ends; then uvicorn closes the connections that are idle."""
log = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """A server that leaves the signals to `core/processes/interrupts.py`."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; the queue of connections stays longer than the number that is accepted at once."""
        tell_seldom(asyncio.get_running_loop())
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(BACKLOG)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer for a moment, so that connections that are open hear of the end, then finish the open requests."""
        await asyncio.sleep(NOTICE)
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no handlers."""
        yield


def token_file(serving: ServingConfig, home: Path) -> Path | None:
    """Return the file of access tokens: the configured one, or that of the home folder if there is one."""
    if serving.tokens:
        return Path(serving.tokens)
    file = home / credentials.TOKENS_FILE
    return file if file.exists() else None


def tokens_of(serving: ServingConfig, home: Path) -> AccessTokens | None:
    """Return the access tokens, None if everyone is answered.

    Raises:
        Unreadable: The file of tokens cannot be read.
    """
    file = token_file(serving, home)
    if file:
        return AccessTokens(file)
    return None


def require_safe(
    serving: ServingConfig,
    home: Path,
    without_tokens: bool,
) -> None:
    """Refuse to listen beyond this machine without access tokens, unless the user wants that.

    Raises:
        ConfigError: The address can be reached from elsewhere, and there are no tokens.
        Unreadable: The file of tokens cannot be read.
    """
    if tokens_of(serving, home) is None and not is_loopback(serving.host) and not without_tokens:
        raise ConfigError(
            "The server may not listen without access tokens on an address that other machines can reach",
            where="serving.host",
            value=serving.host,
            cause="everyone who reaches it could use the model",
            remedy="make one with `reviewlm home tokens add NAME`, or allow everyone with --without-tokens",
        )


def host_warnings(serving: ServingConfig, home: Path) -> list[str]:
    """Return a warning if every Host name is answered.

    Access tokens protect from pages that give their own name to this server's address: such a page has no token.
    Without tokens everyone who reaches the address may use the model, and through such a page others too.
    """
    if is_loopback(serving.host) or serving.hosts:
        return []
    pages = ""
    if not tokens_of(serving, home):
        pages = ", and without access tokens pages of others can use it through a browser"
    example = """--set 'serving.hosts=["reviews.example.org"]'"""
    return [f"The server answers under every Host name{pages}. Name its own: {example}"]


def listening(serving: ServingConfig) -> socket.socket:
    """Return a socket that listens on the configured address.

    Raises:
        ReviewLMError: The port is taken, or the address is not one of this machine.
    """
    host = serving.host
    port = serving.port
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
        # asyncio sets it only for sockets that name their protocol; without it, kept connections wait 40 ms per answer.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        what = "The server cannot listen on this address"
        remedy = "name another one with --host"
        if error.errno == errno.EADDRINUSE:
            what = "The port is in use"
            remedy = "`reviewlm serve --port 0` takes a free one"
        where = f"{host}:{port}"
        raise ReviewLMError(
            what,
            where=where,
            cause=str(error),
            remedy=remedy,
        ) from error


def address_of(listener: socket.socket) -> str:
    """Return the address of a socket as users type it."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "localhost"
    elif ":" in host:  # an IPv6 address
        host = f"[{host}]"
    return f"http://{host}:{port}"


def serve(
    config: RunConfig,
    listener: socket.socket,
    ready: Callable[[OpenVersion], None],
) -> None:
    """Open the champions and answer requests until the process is ended.

    Args:
        config: Names registry, registered models and limits.
        listener: A listening socket.
        ready: Called once, when requests are answered, with the champion: without a language model, the classifier.

    Raises:
        BundleError: There is no champion, neither a language model nor a classifier, or it cannot be served.
    """
    metrics = Metrics()
    versions, classifiers, champion = open_champions(config, metrics)
    try:
        app = create_app(
            versions,
            config.serving,
            metrics,
            tokens_of(config.serving, config.home),
            classifiers,
        )
        drain = config.serving.drain_seconds
        server = _Server(_uvicorn_config(app, drain))
        set_lasting()

        def stop() -> None:
            versions.drain()
            classifiers.drain()
            server.should_exit = True

        with interrupts.drain_on_signal(stop, drain):
            ready(champion)
            server.run(sockets=[listener])
    finally:
        close(versions, classifiers)


def _uvicorn_config(app: Door, drain_seconds: float) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="off",
        proxy_headers=False,
        http=TimedConnection,
        limit_concurrency=connections_allowed(),
        backlog=AT_ONCE,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=max(1, ceil(drain_seconds)),
        loop="asyncio",  # uvloop, which comes with Ray Serve, does not let the process end
    )


def open_champions(config: RunConfig, metrics: Metrics) -> tuple[Versions, Versions, OpenVersion]:
    """Open the champions and watch the registry.

    Returns:
        The versions of the language model and of the classifier, which the caller closes, and the champion that the
            server is there for.

    Raises:
        BundleError, TrackingUnavailable: As `serve`.
    """
    versions = Versions(
        RegistrySource(config.workspace, config.promotion.model_name), config.serving, metrics
    )
    classifiers = Versions(
        RegistrySource(config.workspace, config.classification.model_name, CLASSIFIER),
        config.serving,
        metrics,
    )
    try:
        classifiers.start()
        # A user who has named a language model wants that one: the classifier does not stand in for it.
        is_usual = config.promotion.model_name == PromotionConfig().model_name
        champion = first_of(versions, classifiers if is_usual else None)
        if champion is None:
            raise _unusable(versions, classifiers, config.workspace)
        return versions, classifiers, champion
    except BaseException:
        close(versions, classifiers)
        raise


def first_of(versions: Versions, classifiers: Versions | None) -> OpenVersion | None:
    """Return the version that the server is there for: the language model, or the classifier if there is no model.

    A language model that has a champion and cannot be served is an error: its users would get no answers.
    """
    champion = versions.start()
    if champion is None and classifiers and CHAMPION not in versions.contents().aliases:
        log.info("no language model is served yet")
        return classifiers.champion
    return champion


def close(*families: Versions) -> None:
    """End all engines."""
    for versions in families:
        versions.close()


def _unusable(
    versions: Versions,
    classifiers: Versions,
    workspace: Workspace,
) -> ReviewLMError:
    """Return why nothing can be served."""
    where = f"{SCHEME}{versions.name}@{CHAMPION}"
    refused = versions.refusals()
    if refused:
        last = refused[-1]
        listed = f"`reviewlm history --model {versions.name}` lists the versions"
        remedy = f"{listed}; {way_back(tracker_at(workspace), versions.name, int(last.key))}"
        if last.why == TOO_SLOW:
            remedy = f"end other work on this machine and `reviewlm serve --model {versions.name}`; else {remedy}"
        return BundleError(
            "The model cannot be served",
            where=where,
            cause=last.why,
            remedy=remedy,
        )

    refused = classifiers.refusals()
    if refused:
        where = f"{SCHEME}{classifiers.name}/{refused[-1].key}"
        return BundleError("The classifier cannot be served", where=where, cause=refused[-1].why)

    return nothing_registered(tracker_at(workspace), where)
