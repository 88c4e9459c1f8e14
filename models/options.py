"""What all options of models share: complaints about their values, and how one is added later.

Some options have a part only beside certain values of others: `momentum` with the optimisers that have one. Away from
its default such an option is refused where it has no part: it would change nothing but the identity of a fit. A spec
class names them in its property `idle`: {option: where it has a part}, "section.option" for one of a section.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Any

LATER = {"later": True}
"""Marks (as a field's `metadata`) an option that a kind of model got after models of it had been stored.

At its default `specs.to_dict` leaves it out, so that their digests stay what they were.
"""
_as_written: ContextVar[bool] = ContextVar("as_written", default=False)


def require(holds: bool, name: str, value: object, allowed: str) -> None:
    """Raise ValueError naming the option, its value and the allowed range unless *holds*."""
    if not holds:
        raise ValueError(f"{name} is {value!r}; it must be {allowed}")


def refuse_idle(spec: Any) -> None:
    """Raise ValueError for an option that is away from its default where it has no part, unless `as_written`."""
    for name, where in spec.idle.items():
        value, default = _option(spec, name)
        value = tuple(value) if isinstance(value, list) else value
        fits = value == default or _as_written.get()
        left = "left out" if default is None else f"left at {default!r}"
        require(fits, name, value, f"{left}: it has a part only {where}")


@contextmanager
def as_written() -> Iterator[None]:
    """Within it specs keep options without a part: those of models that were stored before these were refused."""
    token = _as_written.set(True)
    try:
        yield
    finally:
        _as_written.reset(token)


def idle_of(spec: Any) -> dict[str, str]:
    """Return where the options have a part that have none in this spec, by full name, those of its sections too."""
    found: dict[str, str] = {}
    for entry in fields(spec):
        if is_dataclass(section := getattr(spec, entry.name)):
            found |= {f"{entry.name}.{name}": where for name, where in idle_of(section).items()}
    return found | getattr(spec, "idle", {})


def without_idle(spec: Any) -> Any:
    """Return the spec with every option that has no part at its default.

    Raises:
        ValueError: Its other options cannot be.
    """
    with as_written():
        for name in idle_of(spec):
            section, _, option = name.rpartition(".")
            default = _option(spec, name)[1]
            inside = {section: replace(getattr(spec, section), **{option: default})} if section else {option: default}
            spec = replace(spec, **inside)
    return replace(spec)


def one_of(option: str, values: tuple[str, ...]) -> str:
    """Return "with optimizer 'momentum' or 'nesterov'", as `idle` says it."""
    *most, last = (repr(value) for value in values)
    return f"with {option} " + (f"{', '.join(most)} or {last}" if most else last)


def _option(spec: Any, name: str) -> tuple[Any, Any]:
    """Return the value and the default of an option, by full name."""
    section, _, option = name.rpartition(".")
    holder = getattr(spec, section) if section else spec
    entry = next(entry for entry in fields(holder) if entry.name == option)
    if entry.default is MISSING:
        raise TypeError(f"{name} has no plain default; it cannot be left at it")
    return getattr(holder, option), entry.default
