"""Test that a logged classifier answers, and measure its latency.

`python -I smoke_texts.py MODEL_URI classifier`. Exit status 0 means that the model answers; the last line of the output
is as in `smoke.py`. This program imports nothing from the project, to prove that the model does not need it.
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

    said, seconds = classifier(mlflow.pyfunc.load_model(model_uri))
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


def timed(model: Any, text: str) -> tuple[dict[str, Any], float]:
    """Return the answer to one text, and the seconds of the fastest request."""
    import pandas as pd

    frame, seconds = pd.DataFrame({"text": [text]}), []
    for _ in range(ROUNDS):
        wall, used = time.perf_counter(), time.process_time()
        [answer] = model.predict(frame)
        seconds.append(min(time.perf_counter() - wall, time.process_time() - used))
    return answer, min(seconds)


if __name__ == "__main__":
    sys.stdout.write(main(sys.argv[1], sys.argv[2]) + "\n")
