"""Test that a logged classifier, or logged word vectors, answer, and measure their latency.

`python -I smoke_texts.py MODEL_URI classifier`, or `"word vectors"`. Exit status 0 means that the model answers; the
last line of the output is as in `smoke.py`. This program imports nothing from the project, to prove that the model does
not need it.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from typing import Any

REVIEWS = (
    "The food was great and the staff were very friendly.", "We waited an hour and the server was rude!",
    "It was okay, but I would not go back. " * 20, "It was okay, but I would not go back. " * 130, "", "?",
)  # fmt: skip
"""From nothing to 1,170 words: 4,940 characters, and Yelp accepts reviews of up to 5,000."""
LOOKED_UP = ("the", "food", "good", "service", "the food was good", "no-such-word")
"""A vocabulary may lack any of them; it has those of the model's own example."""
ROUNDS = 5
"""Each text is timed so many times, and the fastest counts, so that a busy machine does not slow the model."""


def main(model_uri: str, kind: str) -> str:
    """Let the model answer each text alone, and measure its latency: that of one request at a time.

    Of so few texts, the 95th percentile is the slowest.

    Returns:
        The line for standard output.

    Raises:
        RuntimeError: An answer makes no sense.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow.pyfunc

    said, seconds = (classifier if kind == "classifier" else word_vectors)(mlflow.pyfunc.load_model(model_uri))
    ordered = sorted(seconds)
    p50, p95 = (1e3 * ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.95))
    return json.dumps({"said": said, "latency_ms": {"p50": round(p50, 3), "p95": round(p95, 3)}})


def classifier(model: Any) -> tuple[str, list[float]]:
    """Classify the reviews, alone and all together; return a line about the answers, and the seconds of each."""
    import pandas as pd

    together, fastest = model.predict(pd.DataFrame({"text": REVIEWS})), []
    for text, beside in zip(REVIEWS, together, strict=True):
        alone, seconds = timed(model, text)
        if alone["label"] not in {one["label"] for one in alone["labels"]}:
            raise RuntimeError(f"{alone['label']!r} is none of the labels")
        chances = [one["probability"] for one in alone["labels"] if one.get("probability") is not None]
        if chances and not abs(sum(chances) - 1) < 1e-3:
            raise RuntimeError(f"the probabilities of the labels sum to {sum(chances)}")
        if alone["label"] != beside["label"]:
            raise RuntimeError(f"the answer depends on other rows: {alone['label']!r} and {beside['label']!r}")
        fastest.append(seconds)
    return f"answers: {', '.join(str(answer['label']) for answer in together)}", fastest


def word_vectors(model: Any) -> tuple[str, list[float]]:
    """Request nearest words and vectors; return a line about the nearest words, and the seconds that each text took."""
    own, fastest, said = list(model.input_example["text"]), [], list[str]()
    for text in (*own, *LOOKED_UP):
        near, seconds = timed(model, text, task="nearest", k=1)
        require_sense(near, timed(model, text, task="vector")[0])
        if text in own and (not near["known"] or (not near["nearest"] and len(own) > 1)):
            raise RuntimeError(f"the model does not know {text!r}, a word of its own, or nothing near it: {near}")
        said += [f"{text}: {one['word']}" for one in near["nearest"]]
        fastest.append(seconds)
    return f"nearest: {', '.join(said) or 'it has only one word'}", fastest


def timed(model: Any, text: str, **params: Any) -> tuple[dict[str, Any], float]:
    """Return the answer to one text, and the seconds of the fastest request."""
    import pandas as pd

    frame, seconds = pd.DataFrame({"text": [text]}), []
    for _ in range(ROUNDS):
        wall, used = time.perf_counter(), time.process_time()
        [answer] = model.predict(frame, params=params or None)
        seconds.append(min(time.perf_counter() - wall, time.process_time() - used))
    return answer, min(seconds)


def require_sense(near: dict[str, Any], vector: dict[str, Any]) -> None:
    """Raise RuntimeError unless cosines and vectors are finite, and exist exactly for texts with a known word."""
    cosines = [one["cosine"] for one in near["nearest"]]
    if not all(-1.001 <= cosine <= 1.001 for cosine in cosines):
        raise RuntimeError(f"the cosines of the words nearest to {near['text']!r} are {cosines}")
    if not all(map(math.isfinite, vector["vector"])):
        raise RuntimeError(f"the vector of {near['text']!r} is not finite")
    if bool(near["known"]) != bool(vector["vector"]):
        raise RuntimeError(f"the words {near['known']} are known, and the vector is {vector['vector']}")


if __name__ == "__main__":
    sys.stdout.write(main(sys.argv[1], sys.argv[2]) + "\n")
