"""Answer completions with the likeliest texts, found by beam search step by step in the engine's thread."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response

from reviewlm.models.completion.beam import FoundText, beam_steps
from reviewlm.models.completion.reading import Steps
from reviewlm.models.tokens.vocabulary import page
from reviewlm.serving.api.answers import as_json, new_head
from reviewlm.serving.api.request_schemas import CompletionRequest
from reviewlm.serving.api.work import Services, warnings_of
from reviewlm.serving.engine.jobs import EngineContext, Search


def _search(query: CompletionRequest, prompt: str) -> Search[tuple[list[FoundText], int]]:
    """Return the search for the continuations of a prompt, which also finds the number of the prompt's tokens."""

    def begin(context: EngineContext) -> Steps[tuple[list[FoundText], int]]:
        vocabulary = context.bundle.vocabulary
        prompt_tokens = len(vocabulary.encode(page(vocabulary, prompt)))
        texts = yield from beam_steps(
            context.bundle,
            query.beam,
            query.n,
            query.stars,
            prompt,
            query.require,
            query.max_tokens,
            read=context.read,
        )
        return texts, prompt_tokens

    return Search(begin)


async def search_texts(
    request: Request,
    services: Services,
    query: CompletionRequest,
) -> Response:
    """Return the likeliest texts found, the best of each prompt first."""
    prompts = [prompt for prompt in query.prompt if isinstance(prompt, str)]
    async with services.lease(request, query.model) as version:
        searches = [await services.run(version, _search(query, prompt)) for prompt in prompts]
        warnings = await warnings_of(version, prompts, query.stars)

    choices: list[dict[str, Any]] = []
    read = 0
    made = 0
    for prompt, (likeliest, prompt_tokens) in zip(prompts, searches, strict=True):
        read += prompt_tokens
        for text in likeliest:
            made += text.tokens + text.ended
            choices.append(_found_choice(query, prompt, len(choices), text))

    usage = {
        "prompt_tokens": read,
        "completion_tokens": made,
        "total_tokens": read + made,
    }
    return as_json(
        {
            **new_head(version),
            "choices": choices,
            "usage": usage,
            "warnings": warnings,
        }
    )


def _found_choice(
    query: CompletionRequest,
    prompt: str,
    index: int,
    text: FoundText,
) -> dict[str, Any]:
    """Return a found text as a choice of an answer."""
    written = text.text
    if not query.echo:
        written = written.removeprefix(prompt)

    return {
        "text": written,
        "index": index,
        "logprobs": None,
        "finish_reason": "stop" if text.ended else "length",
        "stars": query.stars,
        "logp": text.logp,
    }
