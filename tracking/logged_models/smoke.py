"""Test that a logged model answers, and measure its latency: `python -I smoke.py MODEL_URI FAMILY`.

Exit status 0 means that it answers. The last line of the output is then a JSON object: `said`, a line about the
answers, and `latency_ms`. This program imports nothing from the project, to prove that the model does not need it.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

PROMPT = "The food was"
TYPED = (
    "The food was good and the staff were friendly, but we had to wait for a table and the music was too loud. "
    "We will come back with our friends."
)
"""Text that a user types; a suggestion is requested after each word."""
REVIEWS = (
    "The food was great and the staff were very friendly.",
    "We waited an hour and the server was rude!",
    "It was okay, but I would not go back. " * 20,
    "It was okay, but I would not go back. " * 130,
    "",
    "?",
)
"""From nothing to 1,170 words: 4,940 characters, and Yelp accepts reviews of up to 5,000."""
ROUNDS = 3
"""Each request is timed so many times, and the fastest counts, so that a busy machine does not slow the model."""
MOST_SECONDS = 15.0
"""Limit for timing the requests: a very slow model is timed on fewer of them."""

Ask = Callable[..., Any]
Clock = Callable[[], float]


def main(model_uri: str, family: str) -> str:
    """Request everything that the model can do, then measure its latency.

    Returns:
        The line for standard output.

    Raises:
        RuntimeError: An answer makes no sense.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # Else it would become part of the model, and Python would prefer it.
    sys.dont_write_bytecode = True
    import mlflow.pyfunc
    import pandas as pd

    model = mlflow.pyfunc.load_model(model_uri)

    def ask(*texts: str, **params: Any) -> Any:
        found = model.predict(pd.DataFrame({"text": texts}), params=params or None)
        return found[0] if len(texts) == 1 else found

    check, measure = (labels, label_latency) if family == "classifier" else (answers, latency)
    return json.dumps({"said": check(ask), "latency_ms": measure(ask)})


def answers(ask: Ask) -> str:
    """Request each task once and return a line about the answers."""
    review = ask(
        PROMPT,
        task="generate",
        max_tokens=20,
        seed=1,
    )["texts"][0]
    suggested = ask(PROMPT, task="suggest", k=3)
    score = ask(PROMPT, task="score")
    total = sum(word["probability"] for word in suggested["words"]) + suggested["rest"]
    if abs(total - 1) > 1e-3:
        raise RuntimeError(f"the probabilities of the next word sum to {total}")
    if not math.isfinite(score["nats"]) or score["nats"] < 0:
        raise RuntimeError(f"the score of a text is {score['nats']} nats")
    if not review.startswith(PROMPT):
        raise RuntimeError(f"the review does not begin with the prompt: {review!r}")

    return f"it works in a fresh process: it wrote {review!r}"


def labels(ask: Ask) -> str:
    """Classify the reviews, alone and all together, and return a line about the answers."""
    together = ask(*REVIEWS)
    for text, beside in zip(REVIEWS, together, strict=True):
        alone = ask(text)
        if alone["label"] not in {one["label"] for one in alone["labels"]}:
            raise RuntimeError(f"{alone['label']!r} is none of the labels")
        chances = [
            one["probability"] for one in alone["labels"] if one.get("probability") is not None
        ]
        if chances and not abs(sum(chances) - 1) < 1e-3:
            raise RuntimeError(f"the probabilities of the labels sum to {sum(chances)}")
        if alone["label"] != beside["label"]:
            raise RuntimeError(
                f"the answer depends on other rows: {alone['label']!r} and {beside['label']!r}"
            )

    return f"it works in a fresh process: it answered {', '.join(str(answer['label']) for answer in together)}"


def latency(
    ask: Ask,
    clock: Clock = time.perf_counter,
    processor: Clock = time.process_time,
) -> dict[str, float]:
    """Return milliseconds: `p50` and `p95` per suggestion while typing, and `word` per generated word."""
    ends = [TYPED[:place] for place, letter in enumerate(TYPED) if letter == " "]
    milliseconds = _percentiles(lambda text: ask(text, task="suggest", k=3), ends, clock, processor)
    writing, answer = _seconds_of(
        lambda: ask(
            "",
            task="generate",
            n=2,
            max_tokens=60,
            seed=2,
        ),
        clock,
        processor,
    )
    words = max(1, sum(len(text.split()) for text in answer["texts"]))
    return milliseconds | {"word": round(1e3 * writing / words, 3)}


def label_latency(
    ask: Ask,
    clock: Clock = time.perf_counter,
    processor: Clock = time.process_time,
) -> dict[str, float]:
    """Return milliseconds: `p50` and `p95` per classified review. Of so few reviews, `p95` is that of the slowest."""
    return _percentiles(ask, REVIEWS, clock, processor)


def _percentiles(
    ask: Callable[[str], Any],
    texts: Iterable[str],
    clock: Clock,
    processor: Clock,
) -> dict[str, float]:
    """Return the percentiles of the times of one request at a time.

    The model is measured, not the load of the machine: a request takes the lesser of wall time and processor time (wall
    time is longer while other programs run, processor time is longer if several threads work), and a text takes the
    time of its fastest repetition. Ask for every kind of answer before, because the first requests also load and
    compile. A percentile is the nearest-rank percentile: the smallest time such that at least this share of all times
    is not larger.
    """
    start = clock()
    fastest: dict[str, float] = {}
    for text in ROUNDS * [*texts]:
        seconds, _ = _seconds_of(partial(ask, text), clock, processor)
        fastest[text] = min(seconds, fastest.get(text, seconds))
        if clock() - start > MOST_SECONDS:
            break

    ordered = sorted(fastest.values())
    milliseconds = {}
    for name, share in {"p50": 0.5, "p95": 0.95}.items():
        place = math.ceil(share * len(ordered)) - 1
        milliseconds[name] = round(1e3 * ordered[place], 3)

    return milliseconds


def _seconds_of(
    request: Callable[[], Any],
    clock: Clock,
    processor: Clock,
) -> tuple[float, Any]:
    wall = clock()
    used = processor()
    answer = request()
    return min(clock() - wall, processor() - used), answer


if __name__ == "__main__":
    sys.stdout.write(main(sys.argv[1], sys.argv[2]) + "\n")
