"""Define the response schemas about versions and the server; see `response_schemas.py`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from serving.api.response_schemas import AnswerPart, Count, FromVersion, Number


class ModelAnswer(AnswerPart):
    """An alias or a version."""

    id: str
    object: Literal["model"]
    created: Count
    owned_by: Literal["reviewlm"]
    version: str
    aliases: list[str]


class ModelsAnswer(AnswerPart):
    """The aliases, then the versions, the newest first."""

    object: Literal["list"]
    data: list[ModelAnswer]


class VocabularyFacts(AnswerPart):
    """The vocabulary of a version."""

    unit: Literal["word", "bpe", "unigram", "char"]
    entries: Count


class NumbersFacts(AnswerPart):
    """The number format of a version."""

    used: Literal["float32", "int8"]
    why: str
    int8_loss: Number
    """Share by which int8 raises the perplexity of the validation reviews; null: the bundle does not say."""


class CardAnswer(FromVersion):
    """A version: its bundle, and what the registry records about it (docs/reference/json.md)."""

    bundle: str
    name: str
    kind: str
    vocabulary: VocabularyFacts
    stars: list[float]
    """Shares of the ratings 0 (unknown) to 5 in the training reviews."""
    numbers: NumbersFacts
    options: dict[str, Any]
    verdict: str
    rules: list[dict[str, Any]]
    figures: list[dict[str, Any]]
    history: list[dict[str, Any]]
    family: str = ""
    adaptation: str = ""
    since: str | None = None
    data: dict[str, str] = Field(default_factory=dict)


class HealthAnswer(AnswerPart):
    """The process works."""

    status: Literal["ok"]


class RefusalAnswer(AnswerPart):
    """A version that cannot be served."""

    version: str
    why: str
    when: str


class ReadyAnswer(AnswerPart):
    """Whether requests should be sent here. Requests without a known token, if there are tokens, those of other pages,
    and those under another Host name get the status only."""

    status: Literal["ready", "ending", "engine ended"]
    champion: str | None = None
    classifier: str | None = None
    since: str | None = None
    open: list[str] = Field(default_factory=list)
    refused: list[RefusalAnswer] = Field(default_factory=list)
    registry: str = "ok"


class TokenizeAnswer(FromVersion):
    """A text in tokens."""

    tokens: list[Count]
    count: Count
    """Number of tokens."""
    max_model_len: Count
    """Most tokens that a prompt may have."""


class DetokenizeAnswer(FromVersion):
    """The text of tokens."""

    prompt: str


class TokenizerAnswer(FromVersion):
    """The vocabulary of a version."""

    unit: str
    """"word", "bpe", "unigram" or "char"."""
    size: Count
    """Number of tokens; they are numbered from 0 on."""
    bos_token: str
    eos_token: str
    unk_token: str
    model_max_length: Count
    """Most tokens that a prompt may have."""
