"""Answer completions with the likeliest texts, found by beam search step by step in the engine's thread."""

from __future__ import annotations

from collections.abc import Generator

from fastapi import Request, Response

from models.completion.beam import FoundText, beam_steps
from models.tokens.vocabulary import page
from serving.api.answers import as_json, head_of
from serving.api.schemas import CompletionRequest
from serving.api.work import Services, warnings_of
from serving.engine.engine import EngineContext


class _Searching:
    """The search for the continuations of one prompt, by repeated calls of `advance`."""

    def __init__(self, asked: CompletionRequest, prompt: str) -> None:
        self._asked, self._prompt = asked, prompt
        self._steps: Generator[None, None, list[FoundText]] | None = None
        self.found: list[FoundText] = []
        self.prompt_tokens = 0

    def advance(self, context: EngineContext) -> bool:
        """Do the next step; return whether there is more to do."""
        if self._steps is None:
            asked, vocabulary = self._asked, context.bundle.vocabulary
            self.prompt_tokens = len(vocabulary.encode(page(vocabulary, self._prompt)))
            self._steps = beam_steps(
                context.bundle, asked.beam, asked.n, asked.stars, self._prompt, asked.require, asked.max_tokens,
                read=context.read,
            )
        try:
            next(self._steps)
        except StopIteration as done:
            self.found = done.value
            return False
        return True


async def searched(request: Request, services: Services, asked: CompletionRequest) -> Response:
    """Return the likeliest texts found, the best of each prompt first."""
    async with services.leased(request, asked.model) as version:
        searches = [_Searching(asked, prompt) for prompt in asked.prompt]
        for search in searches:
            while await services.run(version, search.advance):
                pass
        warnings = await warnings_of(version, asked.prompt, asked.stars)
    texts = [(prompt, text) for prompt, search in zip(asked.prompt, searches, strict=True) for text in search.found]
    choices = [
        {"text": text.text if asked.echo else text.text.removeprefix(prompt), "index": index, "logprobs": None,
         "finish_reason": "stop" if text.ended else "length", "logp": text.logp}
        for index, (prompt, text) in enumerate(texts)
    ]
    read, made = sum(search.prompt_tokens for search in searches), sum(text.tokens + text.ended for _, text in texts)
    usage = {"prompt_tokens": read, "completion_tokens": made, "total_tokens": read + made}
    return as_json({**head_of(version, exact=True), "choices": choices, "usage": usage, "warnings": warnings})
