"""Command line, HTTP interface and models allow the same values of a sampling option, and the help says which."""

from __future__ import annotations

import pytest
import typer
from jsonschema import Draft202012Validator
from prefect.utilities.callables import parameter_schema
from pydantic import ValidationError

from reviewlm.cli import app
from reviewlm.flows.generate import generate
from reviewlm.models.base import ModelError
from reviewlm.models.sampling import Sampling
from reviewlm.models.sampling_options import KINDS
from reviewlm.serving.api.request_schemas import CompletionRequest

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
SCHEMAS = [CompletionRequest.model_json_schema(), parameter_schema(generate).model_dump()]
VALUES = [-1, -0.5, 0, 5e-324, 0.5, 1, 1.0000001, 2, 2**31 - 1, 2**31, 1e12, 1.1e12]


def by_models(name: str, value: float) -> bool:
    try:
        return bool(Sampling(**{name: value}))
    except ModelError:
        return False


def by_http(name: str, value: float) -> bool:
    try:
        return bool(CompletionRequest.model_validate({name: value}))
    except ValidationError:
        return False


def by_command(
    path: tuple[str, ...],
    name: str,
    value: float,
) -> bool:
    command = COMMANDS[path[0]]
    for inside in path[1:]:
        command = command.commands[inside]
    option = next(one for one in command.params if one.name == name)
    context = command.make_context("verb", [], resilient_parsing=True)
    context.resilient_parsing = False
    try:
        option.process_value(context, repr(value))
    except Exception as error:
        if not callable(getattr(error, "format_message", None)):  # not a usage error
            raise
        return False
    return True


@pytest.mark.parametrize("name", KINDS)
def test_every_door_allows_the_same_values(name: str) -> None:
    allowed = [value for value in VALUES if by_models(name, value)]
    assert 0 < len(allowed) < len(VALUES)
    assert [value for value in VALUES if by_http(name, value)] == allowed
    assert [value for value in VALUES if by_command(("generate",), name, value)] == allowed
    for schema in SCHEMAS:  # of /openapi.json, and of the form that Prefect shows
        validator = Draft202012Validator(schema["properties"][name])
        assert [value for value in VALUES if validator.is_valid(value)] == allowed
    if name in ("temperature", "top_k", "top_p"):
        assert [
            value for value in VALUES if by_command(("models", "ngram", "generate"), name, value)
        ] == allowed
