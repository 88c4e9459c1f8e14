"""Answer `POST /v1/completions` in OpenAI's shape, at once or as server-sent events."""

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

from reviewlm.models.sampling import Sampling
from reviewlm.models.sampling.batch import rating_of
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.serving.api.answers import (
    DirectRoute,
    as_api_error,
    as_event,
    as_json,
    defect,
    describe_route,
    new_head,
)
from reviewlm.serving.api.beam_search import search_texts
from reviewlm.serving.api.request_schemas import CompletionRequest
from reviewlm.serving.api.tokens import read_prompt
from reviewlm.serving.api.work import Services, read_body, warnings_of, while_connected
from reviewlm.serving.engine.requests import Generation, Piece, Ticket, TokenLogprob
from reviewlm.serving.versions.open_version import OpenVersion

router = APIRouter(route_class=DirectRoute)
log = logging.getLogger(__name__)
DONE = b"data: [DONE]\n\n"
LATE = 5.0
"""Seconds beyond its time in which an answer can still say that its time is over, also on a very busy machine."""


@router.post(
    "/v1/completions",
    **describe_route(
        CompletionRequest,
        "Write reviews.",
        {
            "prompt": "The food was",
            "stars": 5,
            "max_tokens": 40,
        },
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
    seconds = services.seconds_left(request)
    if query.beam:
        return await while_connected(request, seconds, search_texts(request, services, query))
    if not query.stream:
        return await while_connected(request, seconds, _whole(request, services, query))

    writing = _writing(request, services, query)
    work = await writing.__aenter__()  # refusals come before the answer begins
    events = _events(services, request, work)
    return _Events(events, writing, services.seconds_left(request) + LATE)


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
    request: Request,
    services: Services,
    query: CompletionRequest,
) -> AsyncIterator[_Work]:
    """Lease the version and submit all texts; whatever still runs at the end of the block is cancelled."""
    async with services.lease(request, query.model) as version:
        tickets: list[Ticket] = []
        try:
            seconds = services.seconds_left(request)
            generations = _generations(query, version.bundle.vocabulary, seconds)
            tickets = version.engine.submit_all(generations)

            ratings = [
                rating_of(version.bundle, text.stars, text.seed, text.number)
                for text in generations
            ]
            prompts = [text.prompt for text in generations[:: query.n]]
            warnings = await warnings_of(version, prompts, query.stars)
            yield _Work(
                query,
                version,
                tickets,
                ratings,
                warnings,
                new_head(version),
            )
        finally:
            for ticket in tickets:
                ticket.cancel()


def _generations(
    query: CompletionRequest,
    vocabulary: Vocabulary,
    seconds: float,
) -> list[Generation]:
    """Return the texts to write: `n` for each prompt, one prompt after the other."""
    options = {option.name: getattr(query, option.name) for option in fields(Sampling)}
    sampling = Sampling(**options)
    prompts = [read_prompt(vocabulary, prompt, query.stars) for prompt in query.prompt]

    generations: list[Generation] = []
    for prompt in prompts:
        for number in range(query.n):
            text = Generation(
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
            generations.append(text)

    return generations


async def _whole(
    request: Request,
    services: Services,
    query: CompletionRequest,
) -> Response:
    async with _writing(request, services, query) as work:
        whole = await asyncio.gather(*(ticket.whole() for ticket in work.tickets))
        times = [ticket.first for ticket in work.tickets if ticket.first]
        first = min(times, default=perf_counter())
        services.metrics.first_token.observe(first - request.scope["started"])

    choices = [_choice(work, index, piece) for index, piece in enumerate(whole)]
    usage = _usage(whole, query.n)
    return as_json(
        {
            **work.head,
            "choices": choices,
            "usage": usage,
            "warnings": work.warnings,
        }
    )


async def _events(
    services: Services,
    request: Request,
    work: _Work,
) -> AsyncIterator[bytes]:
    """Yield the events of a stream; an error that comes too late for a status becomes an event."""
    head = work.head
    with_usage = work.query.stream_options.include_usage
    no_usage = {"usage": None} if with_usage else {}
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
                        {
                            **head,
                            "choices": [choice],
                            **no_usage,
                            **extra,
                        }
                    )
                    extra = {}

        if with_usage:
            usage = _usage(list(last.values()), work.query.n)
            yield _event(
                {
                    **head,
                    "choices": [],
                    "usage": usage,
                }
            )
        yield DONE
    except Exception as error:
        refusal = as_api_error(error)
        if refusal is None:
            log.exception("completion %s failed", head["id"])
            refusal = defect()
        services.metrics.refused.labels(refusal.code).inc()
        yield as_event(refusal.body())


class _Events(StreamingResponse):
    """A stream of events that frees the texts' places as soon as its client leaves.

    Args:
        events: The events.
        writing: The context of the texts, which ends with the answer.
        seconds: Time after which the answer is cut off, because its client does not read it.
    """

    def __init__(
        self,
        events: AsyncIterator[bytes],
        writing: Any,
        seconds: float,
    ) -> None:
        super().__init__(
            events, media_type="text/event-stream", headers={"x-accel-buffering": "no"}
        )
        self._writing = writing
        self._seconds = seconds

    async def __call__(
        self,
        scope: Any,
        receive: Any,
        send: Any,
    ) -> None:
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
        unfinished = len(tickets)
        while unfinished:
            index, item = await queue.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                unfinished -= 1
            else:
                yield index, item
    finally:
        for reader in readers:
            reader.cancel()


def _choice(
    work: _Work,
    index: int,
    piece: Piece,
) -> dict[str, Any]:
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
    """Return the facts about tokens in OpenAI's columns, and their ids."""
    columns: dict[str, list[Any]] = {
        "tokens": [],
        "token_logprobs": [],
        "top_logprobs": [],
        "text_offset": [],
        "token_ids": [],
    }
    for token in tokens:
        columns["tokens"].append(token.text)
        columns["token_logprobs"].append(token.logprob)
        columns["top_logprobs"].append(None if token.logprob is None else dict(token.top))
        columns["text_offset"].append(token.offset)
        columns["token_ids"].append(token.id)

    return columns


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
    """Return values as one server-sent event of JSON."""
    return as_event(orjson.dumps(values))
