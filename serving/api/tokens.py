"""Answer about tokens, and read prompts that are tokens, in the shapes of vLLM, which evaluation harnesses use.

A harness scores a continuation in four steps: it asks `/tokenizer_info` for the names of the special tokens and
`/tokenize` for their ids, makes a prompt and its continuation into tokens, sends both as one prompt to
`/v1/completions` with `echo`, `logprobs` and `max_tokens` 1, and adds up the log-probabilities of the continuation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fastapi import APIRouter, Request, Response

from reviewlm.models.tokens.special import BOS, CONTEXT_IDS, EOS, SPECIAL, STARS, UNK
from reviewlm.models.tokens.vocabulary import Vocabulary, page
from reviewlm.serving.api.answers import ApiError, as_json, describe_route
from reviewlm.serving.api.request_schemas import DetokenizeRequest, TokenizeRequest
from reviewlm.serving.api.work import Services, read_body
from reviewlm.serving.engine.token_places import places_of_ids

router = APIRouter()


class Prompt(NamedTuple):
    """A prompt as the engine reads it.

    Args:
        text: Its text.
        ids: Its tokens, if it was given as tokens.
        given: The special tokens at its beginning, if it was.
        stars: The rating.
    """

    text: str
    ids: tuple[int, ...] = ()
    given: tuple[int, ...] = ()
    stars: int | None = None


def read_prompt(
    vocabulary: Vocabulary,
    prompt: str | Sequence[int],
    stars: int | None,
) -> Prompt:
    """Return a prompt; tokens may begin with `<bos>`, which is read anyway, and after it name the rating.

    Raises:
        ApiError: A token is none of the vocabulary's, stands where it cannot, or names another rating than *stars*.
    """
    if isinstance(prompt, str):
        return Prompt(prompt, stars=stars)

    given = 1 if prompt[:1] == [BOS] else 0
    if given and len(prompt) > 1 and prompt[1] in STARS:
        given = 2
        named = STARS.index(prompt[1])
        if stars not in (None, named):
            raise ApiError(
                400, f"stars is {stars}, and prompt has <stars_{named}>", "invalid_value", "stars"
            )
        stars = named

    ids = tuple(prompt[given:])
    _require_tokens(vocabulary, "prompt", prompt, given)
    return Prompt(places_of_ids(vocabulary, ids)[0], ids, tuple(prompt[:given]), stars)


def _require_tokens(
    vocabulary: Vocabulary,
    name: str,
    ids: Sequence[int],
    given: int = 0,
) -> None:
    for place, token in enumerate(ids[given:], given):
        if not 0 <= token < vocabulary.size:
            message = f"{name} has the token {token} at place {place}; this version has {vocabulary.size:,}, from 0 on"
            raise ApiError(400, message, "invalid_value", name)
        if token in CONTEXT_IDS or token == EOS:
            message = f"{name} has {SPECIAL[token]} at place {place}; a text has it at its beginning or end only"
            raise ApiError(400, message, "invalid_value", name)


@router.post(
    "/tokenize",
    **describe_route(TokenizeRequest, "Make a text into tokens.", {"prompt": "Great tacos!"}),
)
async def tokenize(request: Request) -> Response:
    """Return the tokens that the model reads for a prompt; a prompt that is the name of a special token is that one."""
    services, query = Services.of(request), await read_body(request, TokenizeRequest)
    services.require_length("prompt", [query.prompt])
    async with services.lease(request, query.model) as version:
        vocabulary = version.bundle.vocabulary
        prompt = query.prompt
        if prompt in SPECIAL:
            ids = [SPECIAL.index(prompt)]
        else:
            ids = vocabulary.encode(page(vocabulary, prompt)).tolist()
        if query.add_special_tokens:
            ids = [BOS, *ids]

    most = services.settings.max_prompt_characters
    return as_json(
        {
            "model": version.id,
            "tokens": ids,
            "count": len(ids),
            "max_model_len": most,
        }
    )


@router.post(
    "/detokenize",
    **describe_route(DetokenizeRequest, "Make tokens into their text.", {"tokens": [10, 11, 12]}),
)
async def detokenize(request: Request) -> Response:
    """Return the text of some tokens; special ones and unknown words have none."""
    services, query = Services.of(request), await read_body(request, DetokenizeRequest)
    services.require_length("tokens", [query.tokens])
    async with services.lease(request, query.model) as version:
        vocabulary = version.bundle.vocabulary
        ids = [token for token in query.tokens if token not in CONTEXT_IDS and token != EOS]
        _require_tokens(vocabulary, "tokens", ids)
        text = vocabulary.decode(ids)
    return as_json({"model": version.id, "prompt": text})


@router.get("/tokenizer_info", **describe_route(None, "Name the special tokens of a version."))
async def tokenizer_info(request: Request, model: str = "") -> Response:
    """Return the unit and size of the vocabulary, and the names of its special tokens."""
    services = Services.of(request)
    async with services.lease(request, model) as version:
        vocabulary = version.bundle.vocabulary

    facts = {
        "model": version.id,
        "unit": vocabulary.unit,
        "size": vocabulary.size,
    }
    special = {
        "bos_token": SPECIAL[BOS],
        "eos_token": SPECIAL[EOS],
        "unk_token": SPECIAL[UNK],
    }
    longest = services.settings.max_prompt_characters
    return as_json(
        {
            **facts,
            **special,
            "model_max_length": longest,
        }
    )
