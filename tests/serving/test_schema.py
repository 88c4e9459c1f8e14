"""Requests generated from the OpenAPI description get the answers that it promises."""

from __future__ import annotations

import pytest
from hypothesis import given
from made_versions import MadeSource, made_versions, running

from serving.api.app import create_app
from tests.examples import examples

OPERATIONS = (
    "POST /v1/completions", "POST /v1/embeddings", "POST /suggest", "POST /intervals", "POST /score", "GET /v1/models",
    "GET /v1/models/{model}",
)  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_generated_request_is_answered_as_the_description_says(operation: str) -> None:
    import schemathesis  # takes a second to import
    from schemathesis.checks import not_a_server_error
    from schemathesis.generation import GenerationMode
    from schemathesis.specs.openapi import checks

    every = [
        not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
        checks.response_schema_conformance, checks.negative_data_rejection,
    ]  # fmt: skip
    with running(made_versions(MadeSource(champion=1, challenger=2), max_tokens=8, hosts=("testserver",))) as versions:
        app = create_app(versions, versions.settings, versions.metrics, None)
        described = schemathesis.openapi.from_asgi("/openapi.json", app)
        method, path = operation.split()
        modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        for mode in modes if method == "POST" else modes[:1]:

            @given(case=described[path][method].as_strategy(generation_mode=mode))
            @examples(400)
            def answered(case: schemathesis.Case) -> None:
                case.call_and_validate(checks=every)

            answered()
