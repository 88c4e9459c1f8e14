"""Choose the number format of texts that need not be exact: int8 where it is good enough and, with "auto", quicker.

How quick int8 is depends on the processor: with VNNI a step takes a part of one in float32, elsewhere longer. So steps
of the model itself are timed, in both formats, with the threads that the engine will use: some tenths of a second.
What int8 loses was measured with the validation reviews when the model was fitted, and its bundle says it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch

from models.base import LanguageModel
from models.bundles.bundle import INT8_LOSS, Bundle
from models.bundles.bundle_form import is_number
from models.tokens.words import FIRST
from serving.engine.requests import NumberFormat

MOST_LOSS = 0.005
"""Largest share by which int8 may raise the cross-entropy."""
ROWS = (1, 16)
"""Numbers of texts for which steps are timed; "auto" takes int8 where it is quicker for each of them."""
ROUNDS = 5
"""Steps of each format that are timed, in turns; the quickest counts, because another program may slow one down."""
ENOUGH = 0.5
"""Seconds after which no further round of steps is timed."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChosenNumbers:
    """A number format, and why it was chosen.

    Args:
        used: The format of texts that need not be exact.
        why: For people.
        loss: Share by which int8 raises the cross-entropy of the validation reviews; None: its bundle does not say.
        fast: The model in int8, if that is used.
    """

    used: NumberFormat
    why: str
    loss: float | None = None
    fast: LanguageModel | None = None


def choose_numbers(bundle: Bundle, numbers: str, threads: int) -> ChosenNumbers:
    """Return the number format of texts that need not be exact.

    int8 may raise the cross-entropy of the reviews that the model was validated with by at most `MOST_LOSS`.

    Args:
        bundle: The model.
        numbers: "float32"; "int8": wherever it is possible, however long it takes; "auto": where it is quicker.
        threads: Threads of matrix products.
    """
    stated: Any = bundle.facts.get(INT8_LOSS)
    loss = float(stated) if is_number(stated) else None
    if numbers == "float32":
        return ChosenNumbers("float32", "serving.numbers is float32", loss)
    if loss is not None and loss > MOST_LOSS:
        rise = f"int8 would raise the cross-entropy of reviews by {loss:.2%}, more than {MOST_LOSS:.1%}"
        return ChosenNumbers("float32", rise, loss)
    try:
        from models.neural.inference.int8 import in_int8
    except ImportError as error:  # numba is not installed
        return ChosenNumbers("float32", f"int8 cannot be used: {error}", loss)
    quick = in_int8(bundle.model)
    if quick is None:
        return ChosenNumbers("float32", "the model has no network on the processor that can be stepped in int8", loss)
    if loss is None:
        return ChosenNumbers("float32", "the model's bundle does not say what int8 loses; a new fit measures it")
    timed = time_steps(bundle, quick, threads)
    if numbers == "auto" and not timed.quicker:
        return ChosenNumbers("float32", f"int8 is not quicker here: {timed.said}", loss)
    why = f"it is quicker here: {timed.said}" if numbers == "auto" else f"serving.numbers is int8; {timed.said}"
    if not timed.quicker:
        log.warning("%s. int8 is not quicker here: auto would take float32", why)
    return ChosenNumbers("int8", why, loss, quick)


class TimedSteps(NamedTuple):
    """What the times of steps in int8 and in float32 have shown.

    Args:
        quicker: Whether int8 is quicker with one text and with many.
        said: The times in words.
    """

    quicker: bool
    said: str


def time_steps(bundle: Bundle, quick: LanguageModel, threads: int) -> TimedSteps:
    """Time steps in int8 and in float32 with one text and, where int8 is quicker then, with many."""
    times = []
    for rows in ROWS:
        int8, float32 = step_seconds(bundle, (quick, bundle.model), rows, threads)
        texts = f"{rows} text{'s' if rows > 1 else ''}"
        times.append(f"{1e3 * int8:.2f} ms in int8 and {1e3 * float32:.2f} in float32 with {texts}")
        if int8 >= float32:
            return TimedSteps(False, f"a step takes {times[-1]}")
    return TimedSteps(True, f"a step takes {', '.join(times)}")


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
