"""Test that a logged model answers, and measure its latency: `python -I smoke.py MODEL_URI`.

Exit status 0 means that it answers. The last line of the output is then a JSON object: `said`, a line about the
answers, and `latency_ms`. This program imports nothing from the project, to prove that the model does not need it.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable
from typing import Any

PROMPT = "The food was"
TYPED = (
    "The food was good and the staff were friendly, but we had to wait for a table and the music was too loud. "
    "We will come back with our friends."
)
"""Text that a user types; a suggestion is requested after each word."""
ROUNDS = 3
"""Each suggestion is timed so many times, and the fastest counts, so that a busy machine does not slow the model."""
MOST_SECONDS = 15.0
"""Limit for timing the suggestions: a very slow model is timed on fewer of them."""

Ask = Callable[..., dict[str, Any]]


def main(model_uri: str) -> str:
    """Request a review, suggestions and a score from the model, then measure its latency.

    Returns:
        The line for standard output.

    Raises:
        RuntimeError: An answer makes no sense.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow.pyfunc
    import pandas as pd

    model = mlflow.pyfunc.load_model(model_uri)

    def ask(text: str, **params: Any) -> dict[str, Any]:
        answer: dict[str, Any] = model.predict(pd.DataFrame({"text": [text]}), params=params)[0]
        return answer

    return json.dumps({"said": answers(ask), "latency_ms": latency(ask)})


def answers(ask: Ask) -> str:
    """Request each task once and return a line about the answers."""
    review = ask(PROMPT, task="generate", max_tokens=20, seed=1)["texts"][0]
    suggested = ask(PROMPT, task="suggest", k=3)
    score = ask(PROMPT, task="score")
    total = sum(word["probability"] for word in suggested["words"]) + suggested["rest"]
    if abs(total - 1) > 1e-3:
        raise RuntimeError(f"the probabilities of the next word sum to {total}")
    if not math.isfinite(score["nats"]) or score["nats"] < 0:
        raise RuntimeError(f"the score of a text is {score['nats']} nats")
    if not review.startswith(PROMPT):
        raise RuntimeError(f"the review does not begin with the prompt: {review!r}")
    return f"perplexity {score['perplexity']:.1f} per token of the short text {PROMPT!r}; it writes {review!r}"


def latency(
    ask: Ask, clock: Callable[[], float] = time.perf_counter, processor: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """Return milliseconds: percentiles `p50` and `p95` per suggestion while typing, and `word` per generated word.

    The model is measured, not the load of the machine: a request takes the lesser of wall time and processor time (wall
    time is longer while other programs run, processor time is longer if several threads work), and a suggestion takes
    the time of its fastest repetition. Call `answers` first, because the first requests also load and compile. A
    percentile is the nearest-rank percentile: the smallest time such that at least this share of all times is not
    larger.
    """

    def seconds_of(text: str, **params: Any) -> tuple[float, dict[str, Any]]:
        wall, used = clock(), processor()
        answer = ask(text, **params)
        return min(clock() - wall, processor() - used), answer

    start, fastest = clock(), dict[int, float]()
    ends = [place for place, letter in enumerate(TYPED) if letter == " "]
    for end in ROUNDS * ends:
        seconds, _ = seconds_of(TYPED[:end], task="suggest", k=3)
        fastest[end] = min(seconds, fastest.get(end, seconds))
        if clock() - start > MOST_SECONDS:
            break
    writing, answer = seconds_of("", task="generate", n=2, max_tokens=60, seed=2)
    word = writing / max(1, sum(len(text.split()) for text in answer["texts"]))
    ordered = sorted(fastest.values())
    p50, p95 = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.95))
    return {name: round(1e3 * seconds, 3) for name, seconds in {"p50": p50, "p95": p95, "word": word}.items()}


if __name__ == "__main__":
    sys.stdout.write(main(sys.argv[1]) + "\n")
