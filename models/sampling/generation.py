"""Generate whole reviews by sampling from any language model."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from math import isfinite
from os.path import commonprefix
from typing import Any
from zlib import crc32

import numpy as np
import torch

from ..base import LanguageModel, ModelError
from ..bundles.bundle import Bundle, require_stars
from ..tokens.vocabulary import CONTEXT_IDS, EOS, UNK, Vocabulary, page

BATCH = 64
"""Texts generated in one batch."""
HEADS = (64, 1024)
"""Numbers of most probable entries in which the nucleus (top-p) is searched before all entries are ranked."""


def generate(
    bundle: Bundle,
    n: int = 1,
    stars: int | None = None,
    prompt: str = "",
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    max_tokens: int = 200,
    seed: int = 0,
) -> list[str]:
    """Return n whole reviews, each up to its end or *max_tokens* tokens.

    Text i depends only on `(seed, i)`, its rating and the prompt. It does not depend on n or on the rest of its batch.

    Args:
        n: Number of texts.
        stars: Rating 0 (unknown) to 5; None draws one for each text from the shares of the training reviews.
        prompt: The beginning of each text, unchanged.
        temperature: 1 is the model as it is, 0 always takes the most probable token.
        top_k: Only the k most probable tokens; 0 means all.
        top_p: Only the most probable tokens that make up this share (Holtzman et al. 2020).
        max_tokens: Maximum number of tokens after the prompt.
        seed: Seed of the random streams.

    Raises:
        ModelError: kind "input": a parameter is out of its range.
    """
    _require_whole("n", n, 1)
    texts: list[str] = []
    for first in range(0, n, BATCH):
        numbers = range(first, min(n, first + BATCH))
        written: list[list[int]] = [[] for _ in numbers]
        for row, token in _tokens(bundle, numbers, stars, prompt, (temperature, top_k, top_p), max_tokens, seed):
            written[row].append(token)
        texts += [_on_page(bundle.vocabulary, prompt, ids) for ids in written]
    return texts


def stream(
    bundle: Bundle, stars: int | None = None, prompt: str = "", temperature: float = 1.0, top_k: int = 0,
    top_p: float = 1.0, max_tokens: int = 200, seed: int = 0,
) -> Iterator[str]:  # fmt: skip
    """Yield the text of `generate` with n = 1 piece by piece, as it is written; the pieces together are that text.

    A piece is held back while the next token may still change it, such as the space before a comma.

    Args: as for `generate`.
    """
    ids: list[int] = []
    told, before = 0, _on_page(bundle.vocabulary, prompt, [])
    for _, token in _tokens(bundle, range(1), stars, prompt, (temperature, top_k, top_p), max_tokens, seed):
        ids.append(token)
        text = _on_page(bundle.vocabulary, prompt, ids)
        sure = len(commonprefix((before, text)))  # noqa: RUF071 (characters are meant)
        if sure > told:
            yield text[told:sure]
            told = sure
        before = text
    yield before[told:]


def _tokens(
    bundle: Bundle, numbers: range, stars: int | None, prompt: str, filters: tuple[float, int, float], max_tokens: int,
    seed: int,
) -> Iterator[tuple[int, int]]:  # fmt: skip
    """Yield row and token of the texts with these numbers, position by position."""
    require_stars(stars)
    _require_whole("max_tokens", max_tokens, 1)
    _require_whole("seed", seed, 0)
    _require_filter(*filters)
    context = bundle.vocabulary.encode(page(bundle.vocabulary, prompt)).tolist()
    ratings = [_rating(bundle.stars_prior, seed, i) if stars is None else stars for i in numbers]
    # The seed includes the rating and the prompt: texts that differ only in them would otherwise soon be the same.
    keys = [[seed, i, k, crc32(prompt.encode())] for i, k in zip(numbers, ratings, strict=True)]
    uniforms_BT = np.array([np.random.default_rng(key).random(max_tokens) for key in keys])
    logp_BV, state = _read(bundle, [[*bundle.vocabulary.prefix(k), *context] for k in ratings])
    yield from write_tokens(bundle.model, logp_BV, state, uniforms_BT, filters, {UNK, *CONTEXT_IDS})


def write_tokens(
    model: LanguageModel, logp_BV: torch.Tensor, state: Any, uniforms_BT: np.ndarray,
    filters: tuple[float, int, float], never: Collection[int],
) -> Iterator[tuple[int, int]]:  # fmt: skip
    """Yield row and token of at most T sampled tokens of each stream, position by position, without `<eos>`.

    Args:
        model: The model that gave *logp_BV*, the log-probabilities (or scores) of the first token, and *state*.
        uniforms_BT: A number in [0, 1) for each token.
        filters: Temperature, top-k and top-p, see `filter_logp`.
        never: Ids that are not written.
    """
    live = np.arange(len(uniforms_BT))
    for position in range(uniforms_BT.shape[1]):
        ids_B = pick(filter_logp(_allowed(logp_BV, never), *filters), uniforms_BT[live, position])
        going = np.flatnonzero(ids_B != EOS)
        for row in going:
            yield int(live[row]), int(ids_B[row])
        if not len(going) or position + 1 == uniforms_BT.shape[1]:
            break
        if len(going) < len(live):
            # Remove finished texts from the batch, so that the others are generated faster.
            live, ids_B, state = live[going], ids_B[going], state.take(going.tolist())
        logp_BV, state = model.step(ids_B, state)


def _read(bundle: Bundle, prefixes: list[list[int]]) -> tuple[torch.Tensor, Any]:
    """Read prefixes of one length, equal ones only once; return the distributions of the next token and the state."""
    distinct = sorted(set(map(tuple, prefixes)))
    ids_BT = np.array(distinct, np.int64)
    state = bundle.model.score(ids_BT[:, :-1], bundle.model.start(len(distinct)))[1]
    logp_BV, state = bundle.model.step(ids_BT[:, -1], state)
    rows = [distinct.index(tuple(prefix)) for prefix in prefixes]
    return logp_BV[rows], state.take(rows)


def _on_page(vocabulary: Vocabulary, prompt: str, ids: Sequence[int]) -> str:
    text = vocabulary.decode(ids, prompt)
    return prompt + (text.lstrip() if not prompt or prompt[-1].isspace() else text)


def _rating(shares: Sequence[float], seed: int, number: int) -> int:
    """Draw the rating of text *number*."""
    ends = np.cumsum(shares)
    uniform = np.random.default_rng([seed, number]).random()
    return int(np.searchsorted(ends, uniform * ends[-1], side="right"))


def _allowed(logp_BV: torch.Tensor, never: Collection[int]) -> torch.Tensor:
    """Return the distribution without some tokens; a row without any other token gets `<eos>`."""
    logp_BV = logp_BV.clone()
    logp_BV[:, sorted(never)] = -torch.inf
    logp_BV[torch.isneginf(logp_BV).all(1), EOS] = 0.0
    return logp_BV


def filter_logp(
    logp_BV: torch.Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
) -> torch.Tensor:
    """Return log-probabilities after temperature, top-k and top-p, in this order, normalised again.

    Entries that are as probable as the least probable kept entry are kept too. Otherwise the choice between equal
    entries would depend on the device. Temperature 0 gives probability 1 to the most probable entry (of equals, the
    first).

    Args:
        logp_BV: Log-probabilities, normalised or not.
        temperature: Divides the log-probabilities.
        top_k: 0 keeps all.
        top_p: 1 keeps all.

    Raises:
        ModelError: kind "input": a parameter is out of its range.
    """
    _require_filter(temperature, top_k, top_p)
    size = logp_BV.shape[1]
    if temperature == 0:
        positions = torch.arange(size, device=logp_BV.device)
        first_B1 = torch.where(logp_BV == logp_BV.amax(1, keepdim=True), positions, size).amin(1, keepdim=True)
        return torch.full_like(logp_BV, -torch.inf).scatter_(1, first_B1, 0.0)
    # Relative to the largest, so that no temperature can push all of them to -inf.
    logp_BV = torch.log_softmax((logp_BV - logp_BV.amax(1, keepdim=True)) / temperature, 1)
    if 0 < top_k < size:
        logp_BV = _keep_from(logp_BV, logp_BV.topk(top_k).values[:, -1:])
    if top_p < 1:
        logp_BV = _keep_from(logp_BV, _nucleus_floor(logp_BV, top_p))
    return logp_BV


def _keep_from(logp_BV: torch.Tensor, floor_B1: torch.Tensor) -> torch.Tensor:
    return torch.log_softmax(logp_BV.masked_fill(logp_BV < floor_B1, -torch.inf), 1)


def _nucleus_floor(logp_BV: torch.Tensor, top_p: float) -> torch.Tensor:
    """Return the log-probability of the last entry that is needed to reach *top_p* (B, 1).

    Ranking all entries is slow and seldom needed: rank only the most probable ones, and more of them where those do
    not reach *top_p*.
    """
    floor_B1 = torch.empty_like(logp_BV[:, :1])
    rows = torch.arange(len(logp_BV), device=logp_BV.device)
    for width in (*(head for head in HEADS if head < logp_BV.shape[1]), logp_BV.shape[1]):
        ranked = logp_BV[rows].topk(width).values
        ends = ranked.exp().cumsum(1, dtype=torch.float64)
        enough = (ends[:, -1] >= top_p) | (width == logp_BV.shape[1])
        # An entry is needed if the entries before it do not reach the share yet.
        needed = 1 + (ends[:, :-1] < top_p).sum(1, keepdim=True)
        floor_B1[rows[enough]] = ranked.gather(1, needed - 1)[enough]
        rows = rows[~enough]
        if not len(rows):
            break
    return floor_B1


def pick(logp_BV: torch.Tensor, uniforms_B: np.ndarray) -> np.ndarray:
    """Return one token of each row (int64) by inversion of its cumulative distribution function.

    `torch.multinomial` is ten times slower on a [64, V] matrix, and its random stream depends on the batch.

    Args:
        logp_BV: Log-probabilities.
        uniforms_B: Numbers in [0, 1).
    """
    ends_BV = logp_BV.exp().cumsum(1, dtype=torch.float64)
    targets_B1 = torch.as_tensor(uniforms_B, dtype=torch.float64, device=logp_BV.device)[:, None] * ends_BV[:, -1:]
    # An entry of probability 0 ends where the entry before it ends, so a search with "right" never returns it.
    ids = torch.searchsorted(ends_BV, targets_B1, right=True)[:, 0]
    return ids.clamp(max=logp_BV.shape[1] - 1).cpu().numpy()


def _require_whole(name: str, value: object, least: int) -> None:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least:  # type: ignore[operator]
        raise ModelError(f"{name} is {value!r}; it must be a whole number of at least {least}", "input")


def _require_filter(temperature: float, top_k: int, top_p: float) -> None:
    if not (isinstance(temperature, int | float) and isfinite(temperature) and temperature >= 0):
        raise ModelError(f"temperature is {temperature!r}; it must be a number of at least 0", "input")
    if not (isinstance(top_p, int | float) and 0 < top_p <= 1):
        raise ModelError(f"top_p is {top_p!r}; it must be above 0 and at most 1", "input")
    _require_whole("top_k", top_k, 0)
