"""Test that logged word vectors answer, and measure their latency: `python -I smoke_vectors.py MODEL_URI`.

Exit status 0 means that they answer; the last line of the output is as in `smoke.py`. This program imports nothing from
the project, to prove that the model does not need it.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from typing import Any

TEXTS = ("the", "food", "good", "service", "the food was good", "no-such-word")
"""A vocabulary may lack any of them; it has those of the model's own example."""
ROUNDS = 3
"""Each text is timed so many times, and the fastest counts, so that a busy machine does not slow the model."""


def main(model_uri: str) -> str:
    """Request nearest words and vectors, and measure the latency of the nearest words of one text.

    Returns:
        The line for standard output.

    Raises:
        RuntimeError: An answer makes no sense, or a word of the model's own example has none.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow.pyfunc
    import pandas as pd

    model = mlflow.pyfunc.load_model(model_uri)
    own = list(model.input_example["text"])
    fastest, said = [], []
    for text in (*own, *TEXTS):
        frame, seconds = pd.DataFrame({"text": [text]}), []
        for _ in range(ROUNDS):
            wall, used = time.perf_counter(), time.process_time()
            [near] = model.predict(frame, params={"task": "nearest", "k": 1})
            seconds.append(min(time.perf_counter() - wall, time.process_time() - used))
        [vector] = model.predict(frame, params={"task": "vector"})
        require_sense(near, vector)
        if text in own and (not near["known"] or (not near["nearest"] and len(own) > 1)):
            raise RuntimeError(f"the model does not know {text!r}, a word of its own, or nothing near it: {near}")
        said += [f"{text}: {one['word']}" for one in near["nearest"]]
        fastest.append(min(seconds))
    ordered = sorted(fastest)
    p50, p95 = (1e3 * ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.95))
    latency = {"p50": round(p50, 3), "p95": round(p95, 3)}
    return json.dumps({"said": f"nearest: {', '.join(said) or 'it has only one word'}", "latency_ms": latency})


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
    sys.stdout.write(main(sys.argv[1]) + "\n")
