"""Define the types of the flows' parameters, which are the form of a run in Prefect, and limit its stages at once.

The server knows these types as the JSON schema that a deployment is created with; a flow checks them again at its
start. The description of each field is its line in the flow's docstring. A flow that only other flows call has no form:
its arguments are `Given`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

from prefect import Flow
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import AfterValidator, Field, GetCoreSchemaHandler, StringConstraints, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from reviewlm.core.config.presets import other_presets, preset_names, split_override

T = TypeVar("T")
CHAMPIONS_OWN = ""
"""Instead of a preset: the settings of the champion, or of the version that the run is about."""
FILE = r"\.toml$"
NAMES_FILES = ("source.input", "source.business", "vectors")
"""Settings, or sections of settings, whose values are paths."""

P = ParamSpec("P")
R = TypeVar("R")


def _known_preset(preset: str) -> str:
    """Return the preset if it is a file or one of the names that there are now, which the server may not know yet."""
    if preset.endswith(".toml") or preset in preset_names():
        return preset
    raise ValueError(f"there is no preset '{preset}'; {other_presets(preset)}")


def _known_or_none(preset: str) -> str:
    if preset == CHAMPIONS_OWN:
        return preset
    return _known_preset(preset)


def _form(*more: str) -> WithJsonSchema:
    shipped: dict[str, Any] = {
        "type": "string",
        "title": "Shipped preset",
        "enum": [*more, *preset_names()],
    }
    return WithJsonSchema(
        {
            "anyOf": [
                shipped,
                {
                    "type": "string",
                    "title": "File of your own",
                    "pattern": FILE,
                },
            ]
        }
    )


class _Unchecked:
    """Let pydantic take a value as it is. The schema of a whole configuration takes it a tenth of a second."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.any_schema()


Given = Annotated[T, _Unchecked()]
"""An object that another flow hands over; only mypy checks its type."""
Preset = Annotated[str, _form(), AfterValidator(_known_preset)]
"""A preset that ships with the project, or the path of a TOML file."""
PresetOrNone = Annotated[str, _form(CHAMPIONS_OWN), AfterValidator(_known_or_none)]
"""As `Preset`; empty: the settings of the champion, or of the version that the run is about."""
Inputs = list[Annotated[str, StringConstraints(min_length=1)]] | None
Overrides = list[Annotated[str, StringConstraints(pattern=r"^\s*[^=\s]+\s*=")]] | None
"""Settings as `key=value`. The names and ranges of all settings are checked at the start of a run."""
Minutes = Annotated[float, Field(ge=1, le=100_000)] | None
Reference = Annotated[str, StringConstraints(min_length=1)]
"""A version of a registered model: an alias, a number, NAME@ALIAS, NAME/3; in `compare` also a model's name."""
Stars = Annotated[int, Field(ge=0, le=5)] | None


def with_absolute_paths(
    preset: str,
    input: Inputs,
    overrides: Overrides,
) -> dict[str, Any]:
    """Return parameters for a run in another folder, such as that of a worker: all paths are absolute."""
    parameters: dict[str, Any] = {
        "preset": preset,
        "input": None,
        "overrides": None,
    }
    if preset.endswith(".toml"):
        parameters["preset"] = _absolute(preset)
    if input:
        parameters["input"] = _absolute(input)
    if overrides:
        parameters["overrides"] = list(map(_with_absolute_path, overrides))

    return parameters


def _with_absolute_path(override: str) -> str:
    key, value = split_override(override)
    if not value or not any(
        key == setting or key.startswith(f"{setting}.") for setting in NAMES_FILES
    ):
        return override
    if isinstance(value, dict):  # TOML's form of a table in one line
        paths = [f"{_toml(name)} = {_toml(_absolute(path))}" for name, path in value.items()]
        return f"{key}={{{', '.join(paths)}}}"
    return f"{key}={_toml(_absolute(value))}"


def _toml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _absolute(value: Any) -> Any:
    """Return a path, or the paths of a list, as absolute ones; other values, which will be refused, as they are."""
    if isinstance(value, list):
        return [_absolute(one) for one in value]
    if isinstance(value, str):
        return str(Path(value).absolute())
    return value


def on_workers(flow: Flow[P, R], workers: int) -> Flow[P, R]:
    """Return the flow so that at most *workers* of its submitted stages run at once.

    Its stages must call other stages directly: if every worker waited for a submitted stage, none would ever start.
    """
    runner: Any = ThreadPoolTaskRunner(max_workers=workers)
    return flow.with_options(task_runner=runner)
