"""Declare model options as pydantic dataclasses, and describe their allowed values in words.

The annotations hold types, ranges and the marks below; error messages and the reference of settings are made from them.
A check that involves several options is a `require` in the class's `__post_init__`.

Some options only take effect with certain values of others: `momentum` only with the optimisers that use it. Setting
an option that has no effect is an error: it would change nothing except the identity of the fit.

Names of models, vocabularies, registered models and presets: a name becomes a file's name, part of an address, a cell
of a table and a line on a terminal. So one rule applies to all names, from any source: settings, a recorded
configuration, a bundle, an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from enum import EnumType
from numbers import Integral
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
)

import pydantic
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

FORBIDDEN = "/\\:@'\"`*?<>|"
"""Separators of paths and addresses, quotes (MLflow's filters cannot escape them), and signs that Windows forbids."""
LONGEST = 100
PLAIN = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "a path",
    Any: "any value",
    NoneType: "'none' to do without",
}
SEVERAL = {
    "a whole number": "whole numbers in a row",
    "a number": "numbers in a row",
    "text": "names in a row",
}
OUT_OF_RANGE = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")
MOST_WHOLE = 2**31 - 1
"""Largest whole number allowed as the value of an option: larger ones may overflow 32 bits."""
LARGEST_NUMBER = 1e12
"""Largest number allowed as the value of most options."""
LARGEST = 3e38
"""About the largest value of a weight (float32), and of options such as learning rates: a training with too high a rate
ends with an error message of its own."""
NONE = "none"
"""The text that stands for no value in a preset: TOML has no null."""


def require_name(name: str, label: str = "name") -> str:
    """Return *name* if it is valid; otherwise raise ValueError that says what is wrong with it.

    Args:
        label: Name of the option, for the message.
    """
    if fault := _fault(name):
        if len(name) <= LONGEST:
            shown = name
        else:
            shown = f"{name[:20]}…"

        raise ValueError(f"{label} is {shown!r}; {fault}")
    return name


def _fault(name: str) -> str:
    if not name.strip():
        return "a name is needed"
    if len(name) > LONGEST or len(name.encode("utf-8", "surrogatepass")) > 2 * LONGEST:
        return f"it has {len(name)} characters; a name has at most {LONGEST} ({2 * LONGEST} bytes)"
    if unfit := sorted({sign for sign in name if sign in FORBIDDEN or not sign.isprintable()}):
        return f"a name must not contain {' '.join(map(repr, unfit))}"
    if not (name[0].isalnum() or name[0] == "_"):
        return "a name must begin with a letter, a digit or '_'"
    if name[-1] in " .":
        return "a name must not end with a space or a full stop"

    return ""


def as_name(text: str, otherwise: str) -> str:
    """Turn *text*, for example a file's name, into a valid name: forbidden characters become "_".

    Args:
        otherwise: The name to return if the result is empty or still not valid.
    """
    fit = "".join("_" if sign in FORBIDDEN or not sign.isprintable() else sign for sign in text)
    cut = fit.encode()[:LONGEST].decode("utf-8", "ignore").lstrip(" .+-=#~&").rstrip(" .")
    return cut if cut and not _fault(cut) else otherwise


def allowed_values(kind: Any, metadata: Iterable[Any] = ()) -> tuple[str, str]:
    """Return the kind of values of an annotation, and their range: ("a whole number", "at least 1 and at most 256").

    Args:
        metadata: What is declared about the option besides, e.g. by pydantic's `Field`; only bounds are used.
    """
    origin = get_origin(kind)
    inside = get_args(kind)
    limits = range_in_words(
        **{name: float(bound) if kind is float else bound for name, bound in bounds_in(metadata)}
    )
    if origin is Annotated:
        return allowed_values(inside[0], (*inside[1:], *metadata))
    if origin in (Union, UnionType):
        descriptions = [allowed_values(one) for one in inside]
        nouns = ", or ".join(dict.fromkeys(noun for noun, _ in descriptions))
        return nouns, limits or next((each for _, each in descriptions if each), "")
    if origin in (tuple, list):
        noun, each = allowed_values(inside[0])
        if inside[-1] is Ellipsis or origin is list:
            count = ""
        else:
            count = f"{len(inside)} "

        return f"{count}{SEVERAL.get(noun, f'several, each {noun}')}", each and f"each {each}"
    if origin is Literal:
        return f"one of {', '.join(map(str, inside))}", ""
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
            bound = getattr(each, name, None)
            if bound is not None:
                yield name, bound


def range_in_words(**bounds: Any) -> str:
    """Describe a range by its bounds, with pydantic's names ge, gt, le, lt: at least, above, at most, below."""
    words = {
        "ge": "at least",
        "gt": "above",
        "le": "at most",
        "lt": "below",
    }
    return " and ".join(
        f"{word} {_number_text(bounds[name])}" for name, word in words.items() if name in bounds
    )


def _number_text(bound: float) -> str:
    if isinstance(bound, int):
        return f"{bound:,}"
    return f"{bound:g}"


def explain(
    spec: Any,
    error: Mapping[str, Any],
    show: Callable[[Any], str] = repr,
) -> str:
    """Say in one sentence what is wrong with which option, and what is allowed.

    Args:
        spec: The class whose options were read.
        error: One of pydantic's errors, with its location from *spec* on.
        show: Function that writes a value.
    """
    kind = error["type"]
    place = ".".join(map(str, error["loc"]))
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{spec.__name__} has no option {place!r} in this version"

    known, depth = field_at(spec, error["loc"])
    if known is None or kind == "value_error" or kind.startswith("union_tag"):
        return str(error["msg"]).removeprefix("Value error, ")

    noun, limits = allowed_values(known.annotation, known.metadata)
    place = ".".join(map(str, error["loc"][:depth]))
    inside = error["loc"][depth:]  # of an entry of a list
    if inside:
        allowed = ", ".join(filter(None, (noun, limits)))
    elif kind in OUT_OF_RANGE:
        allowed = limits + (f", or {PLAIN[NoneType]}" if PLAIN[NoneType] in noun else "")
    else:
        special = {
            "finite_number": "a finite number",
            "truth_value": "a number",
            "too_short": f"one or more {noun}",
        }
        allowed = special.get(kind, noun)

    value = "far too large"
    if kind != "far_too_large":
        value = show(error["input"])

    verb = "is"
    if inside and isinstance(inside[-1], int) and kind != "missing":
        verb = "has"

    return f"{place} {verb} {value}; it must be {allowed}"


def field_at(spec: Any, loc: Sequence[int | str]) -> tuple[FieldInfo | None, int]:
    """Return the declaration of the option at a location, and how many parts of the location name it."""
    found = None
    kind = spec
    for depth, part in enumerate(loc):
        if get_origin(kind) is dict:
            found = FieldInfo.from_annotation(get_args(kind)[1])
        elif part in getattr(kind, "__pydantic_fields__", {}):
            found = kind.__pydantic_fields__[part]
        else:
            return found, depth
        kind = found.annotation

    return found, len(loc)


Spec = TypeVar("Spec")
_as_written: ContextVar[bool] = ContextVar("as_written", default=False)


@dataclass(frozen=True)
class OnlyWith:
    """Mark an option that only takes effect if another option has one of some values.

    Args:
        option: Name of the other option, in the same class.
        values: These values.
    """

    option: str
    values: tuple[str | bool, ...]

    def __str__(self) -> str:
        *most, last = (
            str(value).lower() if isinstance(value, bool) else repr(value) for value in self.values
        )
        return f"with {self.option} " + (f"{', '.join(most)} or {last}" if most else last)


@dataclass(frozen=True)
class Unused:
    """Mark a section of which some options have no effect in this model.

    Args:
        options: Names of these options, in the section.
        where: Where they take effect, for messages.
    """

    options: tuple[str, ...]
    where: str


def _no_truth_value(value: Any) -> Any:
    """Return *value*; refuse true and false, which pydantic would read as 1 and 0."""
    if isinstance(value, bool):
        raise PydanticCustomError("truth_value", "it must be a number")
    # Python cannot even print it.
    if isinstance(value, Integral) and int(value).bit_length() > 1_000:
        raise PydanticCustomError("far_too_large", "it must be a number of usable size")
    return value


_NUMBER = BeforeValidator(_no_truth_value)
"""The last mark of a kind: pydantic names only bounds before it "minimum" and "maximum" in a JSON schema."""
Whole = Annotated[int, _NUMBER]
Number = Annotated[float, _NUMBER]
Count = Annotated[int, Field(ge=1, le=MOST_WHOLE), _NUMBER]
WholeOrZero = Annotated[int, Field(ge=0, le=MOST_WHOLE), _NUMBER]
Seed = WholeOrZero
DrawSeed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1), _NUMBER]
"""The seed of texts that are drawn: any whole number of 64 bits with a sign, as in OpenAI's interface."""
NotNegative = Annotated[float, Field(ge=0, le=LARGEST_NUMBER), _NUMBER]
Positive = Annotated[float, Field(gt=0, le=LARGEST_NUMBER), _NUMBER]
PositiveToLargest = Annotated[float, Field(gt=0, le=LARGEST), _NUMBER]
Share = Annotated[float, Field(ge=0, le=1), _NUMBER]
ShareAboveZero = Annotated[float, Field(gt=0, le=1), _NUMBER]
ShareBelowOne = Annotated[float, Field(ge=0, lt=1), _NUMBER]
OrNone = BeforeValidator(lambda value: None if value == NONE else value)
"""Mark of an option that may be None, which a preset writes as "none"."""
Name = Annotated[str, AfterValidator(require_name)]
"""A name that can be used as a file name, as part of an address and in a table cell (`models/options.py`)."""


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def options(spec: type[Spec]) -> type[Spec]:
    """Make a frozen pydantic dataclass of a class of options.

    Unknown options, values out of range and options without effect are errors, raised as one ValueError with one
    sentence where the class is called from Python.
    """
    spec.refuse_inapplicable = model_validator(mode="after")(_refuse_inapplicable)  # type: ignore[attr-defined]
    config = ConfigDict(extra="forbid", allow_inf_nan=False)
    made: Any = pydantic.dataclasses.dataclass(frozen=True, config=config)(spec)
    made.__init__ = _in_one_sentence(made, made.__init__)
    return made  # type: ignore[no-any-return]


def _in_one_sentence(spec: type, create: Callable[..., None]) -> Callable[..., None]:
    def __init__(self: Any, *values: Any, **named: Any) -> None:
        try:
            create(self, *values, **named)
        except ValidationError as error:
            raise ValueError(explain(spec, error.errors()[0])) from error

    return __init__


def require(
    holds: bool,
    name: str,
    value: object,
    allowed: str,
) -> None:
    """Raise ValueError that names the option, its value and the allowed range, unless *holds*."""
    if not holds:
        raise ValueError(f"{name} is {value!r}; it must be {allowed}")


def to_plain_values(spec: Any) -> dict[str, Any]:
    """Return all options as plain values, for files and digests."""
    return pydantic.TypeAdapter(type(spec)).dump_python(spec)  # type: ignore[no-any-return]


def identity(spec: Any) -> dict[str, Any]:
    """Return the options that a fit depends on as plain values: all but the names, which are only labels."""
    return {
        name: value
        for name, value in to_plain_values(spec).items()
        if name not in ("name", "vocabulary")
    }


def spec_of(
    values: dict[str, Any],
    kinds: Mapping[str, tuple[type, str]],
    noun: str = "kind",
) -> Any:
    """Rebuild a spec of one of some kinds from the result of `to_plain_values`, also after JSON (lists for tuples).

    Raises:
        ValueError: The kind or an option does not exist, or a value is not allowed.
    """
    kind = values.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise ValueError(f"there is no {noun} {str(kind)[:40]!r}; known: {', '.join(kinds)}")
    return kinds[kind][0](**values)


def inapplicable(spec: Any) -> dict[str, str]:
    """Return the options of a spec and its sections that have no effect: full name → where the option takes effect."""
    idle: dict[str, str] = {}
    for entry in fields(spec):
        if is_dataclass(section := getattr(spec, entry.name)):
            idle |= {f"{entry.name}.{name}": where for name, where in inapplicable(section).items()}
    return idle | _own_inapplicable(spec)


def _own_inapplicable(spec: Any) -> dict[str, str]:
    """Return the options that have no effect according to the marks of this spec's own fields."""
    idle: dict[str, str] = {}
    for entry in fields(spec):
        for mark in spec.__pydantic_fields__[entry.name].metadata:
            if isinstance(mark, OnlyWith) and getattr(spec, mark.option) not in mark.values:
                idle[entry.name] = str(mark)
            if isinstance(mark, Unused):
                idle |= {f"{entry.name}.{name}": mark.where for name in mark.options}
    return idle


def _refuse_inapplicable(spec: Spec) -> Spec:
    """Raise ValueError for options that have no effect but not their default value, except within `as_written`."""
    refused = []
    for name, where in _own_inapplicable(spec).items():
        value, default = _option(spec, name)
        left = "left out" if default is None else f"left at {default!r}"
        if value != default:
            refused.append(f"{name} is {value!r}; it must be {left}: it only takes effect {where}")
    if refused and not _as_written.get():
        raise ValueError("; ".join(refused))
    return spec


@contextmanager
def as_written() -> Iterator[None]:
    """Accept options without effect inside the `with` block, for `without_inapplicable` to set back."""
    token = _as_written.set(True)
    try:
        yield
    finally:
        _as_written.reset(token)


def without_inapplicable(spec: Any) -> Any:
    """Return the spec with every option that has no effect set to its default.

    Raises:
        ValueError: Its other options are not valid.
    """
    with as_written():
        for name in inapplicable(spec):
            section, _, option = name.rpartition(".")
            default = _option(spec, name)[1]
            if section:
                inside = {section: replace(getattr(spec, section), **{option: default})}
            else:
                inside = {option: default}

            spec = replace(spec, **inside)

    return replace(spec)


def _option(spec: Any, name: str) -> tuple[Any, Any]:
    """Return the value and the default of the option with this full name."""
    section, _, option = name.rpartition(".")
    holder = spec
    if section:
        holder = getattr(spec, section)

    entry = next(entry for entry in fields(holder) if entry.name == option)
    if entry.default is MISSING:
        raise TypeError(f"{name} has no plain default; it cannot be left at it")
    return getattr(holder, option), entry.default
