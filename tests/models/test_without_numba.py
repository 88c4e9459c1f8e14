"""Where numba is not installed, as where a stranger opens an exported model, every kind of model answers the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from models.completion.suggestions import suggest
from models.sampling import generate
from tests.serving.engine.small_models import KINDS, bundle_of

ROOT = Path(__file__).resolve().parents[2]
MADE = [*((kind, "word") for kind in KINDS), ("gated", "bpe"), ("cached_gated", "word")]
WITHOUT = """
import json, sys
sys.modules["numba"] = None  # its import is an error from now on
from tests.models.test_without_numba import MADE, answers
print(json.dumps([answers(*made) for made in MADE]))
"""


def answers(kind: str, unit: str) -> dict[str, Any]:
    """Return texts, words and scores of a model of this kind."""
    bundle = bundle_of(kind, unit)
    return {
        "texts": generate(bundle, 2, prompt="The soup", max_tokens=12, seed=3),
        "words": [word for word, _ in suggest(bundle, "The st", 3).words],
        "nats": [score.nats for score in bundle.score_texts(["The soup was cold.", "We went to Phoenix!"])],
    }


@pytest.mark.slow
def test_every_kind_of_model_answers_the_same_without_numba() -> None:
    command = [sys.executable, "-c", WITHOUT]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    for made, found in zip(MADE, json.loads(done.stdout), strict=True):
        expected = answers(*made)
        assert (found["texts"], found["words"]) == (expected["texts"], expected["words"]), made
        assert found["nats"] == pytest.approx(expected["nats"], rel=1e-5), made
