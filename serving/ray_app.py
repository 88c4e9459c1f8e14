"""Answer with replicas of the server under Ray Serve: on one machine, or on the nodes of a cluster.

`reviewlm serve` runs it where `execution.cluster` is set; `serve run reviewlm.serving.ray_app:application KEY=VALUE …` and a
RayService of Kubernetes (`deploy/kubernetes/ray/`) name it. `preset` names a preset, other keys are settings.

Ray starts and ends replicas by the requests in progress. Requests with the same header `x-session-id` go to the same
replica as long as the number of replicas stays, and so find the states of what they have sent before.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Event
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it is read when ray is imported
import ray
from ray import serve
from ray.serve._private import replica as process

from reviewlm.core.config.presets import DEFAULT, load_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.environment import HOME_VARIABLE, prepare_environment
from reviewlm.core.errors import ReviewLMError
from reviewlm.core.processes import interrupts
from reviewlm.serving.api.app import create_app
from reviewlm.serving.lasting_objects import set_lasting
from reviewlm.serving.metrics import Metrics
from reviewlm.serving.server import (
    KEEP_ALIVE,
    close,
    host_warnings,
    open_champions,
    require_safe,
    tokens_of,
)

LOOPBACK = "127.0.0.1"
ROOM = 64
"""Requests that Ray gives a replica beyond those of its engine: the application itself refuses them, as always."""
UPSCALE_SECONDS = 5.0
"""Seconds of more requests until Ray starts replicas; it ends them after ten quiet minutes."""
BY_SESSION = {
    "request_router_class": "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
}
log = logging.getLogger(__name__)


@serve.deployment
@serve.ingress()
class Replica:
    """A process that answers: it opens the champion and follows it by itself."""

    def __init__(self, config: RunConfig, home: str) -> None:
        # The configured home is relative, and Ray may start processes elsewhere.
        os.environ[HOME_VARIABLE] = home
        prepare_environment(config.home, config.execution.group_access)
        if ray.util.get_node_ip_address() == LOOPBACK:
            # Ray 2.60 would open a port to the network, which unpickles.
            add = process.add_port_to_grpc_server

            def add_on_loopback(server: Any, address: str) -> Any:
                return add(server, address.replace("[::]", LOOPBACK))

            process.add_port_to_grpc_server = add_on_loopback

        self._config = config
        self._metrics = Metrics()
        self._versions, self._classifiers, _ = open_champions(config, self._metrics)

    def __serve_build_asgi_app__(self) -> Any:
        tokens = tokens_of(self._config.serving, self._config.home)
        app = create_app(
            self._versions,
            self._config.serving,
            self._metrics,
            tokens,
            self._classifiers,
        )
        set_lasting()
        return app

    def check_health(self) -> None:
        """Raise if the thread of an engine has ended: Ray then starts another replica."""
        open_versions = self._versions.open_versions()
        dead = [version.id for version in open_versions if not version.engine.figures().alive]
        if dead:
            raise RuntimeError(f"the engine of {', '.join(dead)} has ended")

    def __del__(self) -> None:
        close(self._versions, self._classifiers)


def application(arguments: Mapping[str, str]) -> serve.Application:
    """Return the application that Ray Serve runs; warn if it answers under every Host name.

    Args:
        arguments: `preset`, and settings by name.

    Raises:
        ConfigError: A setting is wrong, or the address is not safe.
    """
    sets = [f"{key}={value}" for key, value in arguments.items() if key != "preset"]
    config = load_config(arguments.get("preset", DEFAULT), sets)
    require_safe(config.serving, config.home, without_tokens=False)
    for sentence in host_warnings(config.serving, config.home):
        log.warning("%s", sentence)
    prepare_environment(config.home, config.execution.group_access)
    return _replicas(config)


def _replicas(config: RunConfig) -> serve.Application:
    """Return between least and most of `serving.replicas`, each with `serving.threads` cores."""
    settings = config.serving
    threads = settings.threads or 1
    least, most = settings.replicas
    gpus = 0.0
    if config.execution.device == "cuda":
        gpus = config.execution.gpu_share

    config = config.model_copy(update={"serving": settings.model_copy(update={"threads": threads})})
    deployment: Any = Replica  # a class only for mypy: the decorators return a Deployment
    scaling = {
        "min_replicas": least,
        "max_replicas": most,
        "target_ongoing_requests": max(1, settings.max_streams // 2),
        "upscale_delay_s": UPSCALE_SECONDS,
    }
    deployment = deployment.options(
        autoscaling_config=scaling,
        ray_actor_options={"num_cpus": threads, "num_gpus": gpus},
        max_ongoing_requests=settings.max_streams + settings.max_waiting + ROOM,
        graceful_shutdown_timeout_s=settings.drain_seconds,
        request_router_config=BY_SESSION,
    )
    return deployment.bind(config, str(config.home))


def answer(
    config: RunConfig,
    port: int,
    ready: Callable[[], None],
) -> None:
    """Answer with replicas of `execution.cluster` until this process is ended, and end them with it.

    Args:
        config: Names the cluster, to which this process is connected, registry, registered models and limits.
        port: Port of every node that has a replica.
        ready: Called once, when requests are answered.

    Raises:
        ReviewLMError: No replica can answer; its own message says why.
    """
    stopping = Event()
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    try:
        try:
            http_options = {
                "host": config.serving.host,
                "port": port,
                "keep_alive_timeout_s": KEEP_ALIVE,
            }
            # A busy machine needs more than Ray's minute, and the next call waits too.
            with suppress(TimeoutError):
                serve.start(http_options=http_options)
            serve.run(_replicas(config))
        except (RuntimeError, TimeoutError, ray.exceptions.RayError) as error:
            raise ReviewLMError(
                "The replicas cannot answer",
                where=config.execution.cluster,
                cause=str(error).strip(),
                remedy="`reviewlm serve --set execution.cluster=` shows the error of one server",
            ) from error
        with interrupts.drain_on_signal(stopping.set, config.serving.drain_seconds):
            ready()
            stopping.wait()
            serve.shutdown()
    finally:
        with suppress(ray.exceptions.RayError):
            serve.shutdown()
        ray.shutdown()
