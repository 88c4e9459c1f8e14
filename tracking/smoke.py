"""Does a logged model answer? Run as a program of its own: `python -I smoke.py MODEL_URI`; exit status 0 means yes.

It imports nothing of the project: what it proves is that the model needs nothing of it.
"""

from __future__ import annotations

import math
import os
import sys


def main(model_uri: str) -> str:
    """Ask the model for a review, for words and for a score.

    Returns:
        One line about the answers.

    Raises:
        RuntimeError: An answer makes no sense.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow.pyfunc
    import pandas as pd

    model = mlflow.pyfunc.load_model(model_uri)
    rows = pd.DataFrame({"text": ["The food was"]})
    review = model.predict(rows, params={"task": "generate", "max_tokens": 20, "seed": 1})[0]["texts"][0]
    suggested = model.predict(rows, params={"task": "suggest", "k": 3})[0]
    score = model.predict(rows, params={"task": "score"})[0]
    total = sum(word["probability"] for word in suggested["words"]) + suggested["rest"]
    if abs(total - 1) > 1e-3:
        raise RuntimeError(f"the probabilities of the next word sum to {total}")
    if not math.isfinite(score["nats"]) or score["nats"] < 0:
        raise RuntimeError(f"the score of a text is {score['nats']} nats")
    if not review.startswith("The food was"):
        raise RuntimeError(f"the prompt is not kept: {review!r}")
    return f"perplexity {score['perplexity']:.1f}; {review!r}"


if __name__ == "__main__":
    sys.stdout.write(main(sys.argv[1]) + "\n")
