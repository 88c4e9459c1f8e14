"""Check the options of models: types, ranges, and options that have no effect.

Some options only take effect with certain values of others: `momentum` only with the optimisers that use it. Setting
an option that has no effect is an error: it would change nothing except the identity of the fit. A spec class lists
such options in its property `idle`: {option: where it takes effect}, with "section.option" for an option of a section.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import MISSING, fields, is_dataclass, replace
from functools import cache
from math import isfinite
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

LATER = {"later": True}
"""Mark (in a field's `metadata`) of an option that was added after models of its kind had been stored.

`specs.to_dict` leaves such an option out if it has its default value, so that the digests of stored models do not
change.
"""
MOST_WHOLE = 2**31 - 1
"""Largest whole number allowed as the value of an option."""
MOST = 1e12
"""Largest number allowed as the value of most options."""
LARGEST = 3e38
"""About the largest value of a weight (float32)."""
_as_written: ContextVar[bool] = ContextVar("as_written", default=False)


def require(holds: bool, name: str, value: object, allowed: str) -> None:
    """Raise ValueError that names the option, its value and the allowed range, unless *holds*."""
    if not holds:
        raise ValueError(f"{name} is {value!r}; it must be {allowed}")


def require_numbers(name: str, value: object, most: float = MOST) -> None:
    """Raise ValueError if a value, or a number nested in it, is too large or not finite.

    No option needs a whole number above `MOST_WHOLE`, and few need a number above `MOST`. Larger numbers may overflow
    32 and 64 bits.
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            require_numbers(f"{name}.{key}", inner, most)
    elif isinstance(value, list | tuple):
        for inner in value:
            require_numbers(name, inner, most)
    elif isinstance(value, Integral) and not isinstance(value, bool):
        require(abs(int(value)) <= MOST_WHOLE, name, _short(value), f"at most {MOST_WHOLE:,}")
    elif isinstance(value, float):
        require(isfinite(value) and abs(value) <= most, name, value, f"a finite number of at most {most:g}")


def require_types(spec: Any, unbounded: tuple[str, ...] = ()) -> None:
    """Raise ValueError unless every option of a spec has its annotated type and a usable size.

    Options come from presets, which are checked before, but also from Python and from the files of stored models.

    Args:
        spec: The options.
        unbounded: Names of options that may be as large as `LARGEST`, such as learning rates: a training with too high
            a rate ends with an error message of its own.
    """
    made: Any = type(spec)
    for name, kind in _types_of(made).items():
        value = getattr(spec, name)
        require(_fits(kind, value), name, _short(value), _named(kind))
        require_numbers(name, value, LARGEST if name in unbounded else MOST)


@cache
def _types_of(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {entry.name: hints[entry.name] for entry in fields(kind)}


def _fits(kind: Any, value: object) -> bool:
    """Return whether a value has an annotated type; a list is accepted for a tuple, a whole number for a float."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(_fits(one, value) for one in inside)
    if origin is Literal:
        return isinstance(value, str) and value in inside
    if origin is tuple:
        if not isinstance(value, Sequence) or isinstance(value, str):
            return False
        each = inside[:1] * len(value) if inside[-1] is Ellipsis else inside
        return len(each) == len(value) and all(map(_fits, each, value))
    if kind in (int, float):
        return isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    return isinstance(value, kind)


def _named(kind: Any) -> str:
    """Describe the values of a type for the user."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(_named(one) for one in inside)
    if origin is Literal:
        return f"one of {', '.join(inside)}"
    if origin is tuple:
        return {int: "whole numbers", float: "numbers"}.get(inside[0], "names") + " in a row"
    named = {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "left out"}
    return named.get(kind, "a section of options")


def _short(value: object) -> object:
    """Return a value that can be printed: Python refuses to print whole numbers with thousands of digits."""
    return "far too large" if isinstance(value, int) and value.bit_length() > 1_000 else value


def refuse_idle(spec: Any) -> None:
    """Raise ValueError for an option that has no effect but not its default value, except within `as_written`."""
    for name, where in spec.idle.items():
        value, default = _option(spec, name)
        value = tuple(value) if isinstance(value, list) else value
        fits = value == default or _as_written.get()
        left = "left out" if default is None else f"left at {default!r}"
        require(fits, name, value, f"{left}: it only takes effect {where}")


@contextmanager
def as_written() -> Iterator[None]:
    """Accept options without effect inside the `with` block: models stored before the check existed may have them."""
    token = _as_written.set(True)
    try:
        yield
    finally:
        _as_written.reset(token)


def idle_of(spec: Any) -> dict[str, str]:
    """Return the options of a spec and its sections that have no effect: full name → where the option takes effect."""
    found: dict[str, str] = {}
    for entry in fields(spec):
        if is_dataclass(section := getattr(spec, entry.name)):
            found |= {f"{entry.name}.{name}": where for name, where in idle_of(section).items()}
    return found | getattr(spec, "idle", {})


def without_idle(spec: Any) -> Any:
    """Return the spec with every option that has no effect set to its default.

    Raises:
        ValueError: Its other options are not valid.
    """
    with as_written():
        for name in idle_of(spec):
            section, _, option = name.rpartition(".")
            default = _option(spec, name)[1]
            inside = {section: replace(getattr(spec, section), **{option: default})} if section else {option: default}
            spec = replace(spec, **inside)
    return replace(spec)


def one_of(option: str, values: tuple[str, ...]) -> str:
    """Return a text such as "with optimizer 'momentum' or 'nesterov'", the form that `idle` uses."""
    *most, last = (repr(value) for value in values)
    return f"with {option} " + (f"{', '.join(most)} or {last}" if most else last)


def _option(spec: Any, name: str) -> tuple[Any, Any]:
    """Return the value and the default of the option with this full name."""
    section, _, option = name.rpartition(".")
    holder = getattr(spec, section) if section else spec
    entry = next(entry for entry in fields(holder) if entry.name == option)
    if entry.default is MISSING:
        raise TypeError(f"{name} has no plain default; it cannot be left at it")
    return getattr(holder, option), entry.default
