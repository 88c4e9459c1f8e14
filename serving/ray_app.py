"""Run replicas of the server under Ray Serve, with the application and the engine of `reviewlm serve`.

`python -m serving.ray_app KEY=VALUE …` starts Ray on this machine alone; `serve run serving.ray_app:application
KEY=VALUE …` uses a cluster. `preset` names a preset, other keys are settings (docs/how_to/deployment.md).
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
from collections.abc import Mapping
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # these are read when ray is imported
if __name__ == "__main__":
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray's ports are on the loopback address then, on Linux too
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # Ray would write one to the user's folder
import ray
from ray import serve
from ray.serve._private import replica as process

from core.config.presets import DEFAULT, load_config
from core.config.run_config import RunConfig
from core.environment import HOME_VARIABLE, available_cores, prepare_environment
from core.errors import ReviewLMError
from core.storing.sqlite_files import require_no_upgrade
from serving.api.app import create_app
from serving.metrics import Metrics
from serving.server import KEEP_ALIVE, close, host_warnings, open_champions, require_safe, tokens_of

LOOPBACK = "127.0.0.1"
log = logging.getLogger(__name__)
ROOM = 64
"""Requests that Ray gives a replica beyond those of its engine: the application itself refuses them, as always."""


@serve.deployment
@serve.ingress()
class Replica:
    """A process that answers: it opens the champion and follows it by itself."""

    def __init__(self, config: RunConfig, home: str) -> None:
        os.environ[HOME_VARIABLE] = home  # the configured one is relative, and Ray may start processes elsewhere
        prepare_environment(config.home, config.execution.group_access)
        if ray.util.get_node_ip_address() == LOOPBACK:  # Ray 2.60 would open a port to the network, which unpickles
            add = process.add_port_to_grpc_server
            process.add_port_to_grpc_server = lambda server, at: add(server, at.replace("[::]", LOOPBACK))
        self._config, self._metrics = config, Metrics()
        self._versions, self._classifiers, _ = open_champions(config, self._metrics)

    def __serve_build_asgi_app__(self) -> Any:
        tokens = tokens_of(self._config)
        return create_app(self._versions, self._config.serving, self._metrics, tokens, self._classifiers)

    def check_health(self) -> None:
        """Raise if the thread of an engine has ended: Ray then starts another replica."""
        if dead := [one.id for one in self._versions.open_versions() if not one.engine.figures().alive]:
            raise RuntimeError(f"the engine of {', '.join(dead)} has ended")

    def __del__(self) -> None:
        close(self._versions, self._classifiers)


def configured(arguments: Mapping[str, str]) -> RunConfig:
    """Return the configuration of KEY=VALUE arguments; raise ConfigError if one is wrong or the address is not safe."""
    sets = [f"{key}={value}" for key, value in arguments.items() if key != "preset"]
    config = load_config(arguments.get("preset", DEFAULT), sets)
    require_safe(config, without_tokens=False)
    require_no_upgrade(config.home)
    prepare_environment(config.home, config.execution.group_access)
    return config


def application(arguments: Mapping[str, str]) -> serve.Application:
    """Return what Ray Serve runs: `serving.workers` replicas; warn if they answer under every Host name."""
    config = configured(arguments)
    for sentence in host_warnings(config):
        log.warning("%s", sentence)
    most = config.serving.max_streams + config.serving.max_waiting + ROOM
    options = {"max_ongoing_requests": most, "graceful_shutdown_timeout_s": config.serving.drain_seconds}
    deployment: Any = Replica  # a class only for mypy: the decorators return a Deployment
    return deployment.options(num_replicas=config.serving.workers, **options).bind(config, str(config.home))


if __name__ == "__main__":
    given = dict(word.partition("=")[::2] for word in sys.argv[1:])
    try:
        settings = configured(given).serving
        cores = max(settings.workers, available_cores())
        ray.init("local", num_cpus=cores, include_dashboard=False, _node_ip_address=LOOPBACK)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        serve.start(http_options={"host": settings.host, "port": settings.port, "keep_alive_timeout_s": KEEP_ALIVE})
        serve.run(application(given), blocking=True)
    except ReviewLMError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        serve.shutdown()
