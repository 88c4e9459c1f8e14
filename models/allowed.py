"""Describe the allowed values of an option in words, for error messages and for the reference of settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import EnumType
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

PLAIN = {
    int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path", Any: "any value",
    NoneType: "'none' to do without",
}  # fmt: skip
SEVERAL = {"a whole number": "whole numbers in a row", "a number": "numbers in a row", "text": "names in a row"}
NARROW = 1_000
"""Largest upper limit of whole numbers whose range is written "between … and …"."""
TECHNICAL = 2**31 - 1
"""An upper limit from here on only keeps numbers from overflowing: any finite number that makes sense is allowed."""
OUT_OF_RANGE = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")


def allowed_values(kind: Any, metadata: Iterable[Any] = ()) -> tuple[str, str]:
    """Return the kind of values of an annotation, and their range: ("a whole number", "at least 1 and at most 256").

    Args:
        metadata: What is declared about the option besides, e.g. by pydantic's `Field`; only bounds are used.
    """
    origin, inside = get_origin(kind), get_args(kind)
    limits = range_in_words(**{name: float(bound) if kind is float else bound for name, bound in bounds_in(metadata)})
    if origin is Annotated:
        return allowed_values(inside[0], (*inside[1:], *metadata))
    if origin in (Union, UnionType):
        found = [allowed_values(one) for one in inside]
        nouns = ", or ".join(dict.fromkeys(noun for noun, _ in found))
        return nouns, limits or next((each for _, each in found if each), "")
    if origin in (tuple, list):
        noun, each = allowed_values(inside[0])
        count = "" if inside[-1] is Ellipsis or origin is list else f"{len(inside)} "
        return f"{count}{SEVERAL.get(noun, f'several, each {noun}')}", each and f"each {each}"
    if origin is Literal:
        return f"one of {', '.join(inside)}", ""
    if isinstance(kind, EnumType):
        return f"one of {', '.join(kind)}", ""
    if origin is dict:
        return f"{allowed_values(inside[1])[0]} by name", ""
    return PLAIN.get(kind, "a section of options"), limits


def bounds_in(metadata: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the bounds among what is declared about an option: their names ("ge", "gt", "le", "lt") and values."""
    for each in metadata:
        if isinstance(each, FieldInfo):
            yield from bounds_in(each.metadata)
        for name in ("ge", "gt", "le", "lt"):
            if (bound := getattr(each, name, None)) is not None:
                yield name, bound


def range_in_words(ge: Any = None, gt: Any = None, le: Any = None, lt: Any = None) -> str:
    """Describe a range by its bounds, with pydantic's names: at least, above, at most, below."""
    if ge is not None and lt is not None:
        return f"in [{_written(ge)}, {_written(lt)})"
    if isinstance(ge, int) and isinstance(le, int) and le <= NARROW:
        return f"between {ge} and {le}"
    lower = "" if ge is None else f"at least {_written(ge)}"
    lower = lower if gt is None else f"above {_written(gt)}"
    upper = "" if le is None else f"at most {_written(le)}"
    if le is not None and le >= TECHNICAL:
        lower = "0 or more" if ge == 0 else lower
        upper = upper if isinstance(le, int) else f"finite ({upper})"
    upper = upper if lt is None else f"below {_written(lt)}"
    return " and ".join(filter(None, (lower, upper)))


def _written(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


def explain(spec: Any, error: Mapping[str, Any], show: Callable[[Any], str] = repr) -> str:
    """Say in one sentence what is wrong with which option, and what is allowed.

    Args:
        spec: The class whose options were read.
        error: One of pydantic's errors, with its location from *spec* on.
        show: Function that writes a value.
    """
    kind, place = error["type"], ".".join(map(str, error["loc"]))
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{spec.__name__} has no option {place!r} in this version"
    field, depth = field_at(spec, error["loc"])
    if field is None or kind == "value_error" or kind.startswith("union_tag"):
        return str(error["msg"]).removeprefix("Value error, ")
    noun, limits = allowed_values(field.annotation, field.metadata)
    place, inside = ".".join(map(str, error["loc"][:depth])), error["loc"][depth:]  # inside: an entry of a list
    if inside:
        allowed = ", ".join(filter(None, (noun, limits)))
    elif kind in OUT_OF_RANGE:
        allowed = limits + (f", or {PLAIN[NoneType]}" if PLAIN[NoneType] in noun else "")
    else:
        special = {"finite_number": "a finite number", "truth_value": "a number", "too_short": f"one or more {noun}"}
        allowed = special.get(kind, noun)
    value = "far too large" if kind == "far_too_large" else show(error["input"])
    verb = "has" if inside and isinstance(inside[-1], int) and kind != "missing" else "is"
    return f"{place} {verb} {value}; it must be {allowed}"


def field_at(spec: Any, loc: Sequence[int | str]) -> tuple[FieldInfo | None, int]:
    """Return the declaration of the option at a location, and how many parts of the location name it."""
    field, kind = None, spec
    for depth, part in enumerate(loc):
        if get_origin(kind) is dict:
            field = FieldInfo.from_annotation(get_args(kind)[1])
        elif part in getattr(kind, "__pydantic_fields__", {}):
            field = kind.__pydantic_fields__[part]
        else:
            return field, depth
        kind = field.annotation
    return field, len(loc)
