"""Find personal data in generated reviews with the patterns that cleaning masks (`models/text/personal_data.py`)."""

from __future__ import annotations

import polars as pl

from models.text.normal_form import MASKS

PATTERNS = {step.name: step for step in MASKS}


def private_patterns(texts: pl.Series) -> pl.DataFrame:
    """Find the text that cleaning would mask.

    A placeholder (`_email_`) is not a finding: the model has learnt that an address was there, but not which one.

    Args:
        texts: Generated texts, not yet in the normal form.

    Returns:
        Columns text (the number of the text), pattern, count: one row for each kind of pattern in a text.
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
