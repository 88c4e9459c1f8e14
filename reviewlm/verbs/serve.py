"""Define the commands that serve a registered model over HTTP, and that make access tokens for it."""

from __future__ import annotations

import json as json_text
import os
import socket
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.processes import interrupts, standard_streams
from reviewlm import terminal
from reviewlm.early_checks import require_device
from reviewlm.options import Json, Preset, RegisteredModel, Set, checked, configured

if TYPE_CHECKING:
    from core.config.run_config import RunConfig

app = typer.Typer()
tokens_app = typer.Typer(no_args_is_help=True, help="Make, list and remove access tokens of `reviewlm serve`.")
Name = Annotated[str, typer.Argument(help="Name of the token: who or what uses it.")]


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on. Default: this machine only.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65_535, help="Port; 0: any free one. Default: 8000.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, max=256, help="Processes that share the port. Default: 1.")
    ] = None,
    without_tokens: Annotated[
        bool, typer.Option("--without-tokens", help="Answer everyone, also on an address that others can reach.")
    ] = False,
    inherited: Annotated[str, typer.Option("--inherited", hidden=True, help="Of a worker: socket and pipe.")] = "",
    model: RegisteredModel = "", preset: Preset = "small", set: Set = None, json: Json = False,
) -> None:
    """Serve the champion over HTTP: OpenAI's completions, suggestions, scores. Follows promotions and rollbacks."""
    given = [f"serving.{name}={value}" for name, value in (("host", host), ("port", port), ("workers", workers))
             if value is not None]  # fmt: skip
    overrides = [*(set or []), *given, *([f"promotion.model_name={model}"] if model else [])]
    config = configured(preset, overrides)
    require_device(config, checked)
    from serving import server
    from serving.workers import share

    server.require_safe(config, without_tokens)
    if inherited:
        _work(config, inherited)
        return
    listener = server.listening(config)
    address = server.address_of(listener)
    if config.serving.workers == 1:
        server.serve(config, listener, lambda version: _show(address, {"model": version.id}, config, json))
        return
    sets = [word for override in overrides for word in ("--set", override)]
    command = ["-m", "reviewlm.cli", "serve", "--preset", preset, *sets, *(["--without-tokens"] * without_tokens)]
    share(
        command, config.serving.workers, listener, config.serving.drain_seconds,
        lambda told: _show(address, told, config, json),
    )


def _work(config: RunConfig, inherited: str) -> None:
    """Answer as one of several workers."""
    from serving import server

    interrupts.leave_silently()
    listener, pipe = map(int, inherited.split(","))
    server.serve(
        config, socket.socket(fileno=listener),
        lambda version: os.write(pipe, f"{json_text.dumps({'model': version.id})}\n".encode()),
    )


def _show(address: str, told: dict[str, Any], config: RunConfig, json: bool) -> None:
    """Say where the model answers, and how to ask it."""
    if json:
        standard_streams.answer_now({"address": address, "workers": config.serving.workers, **told})
    terminal.say(f"Serving {told['model']}, the champion, at {address}")
    body = """'{"prompt": "the food was"}'"""
    terminal.say(f"Try: curl -s {address}/suggest -H 'Content-Type: application/json' -d {body}", whole=True)
    terminal.say("Ctrl-C ends it; a promotion or a rollback changes the champion without a restart.")


@tokens_app.command("add")
def add(name: Name, preset: Preset = "small", set: Set = None, json: Json = False) -> None:
    """Make a token and show it, this once: only its hash is kept. From then on the server needs a token."""
    from core.access_tokens import FILE, add_token

    file = configured(preset, set).home / FILE
    token = add_token(file, name)
    terminal.say(f"Token of {name}, which is not shown again:")
    terminal.say(token, whole=True)
    terminal.last_line({"name": name, "token": token, "file": str(file)}, json)


@tokens_app.command("list")
def list_(preset: Preset = "small", set: Set = None, json: Json = False) -> None:
    """List the names of the tokens."""
    from core.access_tokens import FILE, list_tokens

    rows = list_tokens(configured(preset, set).home / FILE)
    terminal.show_rows(rows)
    terminal.last_line({"tokens": rows}, json)


@tokens_app.command("remove")
def remove(name: Name, preset: Preset = "small", set: Set = None, json: Json = False) -> None:
    """Remove a token; a running server refuses it at once."""
    from core.access_tokens import FILE, remove_token

    remove_token(configured(preset, set).home / FILE, name)
    terminal.say(f"The token of {name} is removed.")
    terminal.last_line({"removed": name}, json)
