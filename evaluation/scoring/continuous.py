"""Measure perplexity on a text read as one stream, for models that stay fixed or adapt to it while they read.

Two kinds of adaptation are measured beside the fixed ("static") model: a cache of recent words, and "dynamic
evaluation", which goes on training on the text after it has scored it.

The literature measures adaptive models in this way: one stream, read once in the order of the text, with the state
carried from sentence to sentence and from document to document. Such figures are lower than those of reviews that are
scored one by one, for every model. They can be compared with each other and with published figures of the same protocol
only, so the name of each figure includes the adaptation and the stream. All parameters are chosen on validation text,
which is read in the same way; the test text is not used to choose them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from core.errors import EmptyInput, InputError
from models.base import FitResult, LanguageModel, adaptation_of
from models.mixture.parts import Part
from models.neural.adaptive.dynamic import DynamicLM
from models.neural.adaptive.neural_cache import NeuralCacheLM
from models.ngram.lines.text_source import opened
from models.specs import DynamicSpec, NeuralCacheSpec
from models.streams import TokenStream, write_stream
from models.tokens.vocabulary import CONTEXT_IDS

if TYPE_CHECKING:
    from models.bundles.bundle import Bundle
    from models.tokens.vocabulary import Vocabulary

VARIANTS = ("static", "cache", "dynamic")
CHUNK = 4096
"""Tokens per call of the model; does not change the result."""


@dataclass(frozen=True)
class ContinuousFigure:
    """Result of one way of reading the test text.

    Args:
        variant: Name of the figure: how the model adapts, and that the text was one stream.
        tokens: Scored tokens.
        nats: −Σ log p.
        chosen: Parameters, by name.
        validation_perplexity: Perplexity of the validation tokens on which they were chosen; None if nothing was
            chosen.
        tuning_seconds: Processor time of choosing.
        seconds: Processor time of reading the test text; static and cache are read together.
    """

    variant: str
    tokens: int
    nats: float
    chosen: dict[str, float]
    validation_perplexity: float | None
    tuning_seconds: float
    seconds: float

    @property
    def perplexity(self) -> float:
        """exp(nats per token)."""
        return float(np.exp(self.nats / self.tokens))

    def to_dict(self) -> dict[str, Any]:
        """Return all fields under the names of the table."""
        return {
            "variant": self.variant, "perplexity": self.perplexity, "tokens": self.tokens, "nats": self.nats,
            "chosen": ", ".join(f"{name} {value:g}" for name, value in self.chosen.items()) or "nothing",
            "validation perplexity": self.validation_perplexity, "tuning, CPU s": round(self.tuning_seconds, 1),
            "test, CPU s": round(self.seconds, 1),
        }  # fmt: skip


def compare_continuous(
    bundle: Bundle,
    validation: TokenStream,
    test: TokenStream,
    train: TokenStream | None = None,
    variants: Sequence[str] = VARIANTS,
    *,
    cache: NeuralCacheSpec | None = None,
    dynamic: DynamicSpec | None = None,
    report: Callable[[ContinuousFigure], None] = lambda figure: None,
) -> list[ContinuousFigure]:
    """Read the test text once for each variant, with parameters chosen on the validation text.

    Args:
        bundle: A static neural model.
        validation: Text that parameters are chosen on, read as one stream.
        test: Text that is measured, read as one stream.
        train: Training text of the same model; the rule "rms" of dynamic evaluation needs it.
        cache: Candidates of the cache; `across` is always set.
        dynamic: Candidates of dynamic evaluation; `across` is always set.
        report: Called with each figure when it is ready.

    Raises:
        InputError: A variant is unknown, training text is missing, or the test text has no token to predict.
        models.base.ModelError: The bundle has no neural model, or a stream has another vocabulary.
    """
    if unknown := [name for name in variants if name not in VARIANTS]:
        raise InputError("Unknown variant", value=unknown[0], remedy=", ".join(VARIANTS))
    cached = replace(cache or NeuralCacheSpec(), across=True)
    learning = replace(dynamic or DynamicSpec(), across=True)
    if "dynamic" in variants and learning.rule == "rms" and train is None:
        raise InputError("The rule 'rms' needs the training text", remedy="give it, or use the rule 'sgd'")
    for stream in (validation, test, *([] if train is None else [train])):
        stream.require(bundle.vocabulary)
    part = Part("static model", bundle.spec, bundle.model)
    figures = []
    for name in variants:
        started = time.process_time()
        if name == "static" and "cache" in variants:
            continue  # the cache's pass over the text also gives the static model's nats
        result = _tuned(name, cached, learning, part, validation if train is None else train, validation)
        tuned = time.process_time()
        sums = continuous_nats(bundle.model if result is None else result.model, test)
        seconds = tuned - started, time.process_time() - tuned
        found = [_figure(sums, result, bundle.model, seconds)]
        if name == "cache" and "static" in variants:
            found.insert(0, _figure(replace(sums, nats=sums.static_nats), None, bundle.model, (0.0, seconds[1])))
        for figure in found:
            report(figure)
        figures += found
    return figures


def _tuned(
    name: str, cache: NeuralCacheSpec, dynamic: DynamicSpec, part: Part, train: TokenStream, validation: TokenStream
) -> FitResult | None:
    if name == "cache":
        return NeuralCacheLM.tuned(cache, part, validation)
    return DynamicLM.tuned(dynamic, part, train, validation) if name == "dynamic" else None


CHOSEN = ("theta", "window", "rate", "decay")


def _figure(
    sums: StreamSums, result: FitResult | None, static: LanguageModel, seconds: tuple[float, float]
) -> ContinuousFigure:
    summary = result.summary if result else {}
    chosen = {name: summary[name] for name in CHOSEN if name in summary}
    if result and isinstance(result.model, NeuralCacheLM):
        # The last range is for a full memory, and in one long stream the memory is nearly always full.
        chosen["lambda"] = float(result.model.weights_RP[-1, 1])
    variant = f"{adaptation_of(result.model if result else static)}, continuous stream"
    return ContinuousFigure(variant, sums.tokens, sums.nats, chosen, summary.get("validation/perplexity"), *seconds)


@dataclass(frozen=True)
class StreamSums:
    """−Σ log p over the scored tokens of a text, their number, and the same sum of the static model inside a cache."""

    tokens: int
    nats: float
    static_nats: float


def continuous_nats(model: LanguageModel, stream: TokenStream) -> StreamSums:
    """Read a text as one stream with carried state; every token that is predicted is scored once.

    Raises:
        InputError: There is no token to predict.
    """
    state, tokens, nats, static = model.start(1), 0, 0.0, 0.0
    for begin in range(0, len(stream.ids), CHUNK):
        ids_1T = np.asarray(stream.ids[begin : begin + CHUNK], np.int64)[None]
        if isinstance(model, NeuralCacheLM):
            found, state = model.attribute(ids_1T, state)
            nats_1T, static_1T = found.nats_BT, found.part_nats_BTP[..., 0]
        else:
            nats_1T, state = model.score(ids_1T, state)
            static_1T = nats_1T
        nats, static = nats + float(nats_1T.sum()), static + float(static_1T.sum())
        tokens += int((~np.isin(ids_1T, sorted(CONTEXT_IDS))).sum())
    if not tokens:
        raise InputError("The text has no token to predict", where=stream.folder)
    return StreamSums(tokens, nats, static)


def stream_of(path: Path, vocabulary: Vocabulary, work: Path) -> TokenStream:
    """Return a folder of tokens as a stream; or tokenize a text file, with each line as a document in the normal form.

    Args:
        path: A folder written by `models.streams.write_stream`, or a text file, plain, .gz or .zst.
        work: Folder that the tokens of a text are written to.

    Raises:
        InputError: The path is neither, or cannot be read.
        EmptyInput: The text has no line.
    """
    if path.is_dir():
        return TokenStream.open(path)
    try:
        with opened(path) as file:
            text = file.read().decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError("The text cannot be read", where=path, cause=str(error)) from error
    # Not `splitlines`: it also splits at U+2028, U+0085 and others, which texts contain, and would cut documents.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    texts = [text for line in lines if (text := vocabulary.normal_form.apply(line))]
    if not texts:
        raise EmptyInput("There is no line of text", where=path)
    frame = pl.DataFrame({"review_id": [str(number) for number in range(len(texts))], "text": texts})
    frame = frame.with_columns(stars=pl.lit(0, pl.Int8), bytes=pl.col("text").str.len_bytes() + 1)
    write_stream(work, vocabulary, [frame])
    return TokenStream.open(work)
