"""Parse the option values of the n-gram commands: method parameters, the engine."""

from __future__ import annotations

import difflib
import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from core.environment import available_cores
from core.errors import ConfigError

PARAMETERS = ("k", "alpha", "cut", "weights", "discounts", "fallback", "kenlm_exact")


def whole_numbers(given: str, option: str, least: int = 0) -> list[int]:
    """Parse whole numbers separated by commas, none below *least*."""
    try:
        numbers = [int(part) for part in given.replace(",", " ").split()]
        if any(number < least for number in numbers):
            raise ConfigError(f"{option} must be numbers of at least {least}", where=option, value=given)
        return numbers
    except ValueError as error:
        raise ConfigError(f"{option} must be whole numbers, separated by commas", where=option, value=given) from error


def engine_of(name: str, address: str, processes: int | None, folder: Path) -> AbstractContextManager[Any]:
    """Return a context manager that opens the engine of a fit; it yields None for threads.

    Args:
        name: "threads" or "dask"; an address selects Dask in any case.
        address: Address of Dask's scheduler; "" for workers on this machine.
        processes: Number of those workers; None for one per core.
        folder: A folder that all machines can access.
    """
    if name not in ("threads", "dask"):
        raise ConfigError("The engine must be 'threads' or 'dask'", where="--engine", value=name)
    if name == "threads" and not address:
        return nullcontext()
    from models.base import ModelError
    from tasks.dask_engine import dask_engine, require_dask

    try:
        require_dask()
    except ModelError as error:
        raise ConfigError(str(error), where="--engine") from error
    return dask_engine(address, processes or available_cores(), folder)


def parameters(given: list[str]) -> dict[str, Any]:
    """Parse the NAME=VALUE parameters of a method."""
    options: dict[str, Any] = {}
    for text in given:
        name, _, value = text.partition("=")
        if name not in PARAMETERS:
            near = difflib.get_close_matches(name, PARAMETERS, n=1) or PARAMETERS
            remedy = f"one of {', '.join(near)}, e.g. k=0.01"
            raise ConfigError("The method has no such parameter", where="--option", value=text, remedy=remedy)
        options[name] = _value(name, value)
    return options


def _value(name: str, text: str) -> float | bool | tuple[float, ...]:
    many = name in ("weights", "discounts", "fallback")
    try:
        found = json.loads(f"[{text}]")
        if name == "kenlm_exact" and not isinstance(found[0], bool):
            raise ValueError(name)
        if isinstance(found[0], str) and not many:
            raise ConfigError(f"{name} is {found[0]!r}; it must be a number", where="--option", value=text)
        return tuple(found) if many else found[0]
    except (ValueError, IndexError, RecursionError) as error:
        what = "numbers, separated by commas" if many else "one number (kenlm_exact: true or false)"
        raise ConfigError(f"{name} needs {what}", where="--option", value=text) from error
