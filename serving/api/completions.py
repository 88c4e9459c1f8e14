"""Answer `POST /v1/completions` in OpenAI's shape, at once or as server-sent events.

Answer completions with the likeliest texts, found by beam search step by step in the engine's thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, fields
from time import perf_counter
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from reviewlm.models.completion.beam import FoundText, beam_steps
from reviewlm.models.completion.reading import Steps
from reviewlm.models.sampling import Sampling
from reviewlm.models.sampling.batch import rating_of
from reviewlm.models.tokens.vocabulary import Vocabulary, page
from reviewlm.serving.api.answers import (
    as_api_error,
    as_event,
    as_json,
    defect,
    describe_route,
    head_of,
)
from reviewlm.serving.api.request_schemas import CompletionRequest
from reviewlm.serving.api.tokens import read_prompt
from reviewlm.serving.api.work import Services, read_body, warnings_of, while_connected
from reviewlm.serving.engine.jobs import EngineContext, Search
from reviewlm.serving.engine.requests import Generation, Piece, Ticket, TokenLogprob
from reviewlm.serving.versions.open_version import OpenVersion

router = APIRouter()
log = logging.getLogger(__name__)
DONE = b"data: [DONE]\n\n"
LATE = 5.0
"""Seconds beyond its time in which an answer can still say that its time is over, also on a very busy machine."""


@router.post(
    "/v1/completions",
    **describe_route(
        CompletionRequest,
        "Write reviews.",
        {"prompt": "The food was", "stars": 5, "max_tokens": 40},
        streamed=True,
    ),
)
async def completions(request: Request) -> Response:
    """Write texts that continue one prompt or several.

    Beside OpenAI's fields, `warnings` names what the model has never seen (a rating, a script), and a choice has
    `stars`, the rating that it was written with (0: a review without one; null for a beam search over all), of a beam
    search `logp`, the log-probability of what follows the prompt. `logprobs` are before the sampling options and have
    `token_ids` as `/tokenize` gives them; in `top_logprobs` a token that adds nothing is `token_id:N`.
    """
    services, query = Services.of(request), await read_body(request, CompletionRequest)
    services.require_length("prompt", query.prompt)
    services.require_length("stop", query.stop)
    if query.beam:
        return await while_connected(
            request, services.seconds_left(request), search_texts(request, services, query)
        )
    if not query.stream:
        return await while_connected(
            request, services.seconds_left(request), _whole(request, services, query)
        )

    writing = _writing(request, services, query)
    work = await writing.__aenter__()  # refusals come before the answer begins
    return _Events(_events(services, request, work), writing, services.seconds_left(request) + LATE)


@dataclass(frozen=True)
class _Work:
    """The texts of one request, being written, and the rating of each."""

    query: CompletionRequest
    version: OpenVersion
    tickets: Sequence[Ticket]
    ratings: Sequence[int]
    warnings: list[str]
    head: dict[str, Any]


@asynccontextmanager
async def _writing(
    request: Request, services: Services, query: CompletionRequest
) -> AsyncIterator[_Work]:
    """Lease the version and submit all texts; whatever still runs at the end of the block is cancelled."""
    async with services.lease(request, query.model) as version:
        tickets: list[Ticket] = []
        try:
            generations = _generations(
                query, version.bundle.vocabulary, services.seconds_left(request)
            )
            tickets = version.engine.submit_all(generations)
            ratings = [
                rating_of(version.bundle, one.stars, one.seed, one.number) for one in generations
            ]
            warnings = await warnings_of(
                version, [one.prompt for one in generations[:: query.n]], query.stars
            )
            yield _Work(query, version, tickets, ratings, warnings, head_of(version))
        finally:
            for ticket in tickets:
                ticket.cancel()


def _generations(
    query: CompletionRequest, vocabulary: Vocabulary, seconds: float
) -> list[Generation]:
    sampling = Sampling(**{one.name: getattr(query, one.name) for one in fields(Sampling)})
    prompts = [read_prompt(vocabulary, prompt, query.stars) for prompt in query.prompt]
    return [
        Generation(
            prompt=prompt.text,
            stars=prompt.stars,
            number=number,
            max_tokens=query.max_tokens,
            sampling=sampling,
            seed=query.seed,
            stop=tuple(query.stop),
            logprobs=query.logprobs,
            echo=query.echo,
            seconds=seconds,
            ids=prompt.ids,
            given=prompt.given,
        )
        for prompt in prompts
        for number in range(query.n)
    ]


async def _whole(request: Request, services: Services, query: CompletionRequest) -> Response:
    async with _writing(request, services, query) as work:
        whole = await asyncio.gather(*(ticket.whole() for ticket in work.tickets))
        first = min(
            (ticket.first for ticket in work.tickets if ticket.first), default=perf_counter()
        )
        services.metrics.first_token.observe(first - request.scope["started"])

    choices = [_choice(work, index, piece) for index, piece in enumerate(whole)]
    return as_json(
        {
            **work.head,
            "choices": choices,
            "usage": _usage(whole, query.n),
            "warnings": work.warnings,
        }
    )


async def _events(services: Services, request: Request, work: _Work) -> AsyncIterator[bytes]:
    """Yield the events of a stream; an error that comes too late for a status becomes an event."""
    head = work.head
    usage = work.query.stream_options.include_usage
    last: dict[int, Piece] = {}
    extra: dict[str, Any] = {"warnings": work.warnings} if work.warnings else {}
    first = True
    try:
        async with aclosing(_merge(work.tickets)) as pieces:
            async for index, piece in pieces:
                if first:
                    services.metrics.first_token.observe(perf_counter() - request.scope["started"])
                    first = False
                if piece.finish is not None:
                    last[index] = piece
                if piece.text or piece.tokens or piece.finish:
                    choice = _choice(work, index, piece)
                    yield _event(
                        {**head, "choices": [choice], **({"usage": None} if usage else {}), **extra}
                    )
                    extra = {}
        if usage:
            yield _event(
                {**head, "choices": [], "usage": _usage(list(last.values()), work.query.n)}
            )
        yield DONE
    except Exception as error:
        refusal = as_api_error(error)
        if refusal is None:
            log.exception("completion %s failed", head["id"])
        services.metrics.refused.labels((refusal or defect()).code).inc()
        yield as_event((refusal or defect()).body())


class _Events(StreamingResponse):
    """A stream of events that frees the texts' places as soon as its client leaves.

    Args:
        events: The events.
        writing: The context of the texts, which ends with the answer.
        seconds: Time after which the answer is cut off, because its client does not read it.
    """

    def __init__(self, events: AsyncIterator[bytes], writing: Any, seconds: float) -> None:
        super().__init__(
            events, media_type="text/event-stream", headers={"x-accel-buffering": "no"}
        )
        self._writing = writing
        self._seconds = seconds

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await super().__call__(scope, receive, send)
        except TimeoutError:
            log.info("disconnected a client that did not read its answer")
        finally:
            await self._writing.__aexit__(None, None, None)


async def _merge(tickets: Sequence[Ticket]) -> AsyncGenerator[tuple[int, Piece], None]:
    """Yield the pieces of all texts with the index of their text, as they come."""
    if len(tickets) == 1:
        async for piece in tickets[0]:
            yield 0, piece
        return

    queue: asyncio.Queue[tuple[int, Piece | BaseException | None]] = asyncio.Queue(len(tickets))

    async def read(index: int, ticket: Ticket) -> None:
        try:
            async for piece in ticket:
                await queue.put((index, piece))
            await queue.put((index, None))
        except Exception as error:
            await queue.put((index, error))

    readers = [asyncio.create_task(read(index, ticket)) for index, ticket in enumerate(tickets)]
    try:
        left = len(tickets)
        while left:
            index, one = await queue.get()
            if isinstance(one, BaseException):
                raise one
            if one is None:
                left -= 1
            else:
                yield index, one
    finally:
        for reader in readers:
            reader.cancel()


def _choice(work: _Work, index: int, piece: Piece) -> dict[str, Any]:
    logprobs = None
    if work.query.logprobs is not None:
        logprobs = _logprobs(piece.tokens)

    return {
        "text": piece.text,
        "index": index,
        "logprobs": logprobs,
        "finish_reason": piece.finish,
        "stars": work.ratings[index],
    }


def _logprobs(tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [None if token.logprob is None else dict(token.top) for token in tokens],
        "text_offset": [token.offset for token in tokens],
        "token_ids": [token.id for token in tokens],
    }


def _usage(whole: Sequence[Piece], n: int) -> dict[str, int]:
    """Return the numbers of tokens; a prompt counts once, however many texts continue it."""
    prompt = sum(piece.prompt_tokens for piece in whole) // n
    completion = sum(piece.completion_tokens for piece in whole)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def _event(values: Any) -> bytes:
    return as_event(orjson.dumps(values))


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


async def search_texts(request: Request, services: Services, query: CompletionRequest) -> Response:
    """Return the likeliest texts found, the best of each prompt first."""
    prompts = [prompt for prompt in query.prompt if isinstance(prompt, str)]
    async with services.lease(request, query.model) as version:
        searches = [await services.run(version, _search(query, prompt)) for prompt in prompts]
        warnings = await warnings_of(version, prompts, query.stars)

    texts = [
        (prompt, text)
        for prompt, (likeliest, _) in zip(prompts, searches, strict=True)
        for text in likeliest
    ]
    choices = []
    for index, (prompt, text) in enumerate(texts):
        choices.append(
            {
                "text": text.text if query.echo else text.text.removeprefix(prompt),
                "index": index,
                "logprobs": None,
                "finish_reason": "stop" if text.ended else "length",
                "stars": query.stars,
                "logp": text.logp,
            }
        )

    read = sum(tokens for _, tokens in searches)
    made = sum(text.tokens + text.ended for _, text in texts)
    usage = {"prompt_tokens": read, "completion_tokens": made, "total_tokens": read + made}
    return as_json({**head_of(version), "choices": choices, "usage": usage, "warnings": warnings})
