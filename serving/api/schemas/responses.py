"""Define what the answers hold, for the description of the interface; tests check answers, the server does not.

A number that is not finite is null in an answer, such as the nats of a token that a model holds impossible.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Number = float | None
"""A number, null if it is not finite."""
Probability = Annotated[float, Field(ge=0, le=1.000001)]
Count = Annotated[int, Field(ge=0)]


class Answer(BaseModel):
    """Base of all answers and their parts: they hold nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class FromVersion(Answer):
    """An answer that says which version it is from."""

    model: str
    """The version, e.g. "reviewlm/3"."""


class ReadTexts(FromVersion):
    """An answer about texts that were read."""

    ratings: list[Annotated[int, Field(ge=0, le=5)]]
    """Star ratings with which the texts were read; several: the average over them."""
    warnings: list[str]
    """What the model has never seen: a rating, a script."""


class UsageAnswer(Answer):
    """Numbers of the model's own tokens."""

    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count


class LogprobsAnswer(Answer):
    """Log-probabilities of the tokens of a text, before the sampling options; lists of equal length."""

    tokens: list[str]
    """What each token adds to the text."""
    token_logprobs: list[Number]
    top_logprobs: list[dict[str, Number]]
    """The likeliest entries of the vocabulary."""
    text_offset: list[Count]
    """Where each token begins, in characters."""


class ChoiceAnswer(Answer):
    """One text, or a piece of it."""

    text: str
    index: Count
    """Number of the text: those of the first prompt come first."""
    logprobs: LogprobsAnswer | None
    finish_reason: Literal["stop", "length"] | None
    """Null on the pieces of a stream but the last of each text."""
    logp: float = 0.0
    """Of a beam search: log-probability of what follows the prompt."""


class _CompletionHead(FromVersion):
    id: str
    object: Literal["text_completion"]
    created: Count
    """Seconds since 1970."""
    system_fingerprint: str
    """Model and number format: a seed gives one text for each."""
    choices: list[ChoiceAnswer]


class CompletionAnswer(_CompletionHead):
    """Texts that continue one prompt or several."""

    usage: UsageAnswer
    warnings: list[str]


class CompletionEvent(_CompletionHead):
    """An event of a stream."""

    usage: UsageAnswer | None = None
    """With `stream_options.include_usage`: on the last event, which has no choices; null before."""
    warnings: list[str] = []
    """On the first event, if there are any."""


class VectorAnswer(Answer):
    """The vector of one text."""

    object: Literal["embedding"]
    index: Count
    embedding: list[float] | str
    """Numbers, or with `encoding_format` "base64" float32 numbers, little-endian."""


class EncodedUsage(Answer):
    """Numbers of tokens read."""

    prompt_tokens: Count
    total_tokens: Count


class EmbeddingAnswer(FromVersion):
    """The vectors of texts, in their order."""

    object: Literal["list"]
    data: list[VectorAnswer]
    bundle: str
    """Digest of the version: vectors of two versions cannot be compared."""
    usage: EncodedUsage
    warnings: list[str]


class WordAnswer(Answer):
    """A suggested word."""

    word: str
    probability: Probability


class WordsAnswer(Answer):
    """Words that may come next, or complete the word being typed."""

    words: list[WordAnswer]
    """The likeliest first."""
    rest: Probability
    """Probability of all that is not listed."""
    typed: str
    """Characters at the end of the prompt that an accepted word replaces."""
    space: str
    """What to write before an accepted word."""
    finished: Probability
    """Probability that the word at the end of the prompt is finished."""
    otherwise: WordsAnswer | None
    """The suggestions for the other reading of the prompt's end."""


class SuggestAnswer(WordsAnswer, ReadTexts):
    """Words to write next."""


class IntervalAnswer(Answer):
    """The share of one way to go on."""

    kind: Literal["character", "other", "end"]
    """"other": all characters beyond ASCII; "end": the end of the review."""
    symbol: str
    probability: Probability
    children: list[IntervalAnswer]


class IntervalsAnswer(ReadTexts):
    """The characters that may come next, in alphabetical order."""

    intervals: list[IntervalAnswer]


class AttributionAnswer(Answer):
    """Which part of a mixture predicted each token; `contributions` and `normaliser` sum to the log-probability."""

    parts: list[str]
    shares: list[list[Number]] | None
    """Null for log-linear mixtures."""
    weights: list[list[Number]]
    contributions: list[list[Number]]
    normaliser: list[Number]


class _Sums(Answer):
    open_bits_per_byte: Number
    """With the letters of unknown words: use it to compare."""
    bits_per_byte: Number
    oov: Count
    """Unknown words."""
    tokens: Count
    bytes: Count
    nats: Number
    spelling_nats: Number


class TextScoreAnswer(_Sums):
    """The scores of one text."""

    per_token: list[tuple[str, Number]]
    """Each token with its nats."""
    attribution: AttributionAnswer | None = None


class ScoreAnswer(_Sums, ReadTexts):
    """The totals of all texts, and the scores of each."""

    texts: Count
    perplexity: Number
    scores: list[TextScoreAnswer]


class LabelAnswer(Answer):
    """What a classifier says about one text."""

    label: str
    probability: Probability = 0.0
    """Missing if the classifier has no probabilities, like the next."""
    probabilities: dict[str, Probability] = {}


class ClassifyAnswer(FromVersion):
    """The label of each text."""

    labels: list[str]
    answers: list[LabelAnswer]


class ModelAnswer(Answer):
    """An alias or a version."""

    id: str
    object: Literal["model"]
    created: Count
    owned_by: Literal["reviewlm"]
    version: str
    aliases: list[str]


class ModelsAnswer(Answer):
    """The aliases, then the versions, the newest first."""

    object: Literal["list"]
    data: list[ModelAnswer]


class VocabularyFacts(Answer):
    """The vocabulary of a version."""

    unit: Literal["word", "bpe", "unigram", "char"]
    entries: Count


class NumbersFacts(Answer):
    """The number format of a version."""

    used: Literal["float32", "int8"]
    int8_loss: Number
    """Share by which int8 raises the bits per byte; null: not measured."""


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
    data: dict[str, str] = {}


class HealthAnswer(Answer):
    """The process works."""

    status: Literal["ok"]


class RefusalAnswer(Answer):
    """A version that cannot be served."""

    version: str
    why: str
    when: str


class ReadyAnswer(Answer):
    """Whether requests should be sent here; other pages, and requests under another Host name, get the status only."""

    status: Literal["ready", "ending", "engine ended"]
    champion: str | None = None
    classifier: str | None = None
    since: str | None = None
    open: list[str] = []
    refused: list[RefusalAnswer] = []
    registry: str = "ok"


class ErrorBody(Answer):
    """Why a request was refused."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorAnswer(Answer):
    """An error, in OpenAI's shape."""

    error: ErrorBody
