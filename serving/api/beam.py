"""Answer completions with the likeliest texts, found by beam search step by step in the engine's thread."""

from __future__ import annotations

from fastapi import Request, Response

from models.completion.beam import FoundText, beam_steps
from models.completion.reading import Steps
from models.tokens.vocabulary import page
from serving.api.answers import as_json, head_of
from serving.api.schemas.requests import CompletionRequest
from serving.api.work import Services, warnings_of
from serving.engine.jobs import EngineContext
from serving.engine.search import Search


def _search(asked: CompletionRequest, prompt: str) -> Search[tuple[list[FoundText], int]]:
    """Return the search for the continuations of a prompt, which also finds the number of the prompt's tokens."""

    def begin(context: EngineContext) -> Steps[tuple[list[FoundText], int]]:
        vocabulary = context.bundle.vocabulary
        prompt_tokens = len(vocabulary.encode(page(vocabulary, prompt)))
        found = yield from beam_steps(
            context.bundle, asked.beam, asked.n, asked.stars, prompt, asked.require, asked.max_tokens,
            read=context.read,
        )
        return found, prompt_tokens

    return Search(begin)


async def searched(request: Request, services: Services, asked: CompletionRequest) -> Response:
    """Return the likeliest texts found, the best of each prompt first."""
    prompts = [prompt for prompt in asked.prompt if isinstance(prompt, str)]
    async with services.leased(request, asked.model) as version:
        searches = [await services.run(version, _search(asked, prompt)) for prompt in prompts]
        warnings = await warnings_of(version, prompts, asked.stars)
    texts = [(prompt, text) for prompt, (found, _) in zip(prompts, searches, strict=True) for text in found]
    choices = [
        {"text": text.text if asked.echo else text.text.removeprefix(prompt), "index": index, "logprobs": None,
         "finish_reason": "stop" if text.ended else "length", "stars": asked.stars,
         "logp": text.logp}
        for index, (prompt, text) in enumerate(texts)
    ]
    read, made = sum(tokens for _, tokens in searches), sum(text.tokens + text.ended for _, text in texts)
    usage = {"prompt_tokens": read, "completion_tokens": made, "total_tokens": read + made}
    return as_json({**head_of(version, exact=True), "choices": choices, "usage": usage, "warnings": warnings})
