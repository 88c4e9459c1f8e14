"""Generate whole reviews by sampling from any language model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..base import gives_probabilities, read_on
from ..bundles.bundle import Bundle
from ..completion.reading import PrefixReader, result_of, run_together
from ..completion.suggestions import Way, ways_on
from ..completion.typed import WrittenText, start_of
from ..options import Count
from ..sampling_options import Sampling, given_stop, require_allowed
from ..text.given import given_text
from ..tokens.special import EOS
from .batch import SampledText, TextBatch, rating_of, start_by, uniforms_of

BATCH = 256
"""Texts generated in one batch."""


class GeneratedText(str):
    """A generated text. *ended*: it is not cut at the maximum length."""

    ended = True


def ignore(
    number: int,
    piece: str,
    ended: bool,
) -> None:
    """Hear nothing of texts that grow."""


Wanted = tuple[int, int | None]
"""Number of a text among those of its rating, and the rating."""


def generate(
    bundle: Bundle,
    n: int = 1,
    stars: int | None = None,
    prompt: str = "",
    max_tokens: int = 200,
    seed: int = 0,
    stop: Sequence[str] = (),
    heard: Callable[[int, str, bool], None] = ignore,
    **sampling: Any,
) -> list[GeneratedText]:
    """Return n whole reviews, each up to its end or *max_tokens* tokens.

    Text i depends only on `(seed, i)`, its rating and the prompt. It does not depend on n or on the rest of its batch.

    Args:
        n: Number of texts.
        stars: Rating 0 (unknown) to 5; None draws one for each text from the shares of the training reviews.
        prompt: The beginning of each text, unchanged. The text may go on inside the word at its end (`TextStart`).
        max_tokens: Maximum number of tokens after the prompt.
        seed: Seed of the random streams.
        stop: Strings that end a text; it ends before the first of them.
        heard: Called while the texts grow, with the number of a text, its next piece, and whether it is whole now. The
            prompt and the pieces together are the text. A piece is held back while it may become a stop string.
        sampling: Options of `Sampling`.

    Raises:
        ModelError: kind "input": a parameter is out of its range.
    """
    require_allowed("n", n, Count)
    prompt = given_text(prompt)
    stops = given_stop(stop)
    requests = [(number, stars) for number in range(n)]
    return _write_texts(
        bundle,
        requests,
        prompt,
        Sampling(**sampling),
        max_tokens,
        seed,
        stops,
        heard=heard,
    )


def generate_rated(
    bundle: Bundle,
    counts: Mapping[int, int],
    sampling: Sampling,
    max_tokens: int = 200,
    seed: int = 0,
    report: Callable[[int], None] = lambda done: None,
) -> dict[int, list[GeneratedText]]:
    """Return whole reviews by rating. Texts of different ratings share batches: fewer steps than one call for each.

    Args:
        counts: Number of texts of each rating.
        sampling: How tokens are drawn.
        max_tokens: Maximum number of tokens of a text.
        seed: Seed of the random streams.
        report: Called with the number of texts written, whenever one has ended and after each batch.

    Returns:
        For each rating the texts of `generate` with this rating, the number of texts, and the same options.

    Raises:
        ModelError: kind "input": a parameter is out of its range.
    """
    requests = []
    for stars, count in counts.items():
        requests += [(number, stars) for number in range(count)]

    texts = _write_texts(
        bundle,
        requests,
        "",
        sampling,
        max_tokens,
        seed,
        (),
        report,
    )
    by_stars: dict[int, list[GeneratedText]] = {stars: [] for stars in counts}
    for (_, rating), text in zip(requests, texts, strict=True):
        by_stars[rating].append(text)

    return by_stars


def stream(
    bundle: Bundle,
    stars: int | None = None,
    prompt: str = "",
    max_tokens: int = 200,
    seed: int = 0,
    stop: Sequence[str] = (),
    **sampling: Any,
) -> Iterator[str]:
    """Yield the text of `generate` with n = 1 piece by piece, as it is written; the pieces together are that text.

    A piece is held back while it may become a stop string.

    Args: as for `generate`.
    """
    prompt = given_text(prompt)
    stops = given_stop(stop)
    pieces = _pieces(
        bundle,
        [(0, stars)],
        prompt,
        Sampling(**sampling),
        max_tokens,
        seed,
        stops,
    )
    if prompt:
        yield prompt
    yield from (piece for _, piece in pieces if piece)


@dataclass(kw_only=True)
class _Writing(SampledText):
    """A text of `generate`, its place in the answer, and its writer."""

    row: int
    written: WrittenText


def _write_texts(
    bundle: Bundle,
    requests: Sequence[Wanted],
    prompt: str,
    sampling: Sampling,
    max_tokens: int,
    seed: int,
    stop: Sequence[str],
    report: Callable[[int], None] = lambda done: None,
    heard: Callable[[int, str, bool], None] = ignore,
) -> list[GeneratedText]:
    """Return whole texts, generated in batches."""
    texts: list[GeneratedText] = []
    for first in range(0, len(requests), BATCH):
        batch = requests[first : first + BATCH]
        written = [prompt] * len(batch)
        ended = [False] * len(batch)
        for text, piece in _pieces(
            bundle,
            batch,
            prompt,
            sampling,
            max_tokens,
            seed,
            stop,
        ):
            written[text.row] += piece
            ended[text.row] = text.ended
            heard(first + text.row, piece, text.ended)
            if text.ended:
                report(first + sum(ended))

        for made, is_whole in zip(map(GeneratedText, written), ended, strict=True):
            made.ended = is_whole
            texts.append(made)
        report(len(texts))

    return texts


def _pieces(
    bundle: Bundle,
    requests: Sequence[Wanted],
    prompt: str,
    sampling: Sampling,
    max_tokens: int,
    seed: int,
    stop: Sequence[str],
) -> Iterator[tuple[_Writing, str]]:
    """Yield the wanted texts, each with its next piece, position by position."""
    require_allowed("max_tokens", max_tokens, Count)
    ratings = [rating_of(bundle, stars, seed, number) for number, stars in requests]
    ways = _ways(bundle, prompt, ratings)
    model = bundle.writer.model
    batch: TextBatch[_Writing] = TextBatch(model.step, normalised=gives_probabilities(model))
    texts = []
    prefixes = []
    for row, ((number, _), rating) in enumerate(zip(requests, ratings, strict=True)):
        start = start_by(
            ways[rating],
            sampling,
            seed,
            number,
            rating,
            prompt,
        )
        written = WrittenText(bundle.vocabulary, prompt, stop, start)
        uniforms = uniforms_of(seed, number, rating, prompt)
        texts.append(
            _Writing(
                sampling,
                uniforms,
                [*start.ids],
                first=start.first,
                row=row,
                written=written,
            )
        )
        prefixes.append([*bundle.vocabulary.prefix(rating), *start.ids])

    for length in sorted(set(map(len, prefixes))):
        rows = [row for row, prefix in enumerate(prefixes) if len(prefix) == length]
        batch.join([texts[row] for row in rows], *_read(bundle, [prefixes[row] for row in rows]))

    for text, token in batch.write(max_tokens):
        piece = ""
        if token != EOS:
            piece = text.written.add(token)

        text.ended = token == EOS or text.written.stopped
        yield text, piece + text.written.end() if text.ended else piece

    for text in texts:
        yield text, text.written.end()


def _ways(
    bundle: Bundle,
    prompt: str,
    ratings: Sequence[int],
) -> dict[int, list[Way]]:
    """Return the ways in which texts of some ratings go on from a prompt."""
    distinct = sorted(set(ratings))
    usual = start_of(bundle.vocabulary, prompt)
    reader = PrefixReader(bundle.model)
    prefixes = [tuple(bundle.vocabulary.prefix(rating)) for rating in distinct]
    searches = [ways_on(bundle.vocabulary, usual, prefix, reader) for prefix in prefixes]
    return dict(zip(distinct, result_of(run_together(reader, *searches)), strict=True))


def _read(bundle: Bundle, prefixes: list[list[int]]) -> tuple[torch.Tensor, object]:
    """Read prefixes of one length, equal ones only once; return the distributions of the next token and the state."""
    distinct = sorted(set(map(tuple, prefixes)))
    ids_BT = np.array(distinct, np.int64)
    state = read_on(bundle.model, ids_BT[:, :-1], bundle.model.start(len(distinct)))
    logp_BV, state = bundle.model.step(ids_BT[:, -1], state)
    rows = [distinct.index(tuple(prefix)) for prefix in prefixes]
    return logp_BV[rows], state.take(rows)
