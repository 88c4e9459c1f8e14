"""Define the commands that serve a model, with its access tokens, and that start and stop the services."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from reviewlm import terminal
from reviewlm.core.credentials import (
    TOKENS_FILE,
    USER,
    add_token,
    credentials_of,
    list_tokens,
    password_of,
    remove_token,
)
from reviewlm.core.errors import ConfigError, TrackingUnavailable
from reviewlm.core.processes import standard_streams
from reviewlm.core.processes.interrupts import during, hear_interrupt, idle
from reviewlm.flow_runs import require_device
from reviewlm.options import Json, Preset, RegisteredModel, Set, configure

if TYPE_CHECKING:
    from reviewlm.core.config.sections.evaluation import PromotionConfig
    from reviewlm.core.config.sections.execution import ServingConfig
    from reviewlm.core.config.sections.other_models import ClassificationConfig
    from reviewlm.core.workspace import Workspace
    from reviewlm.tracking.runs.runs import Tracker

tokens_app = typer.Typer(
    no_args_is_help=True, help="Make, list and remove access tokens of `reviewlm serve`."
)
Name = Annotated[str, typer.Argument(help="Name of the token: who or what uses it.")]
DEPLOYMENTS_PAGE = "/deployments?sort=NAME_DESC"
"""Page of Prefect on which `weekly` is the first deployment; by default it is the last one, on a second page."""


def start(
    with_server: Annotated[
        bool, typer.Option("--serve", help="Serve the champion over HTTP, too.")
    ] = False,
    deploy: Annotated[
        bool,
        typer.Option(
            "--deploy", help="Deploy what prefect.yaml has changed; keep what Prefect has."
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="With --deploy: also replace what was changed in Prefect's pages."
        ),
    ] = False,
    stay: Annotated[
        bool,
        typer.Option(
            "--stay", help="Stay, and start killed services again, until `services stop`."
        ),
    ] = False,
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Start Prefect server, MLflow UI and workers, create pools and limits, deploy, and print the addresses.

    \b
    Example:
      reviewlm services start --serve
    """
    from reviewlm.core.services import launch
    from reviewlm.flows.server.tables import require_current_tables
    from reviewlm.tracking.client import require_whole
    from reviewlm.tracking.registry.locating import asked_model, tracker_at
    from reviewlm.tracking.registry.registry import Registry
    from reviewlm.tracking.registry.versions import CHAMPION

    if overwrite and not deploy:
        raise ConfigError("--overwrite changes what --deploy does", remedy="give both")
    config = configure(preset, set)
    require_whole(config.tracking_address)
    require_current_tables(config.home)
    tracker = tracker_at(config.workspace)
    has_champion = False
    if with_server:
        registry = Registry(tracker, asked_model(tracker, config.promotion.model_name))
        has_champion = registry.alias(CHAMPION) is not None

    server = []
    if has_champion:
        server = _server_command(preset, set or [])

    uri = config.execution.tracking_uri
    addresses = launch.start(
        config.home,
        uri,
        server,
        deploy,
        overwrite,
    )
    schedules = launch.schedules(config.home)
    model_name = config.promotion.model_name
    pages = _mlflow_pages(config.workspace, tracker, model_name, addresses["MLflow"])
    _show_services(
        config.home,
        addresses,
        schedules,
        pages,
        model_name,
        json,
    )
    if with_server and not has_champion:
        terminal.say(
            "Nothing is served yet, because there is no champion. After a promotion, start again."
        )

    terminal.last_line(
        {
            **addresses,
            **pages.links(),
            "schedules": schedules,
        },
        json,
    )
    if stay:
        standard_streams.answer_now(standard_streams.document or {})
        with idle():
            launch.stay(config.home, uri, server, threading.Event())


def _server_command(preset: str, overrides: Sequence[str]) -> list[str]:
    """Return the arguments of Python that serve the champion of a preset, from any folder."""
    if Path(preset).is_file():
        preset = str(Path(preset).absolute())

    settings = [word for override in overrides for word in ("--set", override)]
    return ["-m", "reviewlm.cli", "serve", "--preset", preset, *settings]


class _MlflowPages(NamedTuple):
    """Addresses of MLflow's pages.

    Attributes:
        name: Name of the registered model that they are about.
        runs: Page of the runs.
        models: Page of the models of the newest retrain.
        registry: Page of the registered versions.
    """

    name: str
    runs: str
    models: str
    registry: str

    def links(self) -> dict[str, str]:
        """Return the fields of the answer."""
        return {
            "runs": self.runs,
            "models": self.models,
            "registry": self.registry,
        }


def _mlflow_pages(
    workspace: Workspace,
    tracker: Tracker,
    model_name: str,
    address: str,
) -> _MlflowPages:
    """Return the pages of the user's model, or of the demo's; only MLflow's address while another server is away."""
    from reviewlm.tracking.registry.locating import asked_model, tracker_at

    pages = _MlflowPages(model_name, address, address, address)
    with suppress(TrackingUnavailable):
        name = asked_model(tracker, model_name)
        pages = pages._replace(name=name)
        experiment = workspace.execution.experiment or name
        tracker = tracker_at(replace(workspace, experiment=experiment))
        pages = pages._replace(runs=tracker.runs_page)
        pages = pages._replace(models=tracker.models_page)
        pages = pages._replace(registry=tracker.registry_page(name))

    return pages


def _show_services(
    home: Path,
    addresses: Mapping[str, str],
    schedules: Mapping[str, str],
    pages: _MlflowPages,
    own_model: str,
    json: bool,
) -> None:
    """Show the addresses of the services, the deployments with a schedule, MLflow's pages, and the login."""
    terminal.say()
    # A password must not end up in a file or a log. Where it is shown, nothing else needs to say how to see it.
    with_login = sys.stdout.isatty() and not json
    left_out = {"MLflow", "password"} if with_login else {"MLflow"}
    facts = {name: value for name, value in addresses.items() if name not in left_out}
    terminal.show_facts(facts | {"Prefect": f"{addresses['Prefect']}{DEPLOYMENTS_PAGE}"})
    if schedules:
        terminal.say(
            "\nDeployments with a schedule (to change one: its page in Prefect, or prefect.yaml)"
        )
        terminal.show_facts({f"  {name}": text for name, text in schedules.items()})

    terminal.say("\nMLflow")  # its address alone opens a welcome page
    terminal.say(f"  runs, and which model is in use:  {pages.runs}", whole=True)
    terminal.say(f"  models of the newest retrain:     {pages.models}", whole=True)
    terminal.say(f"  versions of {pages.name}:".ljust(36) + pages.registry, whole=True)
    if pages.name != own_model:
        terminal.say(
            "These are the demo's. After the first run of your own reviews, start again for its links."
        )

    if with_login:
        terminal.say()
        _say_login(home)


def status(
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Show which services run on this machine, and whether they answer."""
    from reviewlm.core.services import launch

    rows = launch.status(configure(preset, set, create=False).home)
    shown = [{**row, "process": str(row["process"])} for row in rows]
    terminal.show_rows(shown, empty="No service runs. `reviewlm services start` starts them.")
    terminal.last_line({"services": rows}, json)


def password(
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Show the login data of the Prefect and MLflow pages."""
    home = configure(preset, set).home
    _say_login(home)
    terminal.last_line(
        {
            "user": USER,
            "password": password_of(home),
            "for Prefect": credentials_of(home),
        },
        json,
    )


def _say_login(home: Path) -> None:
    """Show the login of each page: MLflow asks for user and password, Prefect for both in one field."""
    terminal.say(
        f"MLflow asks for a user:      {USER}\nand a password:              {password_of(home)}",
        whole=True,
    )
    terminal.say(f"Prefect has one field for both:  {credentials_of(home)}", whole=True)


def stop(
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Stop the processes that `services start` started."""
    from reviewlm.core.services import service_list

    stopped = ", ".join(service_list.stop(configure(preset, set, create=False).home))
    terminal.show_result({"stopped": stopped or "nothing was running"}, json)


def serve(
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on. Default: this machine only.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            min=0,
            max=65_535,
            help="Port; 0: any free one. Default: 8000.",
        ),
    ] = None,
    without_tokens: Annotated[
        bool,
        typer.Option(
            "--without-tokens", help="Answer everyone, also on an address that others can reach."
        ),
    ] = False,
    model: RegisteredModel = "",
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Serve the champion over HTTP, with a page to type on.

    OpenAI's completions, suggestions, scores. It follows promotions and rollbacks.

    With a registered classifier it also answers `/classify`; without a language model, only that.

    \b
    Examples:
      reviewlm serve
      reviewlm serve --port 8080
      reviewlm serve --host 0.0.0.0 --without-tokens
    """
    hear_interrupt()
    given = []
    for name, value in (("host", host), ("port", port)):
        if value is not None:
            given.append(f"serving.{name}={value}")

    overrides = [*(set or []), *given, *([f"promotion.model_name={model}"] if model else [])]
    config = configure(preset, overrides, create=False)
    _require_registered(config.workspace, config.promotion, config.classification)
    require_device(config.execution)
    from reviewlm.serving import server

    server.require_safe(config.serving, config.home, without_tokens)
    terminal.show_warnings(server.host_warnings(config.serving, config.home))
    listener = server.listening(config.serving)
    address = server.address_of(listener)
    if not config.execution.cluster:
        with during("starting the server"):
            server.serve(
                config, listener, lambda version: _show_address(address, version.facts(), json)
            )
        return

    port = listener.getsockname()[1]
    listener.close()  # Ray listens there
    from reviewlm.tasks.execution.cluster import connect

    connect(config.execution.cluster)
    from reviewlm.serving.ray_app import answer  # it imports Ray

    answer(config, port, lambda: _show_replicas(address, config.serving, json))


def _require_registered(
    workspace: Workspace,
    promotion: PromotionConfig,
    classification: ClassificationConfig,
) -> None:
    """Refuse to serve a home in which nothing is registered, before the seconds in which torch is imported.

    Raises:
        BundleError: Neither a language model nor a classifier is registered. A server that does not answer is left to
            the serving process.
    """
    from reviewlm.tracking.registry.locating import asked_model, tracker_at
    from reviewlm.tracking.registry.remedies import nothing_registered
    from reviewlm.tracking.registry.versions import CHAMPION, SCHEME, has_versions

    tracker = tracker_at(workspace)
    with suppress(TrackingUnavailable):
        name = asked_model(tracker, promotion.model_name)
        names = (name, classification.model_name)
        if not any(has_versions(tracker, one) for one in names):
            raise nothing_registered(tracker, f"{SCHEME}{name}@{CHAMPION}")


def _show_replicas(
    address: str,
    serving: ServingConfig,
    json: bool,
) -> None:
    """Say where the replicas answer."""
    least, most = serving.replicas
    if json:
        standard_streams.answer_now({"address": address, "replicas": [least, most]})
    message = f"{least} to {most} replicas serve the champion at {address}, and at this port of each node that has one"
    terminal.say(message)
    terminal.say("Ctrl-C ends them. They follow promotions and rollbacks by themselves.")


def _show_address(
    address: str,
    facts: dict[str, Any],
    json: bool,
) -> None:
    """Say where the model answers, and how to ask it."""
    if json:
        standard_streams.answer_now({"address": address, **facts})

    terminal.say(f"Serving {facts['model']}, the champion, at {address}")
    question = """-H 'Content-Type: application/json' -d """
    if facts["task"] == "classification":
        body = """'{"texts": ["The food was great."]}'"""
        terminal.say(
            "There is no language model yet; a first champion will be served as soon as it is there."
        )
        terminal.say(f"Try it: curl -s {address}/classify {question}{body}", whole=True)
    else:
        body = """'{"prompt": "the food was "}'"""
        terminal.say(f"Open {address}/ in a browser to try it.")
        terminal.say(f"Or: curl -s {address}/suggest {question}{body}", whole=True)
        terminal.say(f"Texts are written in {facts['numbers']}: {facts['why_numbers']}.")

    terminal.say("Ctrl-C ends it. It follows promotions and rollbacks by itself.")


@tokens_app.command("add")
def tokens_add(
    name: Name,
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Make a token and show it, this once: only its hash is kept. From then on the server needs a token.

    \b
    Example:
      reviewlm home tokens add dashboard
    """
    file = configure(preset, set).home / TOKENS_FILE
    token = add_token(file, name)
    terminal.say(f"Token of {name}, which is not shown again:")
    terminal.say(token, whole=True)
    terminal.last_line(
        {
            "name": name,
            "token": token,
            "file": str(file),
        },
        json,
    )


@tokens_app.command("list")
def tokens_list(
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """List the names of the tokens."""
    rows = list_tokens(configure(preset, set, create=False).home / TOKENS_FILE)
    terminal.show_rows(rows, empty="There is no token. `reviewlm home tokens add NAME` makes one.")
    terminal.last_line({"tokens": rows}, json)


@tokens_app.command("remove")
def tokens_remove(
    name: Name,
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Remove a token; a running server refuses it at once.

    \b
    Example:
      reviewlm home tokens remove dashboard
    """
    remove_token(configure(preset, set).home / TOKENS_FILE, name)
    terminal.say(f"The token of {name} is removed.")
    terminal.last_line({"removed": name}, json)
