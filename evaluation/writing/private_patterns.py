"""Personal data in what a model writes: the patterns by which cleaning masks it (`models/text/personal_data.py`)."""

from __future__ import annotations

import polars as pl

from models.text.normal_form import MASKS

PATTERNS = {step.name: step for step in MASKS}


def private_patterns(texts: pl.Series) -> pl.DataFrame:
    """Find what cleaning would mask.

    A placeholder (`_email_`) is no finding: the model has learnt that something was there, and not what.

    Args:
        texts: As they were written, not yet in the normal form.

    Returns:
        Columns text (the number of the text), pattern, count: a row for each kind of pattern that a text holds.
    """
    found = []
    for number, text in enumerate(texts.to_list()):
        for name, step in PATTERNS.items():
            masked = step.apply(text)
            if masked != text:
                count = masked.count(step.replacement) - text.count(step.replacement)
                found.append({"text": number, "pattern": name, "count": count})
            text = masked
    return pl.DataFrame(found, schema={"text": pl.Int64, "pattern": pl.String, "count": pl.Int64})
