"""Choose the number format of texts that need not be exact: int8 where it is good enough and, with "auto", quicker.

How quick int8 is depends on the processor: with VNNI a step takes a fraction of one in float32; where torch has only
reference code for the exact product (AVX-512 without VNNI), a hundred times as long. So steps of the model itself are
timed, in both formats, with the threads that the engine will use. This takes some tenths of a second, at most two where
int8 is that slow. Where it is used all the same, fewer tokens show its loss: all of them would take minutes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch

from models.base import LanguageModel
from models.bundles.bundle import Bundle
from models.tokens.words import FIRST
from serving.engine.requests import NumberFormat

MOST_LOSS = 0.005
"""Largest share by which int8 may raise the bits per byte."""
ROWS = (1, 16)
"""Numbers of texts for which steps are timed; "auto" takes int8 where it is quicker for each of them."""
ROUNDS = 5
"""Steps of each format that are timed, in turns; the quickest counts, because another program may slow one down."""
ENOUGH = 0.5
"""Seconds after which no further round of steps is timed."""
LOSS_SECONDS = 20.0
"""About the most seconds that the loss is measured where int8 is slower."""
LEAST_TOKENS = 8
"""Tokens on which it is measured at least. Each counts with a sum over the whole vocabulary."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChosenNumbers:
    """A number format, and why it was chosen.

    Args:
        used: The format of texts that need not be exact.
        why: For people.
        loss: Share by which int8 raises the bits per byte of the model's texts; None: not measured.
        fast: The model in int8, if that is used.
    """

    used: NumberFormat
    why: str
    loss: float | None = None
    fast: LanguageModel | None = None


def choose_numbers(bundle: Bundle, asked: str, threads: int) -> ChosenNumbers:
    """Return the number format of texts that need not be exact.

    int8 needs exact products of this processor, and may raise the bits per byte of texts of the model by at most
    `MOST_LOSS`, which is measured here in about a second, and where int8 is slower in about `LOSS_SECONDS` at most.

    Args:
        bundle: The model.
        asked: "float32"; "int8": wherever it is possible, however long it takes; "auto": where it is quicker.
        threads: Threads of matrix products.
    """
    if asked == "float32":
        return ChosenNumbers("float32", "serving.numbers is float32")
    try:
        from models.neural.inference.int8 import TEXTS, TOKENS, in_int8, loss_of_int8
        from models.neural.inference.whole_numbers import int8_is_exact
    except ImportError as error:  # numba is not installed
        return ChosenNumbers("float32", f"int8 cannot be used: {error}")
    quick = in_int8(bundle.model)
    if quick is None:
        lacking = "the model has no network on the processor that can be stepped in int8"
        return ChosenNumbers("float32", lacking if int8_is_exact() else "the processor has no exact products of int8")
    timed = time_steps(bundle, quick, threads)
    if asked == "auto" and not timed.quicker:
        return ChosenNumbers("float32", f"int8 is not quicker here: {timed.said}")
    read = sample_of_loss(timed, TEXTS, TOKENS)
    why = f"it is quicker here: {timed.said}" if asked == "auto" else f"serving.numbers is int8; {timed.said}"
    if read != (TEXTS, TOKENS):
        why += f"; its loss is measured on {read[0] * read[1]} tokens instead of {TEXTS * TOKENS}"
    if not timed.quicker:  # told before the loss is measured, which takes a while
        log.warning("%s. int8 is not quicker here: auto would take float32", why)
    loss = loss_of_int8(bundle, quick, texts=read[0], tokens=read[1])
    if loss > MOST_LOSS:
        rise = f"int8 would raise the bits per byte by {loss:.2%}, more than {MOST_LOSS:.1%}"
        return ChosenNumbers("float32", rise, loss)
    return ChosenNumbers("int8", why, loss, quick)


class TimedSteps(NamedTuple):
    """What the times of steps in int8 and in float32 have shown.

    Args:
        quicker: Whether int8 is quicker with one text and with many.
        seconds: Time of a step in int8, for each text of the largest batch that was timed.
        said: The times in words.
    """

    quicker: bool
    seconds: float
    said: str


def time_steps(bundle: Bundle, quick: LanguageModel, threads: int) -> TimedSteps:
    """Time steps in int8 and in float32 with one text and, where int8 is quicker then, with many."""
    said, each = [], 0.0
    for rows in ROWS:
        int8, float32 = step_seconds(bundle, (quick, bundle.model), rows, threads)
        each, texts = int8 / rows, f"{rows} text{'s' if rows > 1 else ''}"
        said.append(f"{1e3 * int8:.2f} ms in int8 and {1e3 * float32:.2f} in float32 with {texts}")
        if int8 >= float32:
            return TimedSteps(False, each, f"a step takes {said[-1]}")
    return TimedSteps(True, each, f"a step takes {', '.join(said)}")


def sample_of_loss(timed: TimedSteps, texts: int, tokens: int) -> tuple[int, int]:
    """Return on how many texts, and tokens of each, the loss is measured: on fewer than usual where steps are slow."""
    if timed.quicker:
        return texts, tokens
    possible = int(LOSS_SECONDS / max(timed.seconds, 1e-9))
    fewer = max(1, min(texts, possible // tokens))
    return fewer, max(LEAST_TOKENS, min(tokens, possible // fewer))


def step_seconds(bundle: Bundle, models: Sequence[LanguageModel], rows: int, threads: int) -> list[float]:
    """Return the time of a step of some texts with each model: the least of some, taken in turns.

    Args:
        bundle: Has the vocabulary.
        models: The models.
        rows: Number of texts.
        threads: Threads of matrix products.
    """
    before, seconds = torch.get_num_threads(), [float("inf")] * len(models)
    torch.set_num_threads(max(1, threads))
    try:
        states = [model.start(rows) for model in models]
        for token in bundle.vocabulary.prefix(0):  # these steps compile what is not compiled yet
            states = [model.step(np.full(rows, token), state)[1] for model, state in zip(models, states, strict=True)]
        until = perf_counter() + ENOUGH
        for round_ in range(ROUNDS):
            if round_ and perf_counter() > until:
                break
            for place, model in enumerate(models):
                began = perf_counter()
                _, states[place] = model.step(np.full(rows, FIRST), states[place])
                seconds[place] = min(seconds[place], perf_counter() - began)
    finally:
        torch.set_num_threads(before)
    return seconds
