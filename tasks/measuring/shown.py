"""Write what the demo shows of a model: a review of some ratings, and next words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.bundles.bundle import Bundle
from tasks.measuring.model_work import Report

STARS = (1, 3, 5)


def shown(bundle: Bundle, report: Report, folder: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a text for each rating of `STARS`, and next words after the first prompt of `EvaluationConfig`."""
    from models.completion.suggestions import next_words
    from models.sampling import generate

    names = ("temperature", "top_p", "max_tokens", "seed")
    texts = [generate(bundle, 1, stars, **{name: options[name] for name in names})[0] for stars in STARS]
    found = next_words(bundle, options["prompts"][0], options["suggestions"])
    return {"texts": texts, "suggestions": {"words": found.words, "rest": found.rest, "typed": found.typed}}
