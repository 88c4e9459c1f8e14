"""Define the schemas of answers for the description of the interface; tests check answers, the server does not.

A number that is not finite is null in an answer, such as the nats of a token that a model holds impossible.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Number = float | None
"""A number, null if it is not finite."""
Probability = Annotated[float, Field(ge=0, le=1.000001)]
Count = Annotated[int, Field(ge=0)]


class AnswerPart(BaseModel):
    """Base of all answers and their parts: they hold nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class FromVersion(AnswerPart):
    """An answer that says which version it is from."""

    model: str
    """The version, e.g. "reviewlm/3"."""


class ReadTexts(FromVersion):
    """An answer about texts that were read."""

    ratings: list[Annotated[int, Field(ge=0, le=5)]]
    """Star ratings with which the texts were read; several: the average over them."""
    warnings: list[str]
    """What the model has never seen: a rating, a script."""


class UsageAnswer(AnswerPart):
    """Numbers of the model's own tokens."""

    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count


class LogprobsAnswer(AnswerPart):
    """Log-probabilities of the tokens of a text, before the sampling options; lists of equal length."""

    tokens: list[str]
    """The part of `text` that each token is: of an echoed prompt as it was sent, so an unknown word has its letters.
    The end of the review is `<eos>`."""
    token_logprobs: list[Number]
    """Null for a special token at the beginning of an echoed prompt: nothing predicts it."""
    top_logprobs: list[dict[str, Number] | None]
    """The token itself by its name in `tokens`, and the likeliest ones by what they would add to the text; by
    `token_id:N` where that is nothing, or what another of them adds."""
    text_offset: list[Count]
    """Where each token begins in `text`, in characters; without `echo`, the first at 0."""
    token_ids: list[Count]
    """The tokens, as `/tokenize` gives them."""


class ChoiceAnswer(AnswerPart):
    """One text, or a piece of it."""

    text: str
    index: Count
    """Number of the text: those of the first prompt come first."""
    logprobs: LogprobsAnswer | None
    finish_reason: Literal["stop", "length"] | None
    """Null on the pieces of a stream but the last of each text."""
    stars: Annotated[int, Field(ge=0, le=5)] | None
    """Star rating that the text was written with: the one asked for, or drawn as in the training reviews; 0: a review
    without one. Null for a beam search without `stars`, which averages over the ratings."""
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


class VectorAnswer(AnswerPart):
    """The vector of one text."""

    object: Literal["embedding"]
    index: Count
    embedding: list[float] | str
    """Numbers, or with `encoding_format` "base64" float32 numbers, little-endian."""


class EncodedUsage(AnswerPart):
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


class WordAnswer(AnswerPart):
    """A suggested word."""

    word: str
    probability: Probability


class WordsAnswer(AnswerPart):
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


class IntervalAnswer(AnswerPart):
    """The share of one way to go on."""

    kind: Literal["character", "other", "end"]
    """"other": characters beyond ASCII; "end": the end of the review."""
    symbol: str
    probability: Probability
    children: list[IntervalAnswer]
    begun: str
    """Of "other": the first bytes of its characters (UTF-8, in hexadecimal); empty: it has all of them."""


class IntervalsAnswer(ReadTexts):
    """The characters that may come next, in alphabetical order."""

    intervals: list[IntervalAnswer]


class AttributionAnswer(AnswerPart):
    """Which part of a mixture predicted each token; `contributions` sum to the log-probability."""

    parts: list[str]
    shares: list[list[Number]]
    weights: list[list[Number]]
    contributions: list[list[Number]]


class AlternativesAnswer(AnswerPart):
    """What was expected at each token, the end included; lists of equal length."""

    written: list[str]
    """What each token adds to the text; an unknown word and the end add nothing."""
    likeliest: list[list[tuple[str, Number]]]
    """The likeliest tokens with their nats, the likeliest first."""


class _ScoreSums(AnswerPart):
    open_bits_per_byte: Number
    """With the letters of unknown words: use it to compare."""
    bits_per_byte: Number
    oov: Count
    """Unknown words."""
    tokens: Count
    bytes: Count
    nats: Number
    spelling_nats: Number


class TextScoreAnswer(_ScoreSums):
    """The scores of one text."""

    per_token: list[tuple[str, Number]]
    """Each token with its nats."""
    attribution: AttributionAnswer | None = None
    alternatives: AlternativesAnswer | None = None


class ScoreAnswer(_ScoreSums, ReadTexts):
    """The totals of all texts, and the scores of each."""

    texts: Count
    perplexity: Number
    scores: list[TextScoreAnswer]


class LabelAnswer(AnswerPart):
    """What a classifier says about one text."""

    label: str
    probability: Probability
    probabilities: dict[str, Probability]


class ClassifyAnswer(FromVersion):
    """The label of each text."""

    labels: list[str]
    answers: list[LabelAnswer]


class ErrorBody(AnswerPart):
    """Why a request was refused."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorAnswer(AnswerPart):
    """An error, in OpenAI's shape."""

    error: ErrorBody


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
