"""What the verbs share: options, the configuration in force, and how a flow is run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any, TypeVar

import typer

from reviewlm import services
from reviewlm.config import RunConfig
from reviewlm.environment import prepare_environment, reaching_prefect, wake_on_interrupt
from reviewlm.errors import InputError, ReviewLMError
from reviewlm.presets import load_config

Preset = Annotated[str, typer.Option("--preset", help="A preset of config/, or the path of a TOML file.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Override a setting: key=value. May be repeated.")]
Json = Annotated[bool, typer.Option("--json", help="End with one line of JSON.")]
Input = Annotated[list[str] | None, typer.Option("--input", help="File, folder or glob of reviews. May be repeated.")]
Rebuild = Annotated[list[str] | None, typer.Option("--rebuild", help="Stage to build anew. May be repeated.")]
Stars = Annotated[int | None, typer.Option("--stars", min=0, max=5, help="Rating; none: as in the data.")]
Result = TypeVar("Result")
WHOLE_FLOWS = ("retrain", "drift")
"""Flows with a module of their own; the others, which stop half-way, stand in `flows/partial.py`."""
Model = Annotated[str, typer.Option("--model", help="Alias or number of a registered version.")]


def configured(preset: str, overrides: list[str] | None) -> RunConfig:
    """Return the configuration, with this process's environment set up for it."""
    config = load_config(preset, overrides or [])
    prepare_environment(config.home)
    services.join(config.home)
    return config


def with_rebuild(overrides: list[str] | None, rebuild: list[str] | None) -> list[str]:
    """Return the overrides, those of `--rebuild` among them."""
    return [*(overrides or []), *([f"execution.rebuild={list(rebuild)!r}"] if rebuild else [])]


def run_flow(name: str, preset: str, input: list[str] | None, overrides: list[str]) -> dict[str, Any]:
    """Import the flows only now, run one, and give back its result."""
    configured(preset, overrides)
    logging.getLogger(__name__).info("starting; a Prefect server of its own takes some seconds to be ready")
    module = import_module(f"flows.{name}" if name in WHOLE_FLOWS else "flows.partial")
    chosen: Callable[..., dict[str, Any]] = getattr(module, name)
    wake_on_interrupt()
    with reaching_prefect():
        return chosen(preset, list(input or []), overrides)


def opened(config: RunConfig, reference: str) -> tuple[Any, Any]:
    """Return a registered version's bundle, and the version."""
    from tracking.opening import open_version

    return open_version(config, reference)


def checked(work: Callable[[], Result]) -> Result:
    """Run something of `models` and turn a complaint about its arguments into an input error."""
    from models.base import ModelError

    try:
        return work()
    except ModelError as error:
        raise (InputError if error.kind == "input" else ReviewLMError)(str(error)) from error
