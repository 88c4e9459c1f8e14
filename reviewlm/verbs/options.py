"""What the verbs share: options, the configuration in force, and how a flow is run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from reviewlm.environment import prepare_environment, reaching_prefect, wake_on_interrupt
from reviewlm.errors import (
    FULL,
    REFUSED,
    ArtifactError,
    BundleError,
    Diverged,
    FitError,
    InputError,
    NotWritable,
    OutOfMemory,
    ReviewLMError,
    StoreFull,
)

if TYPE_CHECKING:
    from models.base import ModelError
    from reviewlm.config import RunConfig

Preset = Annotated[str, typer.Option("--preset", help="A preset of config/, or the path of a TOML file.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Override a setting: key=value. May be repeated.")]
Json = Annotated[bool, typer.Option("--json", help="End with one line of JSON.")]
Input = Annotated[list[str] | None, typer.Option("--input", help="File, folder or glob of reviews. May be repeated.")]
Rebuild = Annotated[list[str] | None, typer.Option("--rebuild", help="Stage to build anew. May be repeated.")]
Stars = Annotated[int | None, typer.Option("--stars", min=0, max=5, help="Rating; none: as in the data.")]
Result = TypeVar("Result")
BRANCHES: dict[str, type[ReviewLMError]] = {
    "fit": FitError, "diverged": Diverged, "memory": OutOfMemory, "bundle": BundleError, "input": InputError,
}  # fmt: skip
WHOLE_FLOWS = ("retrain", "compare", "drift", "lr_find", "optimizers", "reproduce", "rescore", "sweep", "scaling")
"""Flows with a module of their own; the others, which stop half-way, stand in `flows/partial.py`."""
NeuralModel = Annotated[
    str, typer.Option("--model", help="Name of a neural model of the preset; needed where it has several.")
]
Model = Annotated[str, typer.Option("--model", help="Alias or number of a registered version.")]


def configured(preset: str, overrides: list[str] | None) -> RunConfig:
    """Return the configuration, with this process's environment set up for it."""
    from reviewlm import services
    from reviewlm.presets import load_config  # the verbs that need no configuration start in half the time without

    config = load_config(preset, overrides or [])
    prepare_environment(config.home)
    services.join(config.home)
    return config


def with_rebuild(overrides: list[str] | None, rebuild: list[str] | None) -> list[str]:
    """Return the overrides, those of `--rebuild` among them."""
    return [*(overrides or []), *([f"execution.rebuild={list(rebuild)!r}"] if rebuild else [])]


def run_flow(
    name: str, preset: str, input: list[str] | None, overrides: list[str],
    check: Callable[[RunConfig], object] = lambda config: None,
    kept: str = "a rerun goes on from what is finished", **arguments: Any,
) -> dict[str, Any]:  # fmt: skip
    """Import the flows only now, run one, and give back its result.

    Args:
        name: Of the flow.
        preset: As given.
        input: Reviews.
        overrides: Settings.
        check: Raises where the configuration is not what the flow needs, before a Prefect server is started for it.
        kept: What is said where someone interrupts it.
        arguments: The flow's own, beside those that all have.
    """
    check(configured(preset, overrides))
    logging.getLogger(__name__).info("starting; a Prefect server of its own takes some seconds to be ready")
    module = import_module(f"flows.{name}" if name in WHOLE_FLOWS else "flows.partial")
    chosen: Callable[..., dict[str, Any]] = getattr(module, name)
    wake_on_interrupt()
    try:
        with reaching_prefect():
            return chosen(preset, list(input or []), overrides, **arguments)
    except KeyboardInterrupt:
        logging.getLogger(__name__).warning("%s", kept)
        raise


def opened(config: RunConfig, reference: str) -> tuple[Any, Any]:
    """Return a registered version's bundle, and the version."""
    from tracking.opening import open_version

    return open_version(config, reference)


def checked(work: Callable[[], Result]) -> Result:
    """Run something of `models`; its complaints become errors of ours, each with its exit code."""
    from models.base import ModelError

    try:
        return work()
    except ModelError as error:
        raise complaint(error) from error


def complaint(error: ModelError) -> ReviewLMError:
    """Return a complaint of `models` as ours; what the disk refused has the operating system's error as its cause."""
    if error.kind != "disk":
        return BRANCHES.get(error.kind, ReviewLMError)(str(error))
    number = getattr(error.__cause__, "errno", None)
    kind = StoreFull if number in FULL else NotWritable if number in REFUSED else ArtifactError
    return kind(str(error), remedy="free some space, or name another place")
