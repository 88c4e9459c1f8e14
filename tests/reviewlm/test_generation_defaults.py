"""Who generates without options gets the same text from the command line, in Python, from the flow and the server."""

from __future__ import annotations

from inspect import Parameter, signature
from typing import Any

import pytest

from reviewlm.core.config import section as shared
from reviewlm.flows.generate import generate as flow
from reviewlm.loaded_model import LoadedModel
from reviewlm.serving.api.request_schemas import CompletionRequest
from reviewlm.serving.engine.requests import Generation
from reviewlm.verbs.model import generate as command

SHARED = {
    "temperature": shared.TEMPERATURE,
    "top_p": shared.TOP_P,
    "max_tokens": shared.MAX_TOKENS,
    "seed": shared.SEED,
    "top_k": 0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "stars": None,
    "prompt": "",
}


def defaults(function: Any) -> dict[str, Any]:
    parameters = signature(function).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not Parameter.empty}


DOORS = {
    "flow": flow.fn,
    "command": command,
    "python": LoadedModel.generate,
    "stream": LoadedModel.stream,
}


@pytest.mark.parametrize("door", DOORS.values(), ids=list(DOORS))
def test_the_doors_have_the_same_defaults(door: Any) -> None:
    assert SHARED.items() <= defaults(door).items()


def test_the_server_has_them_too() -> None:
    asked = CompletionRequest().model_dump()
    assert {**SHARED, "prompt": [""]}.items() <= {name: asked[name] for name in SHARED}.items()
    assert (
        defaults(LoadedModel.search)["max_tokens"]
        == Generation().max_tokens
        == shared.MAX_TOKENS
        == 300
    )
