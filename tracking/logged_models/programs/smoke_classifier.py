"""Test that a logged classifier answers, and measure its latency: `python -I smoke_classifier.py MODEL_URI`.

Exit status 0 means that it answers; the last line of the output is as in `smoke.py`. This program imports nothing from
the project, to prove that the model does not need it.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from typing import Any

TEXTS = (
    "The food was great and the staff were very friendly.", "We waited an hour and the server was rude!",
    "It was okay, but I would not go back. " * 20, "It was okay, but I would not go back. " * 130, "", "?",
)  # fmt: skip
"""From nothing to 1,170 words: 4,940 characters, and Yelp accepts reviews of up to 5,000."""
ROUNDS = 5
"""Each text is timed so many times, and the fastest counts, so that a busy machine does not slow the model."""


def main(model_uri: str) -> str:
    """Let the model answer each text alone and all together, and measure its latency.

    The latency is that of one request at a time. Of so few texts, the 95th percentile is the slowest: the longest.

    Returns:
        The line for standard output.

    Raises:
        RuntimeError: An answer makes no sense.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow.pyfunc
    import pandas as pd

    model = mlflow.pyfunc.load_model(model_uri)
    together = model.predict(pd.DataFrame({"text": TEXTS}))
    fastest = []
    for text, beside in zip(TEXTS, together, strict=True):
        frame, seconds = pd.DataFrame({"text": [text]}), []
        for _ in range(ROUNDS):
            wall, used = time.perf_counter(), time.process_time()
            [alone] = model.predict(frame)
            seconds.append(min(time.perf_counter() - wall, time.process_time() - used))
        require_sense(alone)
        if alone["label"] != beside["label"]:
            raise RuntimeError(f"the answer depends on other rows: {alone['label']!r} and {beside['label']!r}")
        fastest.append(min(seconds))
    ordered = sorted(fastest)
    p50, p95 = (1e3 * ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.95))
    said = ", ".join(f"{answer['label']}" for answer in together)
    return json.dumps({"said": f"answers: {said}", "latency_ms": {"p50": round(p50, 3), "p95": round(p95, 3)}})


def require_sense(answer: dict[str, Any]) -> None:
    """Raise RuntimeError unless the answer is one of the labels, and the probabilities, if any, sum to 1."""
    if answer["label"] not in {one["label"] for one in answer["labels"]}:
        raise RuntimeError(f"{answer['label']!r} is none of the labels")
    chances = [one["probability"] for one in answer["labels"] if one.get("probability") is not None]
    if chances and not abs(sum(chances) - 1) < 1e-3:
        raise RuntimeError(f"the probabilities of the labels sum to {sum(chances)}")


if __name__ == "__main__":
    sys.stdout.write(main(sys.argv[1]) + "\n")
