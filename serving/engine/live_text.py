"""Follow one text through the engine: from its first token to the last piece that its reader gets."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TypeVar

import torch

from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.completion.suggestions import Way
from reviewlm.models.completion.typed import TextStart, WrittenText, start_of
from reviewlm.models.sampling.batch import SampledText, rating_of, start_by, uniforms_of
from reviewlm.models.tokens.special import EOS
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.models.tokens.words import FIRST
from reviewlm.serving.engine.requests import Finish, Generation, Piece, Ticket, TokenLogprob
from reviewlm.serving.engine.token_places import places_of_ids, token_places

Key = TypeVar("Key", bound=Hashable)
Begin = Callable[["LiveText"], None]
"""Starts the generation of a text."""
Fail = Callable[[Sequence["LiveText"], Exception], None]
"""Ends texts with an error."""
CHARACTER = 4
"""Bytes of the longest character."""


@dataclass(kw_only=True)
class LiveText(SampledText):
    """A text that is read or generated now.

    Args:
        generation: What was asked for.
        ticket: Its reader.
        vocabulary: Of its tokens.
        stars: Its rating.
        start: How it begins; `start.open`: it is not known yet how its last word goes on.
        prefix: The tokens that the model reads before it writes; without the last word while that is not known.
        whole: The tokens of the whole prompt, also those of an unfinished word, which `prefix` lacks.
        written: Its text so far.
        deadline: When it must be finished, on the engine's clock.
        begun: When it was submitted.
        over: Whether it has ended, in any way, and has given its place back.
        places: Where each of the prompt's tokens begins in the prompt, if their log-probabilities were asked for.
    """

    generation: Generation
    ticket: Ticket
    vocabulary: Vocabulary
    stars: int
    start: TextStart
    prefix: list[int]
    whole: list[int]
    written: WrittenText
    deadline: float
    begun: float
    over: bool = False
    places: Sequence[int] = ()
    count: int = 0
    told: int = 0
    length: int = 0
    tokens: list[TokenLogprob] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        generation: Generation,
        ticket: Ticket,
        begun: float,
    ) -> LiveText:
        """Return a text before its first token.

        Raises:
            ModelError: kind "input": the rating is not valid.
        """
        stars = rating_of(bundle, generation.stars, generation.seed, generation.number)
        start = _start_of(bundle.vocabulary, generation)
        given = bundle.vocabulary.prefix(stars)
        prefix = [*given, *(start.open.context if start.open else start.ids)]
        return cls(
            sampling=generation.sampling,
            ids=prefix[2:],
            first=start.first,
            generation=generation,
            ticket=ticket,
            uniforms=uniforms_of(generation.seed, generation.number, stars, generation.prompt),
            vocabulary=bundle.vocabulary,
            stars=stars,
            start=start,
            prefix=prefix,
            whole=[*given, *start.whole],
            begun=begun,
            written=WrittenText(bundle.vocabulary, generation.prompt, generation.stop, start),
            deadline=float("inf") if generation.seconds is None else begun + generation.seconds,
            places=_places(bundle.vocabulary, generation, start),
        )

    def begin_in(self, ways: list[Way]) -> None:
        """Draw one of the ways to continue the prompt's last word, and begin the text with it."""
        generation = self.generation
        self.start = start_by(
            ways,
            generation.sampling,
            generation.seed,
            generation.number,
            self.stars,
            generation.prompt,
        )
        self.prefix = [*self.prefix[:2], *self.start.ids]
        self.ids = self.prefix[2:]
        self.first = self.start.first
        self.written = WrittenText(self.vocabulary, generation.prompt, generation.stop, self.start)

    @property
    def echoes_scores(self) -> bool:
        """Whether the log-probabilities of the prompt's tokens were asked for, and it has some."""
        return self.generation.echo and self.generation.logprobs is not None and len(self.whole) > 2

    def echo(self, tokens: tuple[TokenLogprob, ...] = ()) -> None:
        """Give the prompt back if that was asked for, with the log-probabilities of its tokens."""
        if self.generation.echo:
            self.told = self.length = len(self.generation.prompt)
            if self.generation.logprobs is not None:
                tokens = (
                    *(TokenLogprob(token, "", None, 0) for token in self.generation.given),
                    *tokens,
                )
            self.ticket.write(Piece(self.generation.prompt, tokens))

    def part(self, number: int) -> str:
        """Return the part of the prompt that one of its tokens stands for."""
        return self.generation.prompt[self.places[number] : ([*self.places, None])[number + 1]]

    def take(self, token: int, logp_V: torch.Tensor | None) -> Finish | None:
        """Add the token that was drawn, hand on what is certain, and return the finish reason if the text ends here.

        Args:
            token: The token.
            logp_V: The model's distribution that it was drawn from, before the sampling options; only needed if
                log-probabilities were asked for.
        """
        self.count += 1
        if logp_V is not None:
            if token == EOS:
                name = self.vocabulary.token(EOS)
            else:
                name = self.written.shown(token)

            top = self.top(logp_V, token, name, self.written.shown)
            self.tokens.append(
                TokenLogprob(
                    token,
                    name,
                    float(logp_V[token]),
                    self.length,
                    top,
                )
            )
            self.length += 0 if token == EOS else len(name)

        sure = ""
        if token != EOS:
            sure = self.written.add(token)

        finish: Finish | None = "stop" if token == EOS or self.written.stopped else None
        if finish is None and self.count >= self.generation.max_tokens:
            finish = "length"

        self.hand_on(sure, finish)
        return finish

    def hand_on(self, sure: str, finish: Finish | None) -> None:
        """Write a piece to the ticket. Tokens of a stop string, and those held back with its text, are left out."""
        if finish is not None:
            sure += self.written.end()

        self.told += len(sure)
        given = len(self.tokens)
        if given and (finish is None or self.written.stopped):
            given = next(
                (n for n, token in enumerate(self.tokens) if token.offset >= self.told), given
            )

        tokens = tuple(self.tokens[:given])
        self.tokens = self.tokens[given:]
        last = finish is not None
        self.ticket.write(
            Piece(
                sure,
                tokens,
                finish,
                len(self.whole) - 2 if last else 0,
                self.count if last else 0,
            )
        )

    def top(
        self,
        logp_V: torch.Tensor,
        token: int,
        name: str,
        shown: Callable[[int], str],
    ) -> dict[str, float]:
        """Return the log-probabilities of the next token and of the most probable ones, as many as were asked for.

        Args:
            logp_V: Distribution of the next token.
            token: The next token.
            name: Its name.
            shown: Returns what a token would add to the text. Special tokens, such as the end, have their names.
        """
        values, ids = (
            each.tolist() for each in logp_V.topk(min(self.generation.logprobs or 0, len(logp_V)))
        )
        logprobs = {name: float(logp_V[token])}
        for each, value in zip(ids, values, strict=True):
            if each != token and value > -inf:
                if each >= FIRST:
                    text = shown(each)
                else:
                    text = self.vocabulary.token(each)

                logprobs[text if text and text not in logprobs else f"token_id:{each}"] = value
        return logprobs


def _start_of(vocabulary: Vocabulary, generation: Generation) -> TextStart:
    """Return how a text begins; given tokens are read as they are, also the first bytes of a character at their end."""
    if not generation.ids:
        return start_of(vocabulary, generation.prompt)
    return TextStart(
        generation.ids,
        generation.ids,
        path=generation.ids[-CHARACTER:] if vocabulary.lossless else (),
    )


def _places(
    vocabulary: Vocabulary,
    generation: Generation,
    start: TextStart,
) -> Sequence[int]:
    if not generation.echo or generation.logprobs is None:
        return ()
    if generation.ids:
        return places_of_ids(vocabulary, generation.ids)[1]
    return token_places(vocabulary, generation.prompt, start.whole)


def drop_ended(waiting: dict[Key, list[LiveText]]) -> None:
    """Drop texts that have ended from those that wait for something, by what they wait for."""
    for key, texts in list(waiting.items()):
        texts[:] = [text for text in texts if not text.over]
        if not texts:
            del waiting[key]
