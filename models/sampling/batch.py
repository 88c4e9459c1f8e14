"""Generate several texts side by side, one token of each per step of the model; texts may join and leave between steps.

A text's tokens depend only on its own distribution and its own random numbers, never on its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from zlib import crc32

import numpy as np
import torch

from ..bundles.bundle import Bundle, require_stars
from ..completion.suggestions import Way
from ..completion.typed import TextStart
from ..options import DrawSeed
from ..sampling_options import Sampling, require_allowed
from ..tokens.special import CONTEXT_IDS, EOS, UNK
from .filters import among, draw, filter_tokens, in_one_pass, pick, sampled_logp
from .watermark import Watermark

Step = Callable[[np.ndarray, Any], tuple[torch.Tensor, Any]]
NOT_WRITTEN = frozenset({UNK, *CONTEXT_IDS})
AHEAD = 32
"""Random numbers of a text that are drawn at a time."""


@dataclass
class SampledText:
    """One text while it is generated.

    Args:
        sampling: How its tokens are drawn.
        uniforms: A number in [0, 1) for each token.
        ids: Its tokens so far, the prompt's included, without those of `Vocabulary.prefix`.
        ended: Set it to let the text leave its batch.
        first: Tokens of which one comes first, see `TextStart`; empty: any.
        mark: The key that its sampling names, from when it joins a batch; None: none.
    """

    sampling: Sampling
    uniforms: Iterator[float]
    ids: list[int]
    ended: bool = False
    first: Sequence[int] = ()
    mark: Watermark | None = None


Text = TypeVar("Text", bound=SampledText)


class TextBatch(Generic[Text]):
    """Texts that share each step of a model.

    Args:
        step: `LanguageModel.step`.
        never: Ids that are not written.
        normalised: Whether the distributions of *step* are normalised.
    """

    def __init__(
        self,
        step: Step,
        never: Collection[int] = NOT_WRITTEN,
        normalised: bool = True,
    ) -> None:
        self._step = step
        self._never = torch.tensor(sorted(never))
        self._normalised = normalised
        self.texts: list[Text] = []
        self.logp_BV = torch.empty(0, 0)
        self._state: Any = None
        self._groups: dict[Sampling, list[int]] = {}

    def join(
        self,
        texts: Sequence[Text],
        logp_BV: torch.Tensor,
        state: Any,
    ) -> None:
        """Add texts whose prefixes were read: the distributions of their next tokens, and the state."""
        self._groups = {}
        self._never = self._never.to(logp_BV.device)
        for text in texts:
            text.mark = None
            if text.sampling.watermark:
                text.mark = Watermark(text.sampling.watermark, len(text.ids))

        logp_BV = _begun(texts, logp_BV)
        if not self.texts:
            self.texts = list(texts)
            self.logp_BV = logp_BV
            self._state = state
        else:
            self.texts += texts
            self.logp_BV = torch.cat([self.logp_BV, logp_BV])
            self._state = type(state).join([self._state, state])

    def draw(self) -> np.ndarray:
        """Return the next token of each text; texts with equal options are filtered together."""
        if not self._groups:
            for row, text in enumerate(self.texts):
                self._groups.setdefault(text.sampling, []).append(row)

        ids_B = np.empty(len(self.texts), np.int64)
        for sampling, rows in self._groups.items():
            if len(self._groups) == 1:
                logp_BV = self.logp_BV
            else:
                logp_BV = self.logp_BV[rows]

            uniforms_B = np.array([next(self.texts[row].uniforms) for row in rows])
            if sampling.repetition_penalty != 1 and not self._normalised:
                logp_BV = torch.log_softmax(logp_BV, 1)
            if sampling.looks_back or not in_one_pass(logp_BV, sampling):
                logp_BV = filter_tokens(
                    logp_BV, self._never, sampling, [self.texts[row].ids for row in rows]
                )
            if in_one_pass(logp_BV, sampling):
                ids_B[rows] = draw(logp_BV, self._never, sampling, uniforms_B)
                continue
            logp_BV = sampled_logp(logp_BV, sampling)
            ids_B[rows] = pick(logp_BV, uniforms_B)
            if sampling.watermark:
                self._mark(rows, logp_BV, uniforms_B, ids_B)

        return ids_B

    def _mark(
        self,
        rows: Sequence[int],
        logp_BV: torch.Tensor,
        uniforms_B: np.ndarray,
        ids_B: np.ndarray,
    ) -> None:
        """Write the tokens of some texts over those that were drawn, where their watermark says so."""
        p_BV = logp_BV.double().exp().cpu().numpy()
        for p_V, uniform, row in zip(p_BV, uniforms_B.tolist(), rows, strict=True):
            text = self.texts[row]
            if (
                text.mark is not None
                and (token := text.mark.token(text.ids, p_V, uniform)) is not None
            ):
                ids_B[row] = token

    def logp(self, row: int) -> torch.Tensor:
        """Return the distribution of one text's next token, normalised (V)."""
        if self._normalised:
            return self.logp_BV[row]
        return torch.log_softmax(self.logp_BV[row], 0)

    def keep(self, rows: Sequence[int]) -> None:
        """Remove all other texts, so that the model has less to compute."""
        if len(rows) == len(self.texts):
            return
        self._groups = {}
        self.texts = [self.texts[row] for row in rows]
        self.logp_BV = self.logp_BV[list(rows)]
        if rows:
            self._state = self._state.take(rows)
        else:
            self._state = None

    def advance(self, ids_B: np.ndarray) -> None:
        """Read the next token of each text."""
        for text, token in zip(self.texts, ids_B.tolist(), strict=True):
            text.ids.append(token)
        self.logp_BV, self._state = self._step(ids_B, self._state)

    def write(self, most: int) -> Iterator[tuple[Text, int]]:
        """Yield at most *most* tokens of each text, position by position, until all have ended."""
        ids_B = self.draw()
        for left in reversed(range(most)):
            yield from zip(self.texts, ids_B.tolist(), strict=True)
            ends_B = (ids_B == EOS) | [text.ended or not left for text in self.texts]
            self.logp_BV = self.logp_BV[:, :0]  # drawn from; `keep` would copy it
            self.keep(np.flatnonzero(~ends_B).tolist())
            if not self.texts:
                break
            self.advance(ids_B[~ends_B])
            ids_B = self.draw()


def _begun(texts: Sequence[SampledText], logp_BV: torch.Tensor) -> torch.Tensor:
    """Return the distributions, of texts with `SampledText.first` among those tokens only."""
    rows = [row for row, text in enumerate(texts) if text.first]
    if rows:
        logp_BV = logp_BV.clone()
    for row in rows:
        logp_BV[row] = among(logp_BV[row], texts[row].first)
    return logp_BV


def draws_of(seed: int, *more: int) -> np.random.Generator:
    """Return the random numbers of a seed and further numbers of at least 0; numpy takes a negative seed as these bits.

    Raises:
        ModelError: kind "input": the seed is no whole number of 64 bits.
    """
    require_allowed("seed", seed, DrawSeed)
    return np.random.default_rng([int(seed) % 2**64, *more])


def rating_of(
    bundle: Bundle,
    stars: int | None,
    seed: int,
    number: int,
) -> int:
    """Return the rating of text *number*: *stars*, or one drawn from the shares of the training reviews.

    Raises:
        ModelError: kind "input": the rating is not valid.
    """
    require_stars(stars)
    if stars is not None:
        return stars
    ends = np.cumsum(bundle.stars_prior)
    uniform = draws_of(seed, number).random()
    return int(np.searchsorted(ends, uniform * ends[-1], side="right"))


def start_by(
    ways: Sequence[Way],
    sampling: Sampling,
    seed: int,
    number: int,
    stars: int,
    prompt: str,
) -> TextStart:
    """Return how one text begins: a way is drawn as tokens are, by temperature, top-k, top-p, min-p and typical-p.

    Its random number is not one of the text's others: a prompt without an open end keeps its texts.
    """
    if len(ways) == 1:
        return ways[0].start

    uniform = draws_of(
        seed,
        number,
        stars,
        crc32(prompt.encode()),
        1,
    ).random()
    masses_W = torch.tensor([way.mass for way in ways], dtype=torch.float64)
    logp_1W = torch.log(masses_W / masses_W.sum())[None]
    return ways[int(pick(sampled_logp(logp_1W, sampling), np.array([uniform]))[0])].start


def uniforms_of(
    seed: int,
    number: int,
    stars: int,
    prompt: str,
) -> Iterator[float]:
    """Yield the random numbers of one text.

    The seed includes the rating and the prompt: texts that differ only in them would otherwise soon be the same.
    """
    draws = draws_of(seed, number, stars, crc32(prompt.encode()))
    while True:
        yield from draws.random(AHEAD).tolist()  # the same numbers as one by one, in fewer calls
