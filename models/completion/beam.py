"""Search for the most probable texts: beam search, and beam search with words that the text must contain.

Without required words, each step keeps the most probable beginnings. The greedy text is always among them, so the
result is at least as probable as that. With required words, beginnings compete only with those that contain as much of
the words, as in grid beam search (C. Hokamp and Q. Liu (2017), "Lexically constrained decoding for sequence generation
using grid beam search", ACL); otherwise a beginning with an improbable word would never be kept.

The most probable text of a model of reviews is often the empty one: each token makes a text less probable. So texts are
ranked by their log-probability per token. Even so they are short and general; to get typical texts, sample.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, inf
from typing import Any, NamedTuple

import numpy as np
import torch

from ..base import LanguageModel, ModelError
from ..bundles.bundle import Bundle
from ..options import Count
from ..sampling.filters import among, require_numbers
from ..sampling_options import require_allowed
from ..text.given import given_text, given_texts
from ..tokens.special import CONTEXT_IDS, EOS, UNK
from ..tokens.vocabulary import Vocabulary
from .reading import PrefixReader, Read, Steps, from_start, result_of, run_together
from .suggestions import ways_on
from .typed import TextStart, WrittenText, start_of

NEVER = sorted({UNK, *CONTEXT_IDS})
TAIL = 24
"""Tokens at the end of a text in which required words are looked for."""


@dataclass(frozen=True)
class FoundText:
    """A text that beam search found.

    Args:
        text: The prompt and what follows it.
        logp: Log-probability, in nats, of what follows the prompt, its end included if it ended.
        ended: Whether the review ended; otherwise it is cut at the maximum length.
        tokens: Number of tokens after the prompt.
    """

    text: str
    logp: float
    ended: bool
    tokens: int

    @property
    def perplexity(self) -> float:
        """Perplexity per token after the prompt."""
        return exp(-self.logp / max(self.tokens + self.ended, 1))


class _Beginning(NamedTuple):
    """A text that may be continued.

    `met`: the required words that it contains; `doing`: the word that is being written, and how many of its tokens are.
    A word of a subword vocabulary that is written in full still needs a token that does not continue it.
    """

    logp: float
    ids: tuple[int, ...]
    row: int
    greedy: bool
    met: frozenset[int] = frozenset()
    doing: tuple[int, int] | None = None


class _Choice(NamedTuple):
    """A beginning and a token that may follow."""

    logp: float
    parent: _Beginning
    token: int
    doing: tuple[int, int] | None = None
    greedy: bool = False


def beam_search(
    bundle: Bundle,
    width: int = 5,
    n: int = 1,
    stars: int | None = None,
    prompt: str = "",
    require: Sequence[str] = (),
    max_tokens: int = 200,
) -> list[FoundText]:
    """Return the n most probable texts found, the best first.

    Args:
        bundle: Model and vocabulary.
        width: Beginnings that are kept at each step; with required words at least one for each of their tokens.
        n: Number of texts, at most *width*.
        stars: Rating of the review; 0: a review without one; None: any.
        prompt: The beginning of each text, unchanged.
        require: Words, or sequences of words, that each text must contain as whole words, in any case. Words of the
            prompt count.
        max_tokens: Maximum number of tokens after the prompt.

    Raises:
        ModelError: kind "input": an argument is out of its range, a required word is unknown to the vocabulary, or
            *max_tokens* is too small for the required words.
    """
    return result_of(
        beam_steps(
            bundle,
            width,
            n,
            stars,
            prompt,
            require,
            max_tokens,
        )
    )


def beam_steps(
    bundle: Bundle,
    width: int,
    n: int,
    stars: int | None,
    prompt: str,
    require: Sequence[str],
    max_tokens: int,
    read: Read | None = None,
) -> Steps[list[FoundText]]:
    """Search as `beam_search` does and return the texts; yield after each step, so that a server can do others' work.

    Args: as for `beam_search`; read: reads a prefix, e.g. with a server's cache of states; None: from the start.
    """
    prompt = given_text(prompt)
    words = given_texts(require, "require")
    model, prefix = bundle.reader(stars)
    for name, value in (("width", width), ("n", n), ("max_tokens", max_tokens)):
        require_allowed(name, value, Count)

    if n > width:
        raise ModelError(f"n is {n!r}; it must be at most the width of the beam, {width}", "input")

    required = _compile_required(bundle.vocabulary, words)
    reader = PrefixReader(model, read)
    usual = start_of(bundle.vocabulary, prompt)
    [ways] = yield from run_together(
        reader, ways_on(bundle.vocabulary, usual, tuple(prefix), reader)
    )
    begun = max(ways, key=lambda way: way.mass).start
    search = _Search(
        model,
        bundle.vocabulary,
        width,
        n,
        prompt,
        begun,
        required,
        max_tokens,
    )
    logp_1V, state = (read or from_start)([*prefix, *begun.ids], model)
    return (
        yield from search.run(
            among(logp_1V[0], begun.first)[None] if begun.first else logp_1V, state
        )
    )


def _compile_required(
    vocabulary: Vocabulary, words: Sequence[str]
) -> list[tuple[re.Pattern[str], tuple[int, ...]]]:
    """Return a pattern that finds each required word in a text, and the tokens that write the word."""
    patterns = []
    for word in dict.fromkeys(words):
        clean = vocabulary.normal_form.apply(word)
        ids = tuple(vocabulary.encode(" " + clean if vocabulary.lossless else clean).tolist())
        if not any(char.isalnum() for char in clean):
            raise ModelError(f"require is {word!r}; it must have a letter or a digit", "input")
        if UNK in ids:
            raise ModelError(
                f"require is {word!r}; the model does not know that word and cannot write it",
                "input",
            )
        patterns.append((re.compile(rf"(?<!\w){re.escape(clean)}(?!['’]?\w)", re.IGNORECASE), ids))

    return patterns


class _Search:
    """One search; see `beam_search` for the arguments."""

    def __init__(
        self,
        model: LanguageModel,
        vocabulary: Vocabulary,
        width: int,
        n: int,
        prompt: str,
        begun: TextStart,
        required: list[tuple[re.Pattern[str], tuple[int, ...]]],
        max_tokens: int,
    ) -> None:
        self._model = model
        self._vocabulary = vocabulary
        self._width = width
        self._n = n
        self._prompt = prompt
        self._begun = begun
        self._required = required
        self._max_tokens = max_tokens
        self._needed = sum(len(ids) for _, ids in required)
        if self._needed > max_tokens:
            raise ModelError(
                f"max_tokens is {max_tokens}; the required words alone are {self._needed} tokens",
                "input",
            )

        self._ended: list[tuple[float, tuple[int, ...], bool]] = []
        lossless = vocabulary.lossless
        if lossless:
            self._parts_V = vocabulary.word_part_V
        else:
            self._parts_V = np.zeros(vocabulary.size, bool)

    def run(self, logp_1V: torch.Tensor, state: Any) -> Steps[list[FoundText]]:
        """Return the best texts, given the distribution after the prompt and the state there; yield after each step."""
        live = [
            _Beginning(
                0.0,
                (),
                0,
                not self._required,
                self._met((), frozenset()),
            )
        ]
        logp_BV = logp_1V
        for position in range(1, self._max_tokens + 1):
            choices = self._keep_best(
                list(self._choices(live, logp_BV, self._max_tokens - position))
            )
            live = [self._longer(choice, row) for row, choice in enumerate(choices)]
            if not live or self._is_decided(live):
                break
            if position < self._max_tokens:
                rows = [choice.parent.row for choice in choices]
                last_B = np.array([each.ids[-1] for each in live])
                logp_BV, state = self._model.step(last_B, state.take(rows))
            yield None
        else:
            for each in live:
                if self._is_complete(each):
                    self._ended.append((each.logp, each.ids, False))

        found = []
        for logp, ids, ended in sorted(self._ended, key=_negative_rank)[: self._n]:
            found.append(FoundText(self._text(ids), logp, ended, len(ids)))

        return found

    def _choices(
        self,
        live: Sequence[_Beginning],
        logp_BV: torch.Tensor,
        left: int,
    ) -> Iterator[_Choice]:
        """Yield continuations of all beginnings, and keep the texts that end here; *left*: tokens after this one."""
        logp_BV = logp_BV.to("cpu", torch.float64, copy=True)
        require_numbers(logp_BV)
        logp_BV[:, NEVER] = -inf
        for parent in live:
            logp_V = logp_BV[parent.row].numpy()
            if self._is_complete(parent) and logp_V[EOS] > -inf:
                self._ended.append((parent.logp + float(logp_V[EOS]), parent.ids, True))
            likeliest = int(logp_V.argmax())
            logp_V[EOS] = -inf
            needed = self._needed - self._tokens_of(parent.met, parent.doing)
            for token, doing in self._tokens(parent, logp_V):
                total = parent.logp + float(logp_V[token])
                still = needed - (doing is not None)
                if total > -inf and still <= left:
                    yield _Choice(
                        total,
                        parent,
                        token,
                        doing,
                        parent.greedy and token == likeliest,
                    )

    def _tokens(
        self, parent: _Beginning, logp_V: np.ndarray
    ) -> Iterator[tuple[int, tuple[int, int] | None]]:
        """Yield the tokens to try after a beginning, and which token of which required word each is."""
        if parent.doing is not None:
            word, done = parent.doing
            if done < len(self._required[word][1]):
                yield self._required[word][1][done], (word, done + 1)
                return
            logp_V = np.where(self._parts_V, -inf, logp_V)

        width = min(2 * self._width, int((logp_V > -inf).sum()))
        for token in np.argpartition(-logp_V, width - 1)[:width].tolist() if width else []:
            yield token, None

        for word, (_, ids) in enumerate(self._required):
            if word not in self._complete(parent):
                yield ids[0], (word, 1)

    def _keep_best(self, choices: Sequence[_Choice]) -> list[_Choice]:
        """Return the best continuations: of each amount of required words its share, else of all."""
        ranked = sorted(choices, key=lambda choice: (-choice.logp, choice.parent.row, choice.token))
        if not self._required:
            return ranked[: self._width] + [
                choice for choice in ranked[self._width :] if choice.greedy
            ]

        banks: dict[int, list[_Choice]] = {}
        for choice in ranked:
            banks.setdefault(
                self._tokens_of(self._complete(choice.parent), choice.doing), []
            ).append(choice)

        share = max(1, self._width // max(len(banks), 1))
        best = [choice for bank in banks.values() for choice in bank[:share]]
        rest = [choice for bank in banks.values() for choice in bank[share:]]
        return (
            best + sorted(rest, key=lambda choice: -choice.logp)[: max(0, self._width - len(best))]
        )

    def _tokens_of(self, met: frozenset[int], doing: tuple[int, int] | None) -> int:
        return sum(len(self._required[word][1]) for word in met) + (doing[1] if doing else 0)

    def _longer(self, choice: _Choice, row: int) -> _Beginning:
        ids = (*choice.parent.ids, choice.token)
        doing = choice.doing
        met = self._met(ids, self._complete(choice.parent))
        if doing and doing[0] in met:
            doing = None
        return _Beginning(
            choice.logp,
            ids,
            row,
            choice.greedy,
            met,
            doing,
        )

    def _complete(self, beginning: _Beginning) -> frozenset[int]:
        """Return the required words that a text contains if it ends here, or goes on with another word."""
        doing = beginning.doing
        whole = doing is not None and doing[1] == len(self._required[doing[0]][1])
        if doing is not None and whole:
            return beginning.met | {doing[0]}
        return beginning.met

    def _is_complete(self, beginning: _Beginning) -> bool:
        return len(self._complete(beginning)) == len(self._required)

    def _met(self, ids: tuple[int, ...], before: frozenset[int]) -> frozenset[int]:
        """Return the required words that a text contains however it goes on; *before*: those without its last token."""
        if len(before) == len(self._required):
            return before
        if len(ids) <= TAIL:
            text = self._text(ids)
        else:
            text = self._vocabulary.decode(ids[-TAIL:], "x")

        last = len(text) - self._vocabulary.lossless
        met = set(before)
        for word, (pattern, _) in enumerate(self._required):
            first = pattern.search(text)
            if first and first.end() <= last:
                met.add(word)

        return frozenset(met)

    def _is_decided(self, live: Sequence[_Beginning]) -> bool:
        """Return whether no beginning ranks above the texts found."""
        ranks = [_rank(logp, len(ids) + ended) for logp, ids, ended in self._ended]
        best = sorted(ranks, reverse=True)[: self._n]
        beginnings = max(_rank(each.logp, len(each.ids)) for each in live)
        return (
            len(best) == self._n
            and best[-1] >= beginnings
            and not any(each.greedy for each in live)
        )

    def _text(self, ids: tuple[int, ...]) -> str:
        written = WrittenText(self._vocabulary, self._prompt, start=self._begun)
        return self._prompt + "".join(map(written.add, ids)) + written.end()


def _negative_rank(found: tuple[float, tuple[int, ...], bool]) -> float:
    """Return the key that sorts the best texts first."""
    logp, ids, ended = found
    return -_rank(logp, len(ids) + ended)


def _rank(logp: float, tokens: int) -> float:
    return logp / max(tokens, 1)
