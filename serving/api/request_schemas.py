"""Define the request schemas; unknown parameters, wrong types and non-finite numbers are errors.

The defaults are those of `reviewlm generate`, `suggest` and `score`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from reviewlm.core.config.section import MAX_TOKENS, SEED, TEMPERATURE, TOP_P
from reviewlm.models.options import (
    Count,
    DrawSeed,
    NotNegative,
    Positive,
    Share,
    ShareAboveZero,
    WholeOrZero,
)
from reviewlm.serving.api.answers import REFUSED

MOST_TEXTS = 256
"""Texts that one request may hold: a client splits more, and others get their turn."""
MOST_TOKENS = 4_096
MOST_CHOICES = 128
MOST_STOPS = 16
"""Limits of `max_tokens`, of texts in all, and of stop strings: a request beyond them holds the engine for minutes."""


EXACT = 2**53
"""Largest whole number up to which a number with a point is exact: a larger one may have been another in the request."""
NULL = {"type": "null"}
NOTES = ("default", "title", "description")
"""What a schema says for people."""
STRING = {"type": "string"}
TOKENS_SCHEMA = {"type": "array", "items": {"type": "integer"}}
PROMPT_SCHEMA = {"anyOf": [STRING, TOKENS_SCHEMA]}
PROMPTS_SCHEMA = {
    "anyOf": [
        *PROMPT_SCHEMA["anyOf"],
        {
            "type": "array",
            "items": PROMPT_SCHEMA,
            "minItems": 1,
        },
    ]
}
AT_RANDOM = (
    "temperature",
    "top_p",
    "seed",
    "top_k",
    "min_p",
    "typical_p",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "stop",
    "logprobs",
    "stream",
    "watermark",
)
"""Parameters of a completion that have no effect with `beam`."""


def _refusal(message: str) -> PydanticCustomError:
    """Return a pydantic error whose message is shown as it is."""
    return PydanticCustomError(REFUSED, "{message}", {"message": message})  # type: ignore[arg-type]


def _texts(value: Any) -> Any:
    """Return one text or several as a list."""
    values = [value] if isinstance(value, str) else value
    if (
        not isinstance(values, list)
        or not values
        or not all(isinstance(one, str) for one in values)
    ):
        raise _refusal("it must be a text or a list of one or more texts, not tokens")
    if len(values) > MOST_TEXTS:
        raise _refusal(f"it must be at most {MOST_TEXTS} texts")

    return values


def _strings(value: Any) -> Any:
    """Return one string, several, or none as a list."""
    if value == []:
        return []
    return _texts(value)


def _stops(value: Any) -> Any:
    """Return the strings before which a text ends as a list."""
    values = _strings(value)
    if "" in values or len(values) > MOST_STOPS:
        raise _refusal(f"it must be at most {MOST_STOPS} strings, of one character or more")
    return values


def _are_tokens(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, int) and not isinstance(one, bool) for one in value
    )


def _prompts(value: Any) -> Any:
    """Return one prompt or several, each a text or a list of tokens, as a list."""
    values = value
    if isinstance(value, str) or (value and _are_tokens(value)):
        values = [value]

    if (
        isinstance(values, list)
        and values
        and all(isinstance(one, str) or _are_tokens(one) for one in values)
    ):
        return values
    raise _refusal("it must be a text, a list of tokens, or a list of one or more of them")


def _only_zero(value: Any) -> Any:
    if value != 0 or isinstance(value, bool):
        raise _refusal("it must be 0; use repetition_penalty")
    return 0.0


def _no_bias(value: Any) -> Any:
    if value != {}:
        raise _refusal(
            "it must be empty; use require with beam for words that a text must have, and "
            "repetition_penalty or no_repeat_ngram_size against repeated ones"
        )
    return value


def _one_or_several(one: dict[str, Any], **limits: int) -> WithJsonSchema:
    return WithJsonSchema(
        {
            "anyOf": [
                one,
                {
                    "type": "array",
                    "items": one,
                    **limits,
                },
            ]
        }
    )


Texts = Annotated[
    list[str], BeforeValidator(_texts), _one_or_several(STRING, minItems=1, maxItems=MOST_TEXTS)
]
Strings = Annotated[
    list[str], BeforeValidator(_strings), _one_or_several(STRING, maxItems=MOST_TEXTS)
]
Stops = Annotated[
    list[str],
    BeforeValidator(_stops),
    _one_or_several({**STRING, "minLength": 1}, maxItems=MOST_STOPS),
]
Prompts = Annotated[
    list[str | list[int]], BeforeValidator(_prompts), WithJsonSchema(PROMPTS_SCHEMA)
]
Stars = Annotated[int, Field(ge=0, le=5)]
Alternatives = Annotated[WholeOrZero, Field(le=20)]
"""Number of likeliest tokens beside each token: more make answers of megabytes."""
Zero = Annotated[float, BeforeValidator(_only_zero), WithJsonSchema({"const": 0})]
NoBias = Annotated[
    dict[str, float],
    BeforeValidator(_no_bias),
    WithJsonSchema({"type": "object", "maxProperties": 0}),
]


def _described_simply(schema: dict[str, Any]) -> None:
    """Give each parameter its kinds in the shortest form, with null where it has a default: it counts as left out.

    pydantic nests alternatives, and leaves a second limit as `le`.
    """
    schema["additionalProperties"] = {"type": "null"}
    required = schema.get("required", ())
    for name, each in schema.get("properties", {}).items():
        notes = {key: each[key] for key in ("default", "description") if key in each}
        kinds = [_with_limits(kind) for kind in _kinds(each)]
        if name not in required:
            kinds = [*(kind for kind in kinds if kind != NULL), NULL]
        schema["properties"][name] = {**_one_of(kinds), **notes}


def _kinds(schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the alternatives of a schema, at any depth, each without notes for people."""
    if "anyOf" in schema:
        return [kind for each in schema["anyOf"] for kind in _kinds(each)]
    return [{key: value for key, value in schema.items() if key not in NOTES}]


def _with_limits(kind: dict[str, Any]) -> dict[str, Any]:
    """Return a kind with the lower of two upper limits."""
    uppers = [kind[key] for key in ("le", "maximum") if key in kind]
    plain = {key: value for key, value in kind.items() if key != "le"}
    if uppers:
        plain["maximum"] = min(uppers)
    return plain


def _one_of(kinds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the schema of one kind or of several; "a number or null" needs no alternatives."""
    kind, *others = kinds
    if not others:
        return kind
    if others == [NULL] and isinstance(kind.get("type"), str) and "enum" not in kind:
        return {**kind, "type": [kind["type"], "null"]}
    if others == [NULL] and ("enum" in kind or "const" in kind):
        return {"enum": [*kind.get("enum", [kind.get("const")]), None]}
    return {"anyOf": kinds}


def _with_whole_numbers(value: Any, depth: int = 2) -> Any:
    """Return a JSON value with whole numbers in place of such as 16.0: JSON does not tell them apart.

    Args:
        value: A number, a list of them, or anything else.
        depth: How deep lists may be within each other; no parameter has deeper ones.
    """
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT:
        return int(value)
    if isinstance(value, list) and depth:
        return [_with_whole_numbers(item, depth - 1) for item in value]
    return value


class Parameters(BaseModel):
    """Parameters of a request, at any depth: unknown ones are errors, null is as good as left out."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        json_schema_extra=_described_simply,
        use_attribute_docstrings=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _read_as_json(cls, values: Any) -> Any:
        """Leave null out, and read 16.0 as the whole number that it is."""
        if not isinstance(values, dict):
            return values
        required = {name for name, field in cls.model_fields.items() if field.is_required()}
        return {
            name: _with_whole_numbers(value)
            for name, value in values.items()
            if value is not None or name in required
        }


class ApiRequest(Parameters):
    """Base of all requests: which version answers."""

    model: str = ""
    """Which version answers: NAME, NAME@ALIAS, NAME/3, an alias or a number. Default: the champion."""


class StreamOptions(Parameters):
    """Options of a stream."""

    include_usage: bool = False
    """End with an event that has the numbers of tokens."""
    include_obfuscation: bool = False
    """Has no effect."""


class CompletionRequest(ApiRequest):
    """OpenAI's parameters of a completion, and our extensions from `stars` on."""

    prompt: Prompts = Field(default_factory=lambda: list[str | list[int]]([""]))
    """Beginning of the review, which is kept unchanged; or several beginnings. Each is a text, or a list of tokens as
    `/tokenize` gives them."""
    max_tokens: Annotated[WholeOrZero, Field(le=MOST_TOKENS)] = MAX_TOKENS
    """Longest continuation, in tokens; 0 with `echo` and `logprobs` only scores the prompt."""
    temperature: NotNegative = TEMPERATURE
    """Below 1, likely words become likelier; 0: always the likeliest."""
    top_p: ShareAboveZero = TOP_P
    """Only the likeliest tokens, up to this total probability."""
    n: Count = 1
    """Texts for each prompt."""
    stream: bool = False
    """Send the text piece by piece, as server-sent events that end with [DONE]."""
    stream_options: Annotated[StreamOptions, WithJsonSchema(StreamOptions.model_json_schema())] = (
        StreamOptions()
    )
    """Options of a stream; an error without `stream`."""
    logprobs: Alternatives | None = None
    """Send each token's log-probability, and those of this number of likeliest tokens."""
    echo: bool = False
    """Begin each text with its prompt."""
    stop: Stops = Field(default_factory=list)
    """Strings before which a text ends."""
    seed: DrawSeed = SEED
    """Seed of the random draw: the same request gives the same text."""
    user: str = ""
    """Not used and not stored."""
    best_of: Count | None = None
    """Accepted if it equals n."""
    frequency_penalty: Zero = 0.0
    """Accepted if it is 0; use repetition_penalty."""
    presence_penalty: Zero = 0.0
    """Accepted if it is 0; use repetition_penalty."""
    logit_bias: NoBias = Field(default_factory=dict)
    """Accepted if it is empty; use `require`, repetition_penalty or no_repeat_ngram_size."""
    stars: Stars | None = None
    """Star rating of the review, 0: unknown. Default: drawn as in the training data."""
    top_k: WholeOrZero = 0
    """Number of likeliest tokens to sample from; 0: all; 1: as temperature 0."""
    min_p: Share = 0.0
    """Only tokens at least this share as probable as the likeliest."""
    typical_p: ShareAboveZero = 1.0
    """Only tokens of typical information, up to this total probability."""
    repetition_penalty: Positive = 1.0
    """Above 1, tokens that the text already has become less likely."""
    no_repeat_ngram_size: WholeOrZero = 0
    """No sequence of this many tokens occurs twice; 0: no limit."""
    watermark: str = ""
    """Key by which tokens are drawn, so that `reviewlm score --watermark KEY` recognises the text; empty: none."""
    beam: Annotated[int, Field(ge=0, le=100)] = 0
    """Search for the likeliest texts, keeping this many beginnings, at least n; 0: draw at random."""
    require: Strings = Field(default_factory=list)
    """With `beam`: words that each text must contain."""

    @model_validator(mode="after")
    def _texts_are_few(self) -> CompletionRequest:
        if self.best_of not in (None, self.n):
            raise _refusal(
                f"best_of is {self.best_of}; it must equal n ({self.n}), because texts are not ranked"
            )
        choices = self.n * len(self.prompt)
        if choices > MOST_CHOICES:
            raise _refusal(
                f"n asks for {choices:,} texts in all; this server allows at most {MOST_CHOICES}"
            )
        return self

    @model_validator(mode="after")
    def _options_are_of_a_stream(self) -> CompletionRequest:
        if "stream_options" in self.model_fields_set and not self.stream:
            raise _refusal("stream_options only takes effect with stream")
        return self

    @model_validator(mode="after")
    def _beam_draws_nothing(self) -> CompletionRequest:
        if not self.beam:
            if self.require:
                raise _refusal("require only takes effect with beam")
            return self

        usual = type(self)()
        if idle := [name for name in AT_RANDOM if getattr(self, name) != getattr(usual, name)]:
            raise _refusal(f"{idle[0]} has no effect with beam; leave it out")
        if not all(isinstance(prompt, str) for prompt in self.prompt):
            raise _refusal("prompt must be a text with beam, not tokens")
        if self.n > self.beam:
            raise _refusal(f"n is {self.n}; with beam {self.beam} it must be at most {self.beam}")

        return self


class TokenizeRequest(ApiRequest):
    """A text to be made into tokens."""

    prompt: str
    """The text; the name of a special token, such as `<eos>`, alone is that token."""
    add_special_tokens: bool = False
    """Begin with `<bos>`."""


class DetokenizeRequest(ApiRequest):
    """Tokens whose text is wanted."""

    tokens: list[int]
    """The tokens."""


class SuggestRequest(ApiRequest):
    """The text so far, for which words are suggested."""

    prompt: str
    """The text so far."""
    k: Annotated[int, Field(ge=1, le=100)] = 5
    """Words to suggest."""
    stars: Stars | None = None
    """Star rating of the review; 0: a review without one. Default: the average over those of the training."""
    both: bool = True
    """If the text ends in a word, also answer for the other reading of it, as `otherwise`."""
    exact: bool = False
    """Look for every way to cut words into tokens, as the command line does; takes longer if the model has no words."""


class IntervalsRequest(ApiRequest):
    """The text so far, whose next characters share an interval (Dasher)."""

    prompt: str
    """The text so far."""
    stars: Stars | None = None
    """Star rating of the review; 0: a review without one. Default: the average over those of the training."""
    other: bool = False
    """Divide the interval of the characters beyond ASCII."""
    begun: str = ""
    """With `other`: only those of them that begin with these bytes, as an interval of kind "other" has them."""
    smallest: Annotated[float, Field(ge=0.001, le=1)] = 1.0
    """Intervals of at least this size are divided too."""


class ClassifyRequest(ApiRequest):
    """Whole reviews to be classified; `model` names a version of the registered classifier."""

    texts: Texts
    """One review or several."""


class EmbeddingRequest(ApiRequest):
    """OpenAI's parameters of embeddings."""

    input: Texts
    """One text or several."""
    encoding_format: Literal["float", "base64"] = "float"
    """Form of the vectors: lists of numbers, or base64 of float32 numbers, little-endian."""
    user: str = ""
    """Not used and not stored."""


class ScoreRequest(ApiRequest):
    """Whole reviews to be scored."""

    texts: Texts
    """One review or several."""
    stars: Stars | None = None
    """Star rating of the reviews; 0: a review without one. Default: the average over those of the training."""
    attribution: bool = False
    """Also say which part of a mixture predicted each token."""
    alternatives: Alternatives = 0
    """Also say which tokens were the likeliest at each token, this number of them; takes longer."""
