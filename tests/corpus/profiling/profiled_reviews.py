"""Made reviews and their profiles."""

from datetime import datetime

import numpy as np
import polars as pl

SIDES = ("train", "validation", "test")


def reviews(number, seed=0, words=300):
    """Random reviews whose words follow Zipf's law, in the three splits."""
    random = np.random.default_rng(seed)
    rows = []
    for index in range(number):
        ranks = np.minimum(random.zipf(1.3, random.integers(1, 40)), words)
        # Line breaks are frequent, so that those the vocabulary counts between texts put no other word in their place.
        rows.append({
            "text": "a\n\nb\n" + " ".join(f"Wort{rank:x}" for rank in ranks) + random.choice([".", "!", " _phone_ 😀"]),
            "stars": int(random.integers(0, 6)),
            "date": None if index % 7 == 0 else datetime(2010 + index % 3, 1 + index % 12, 5),
            "split": SIDES[int(random.integers(0, 3)) if number > 2 else 0],
            "business_id": f"b{random.integers(0, 9)}",
            "user_id": f"u{index}",
            "categories": None if index % 5 == 0 else "Food, Bars & Grills",
            "city": "Champaign",
        })
    frame = pl.DataFrame(rows, schema_overrides={"date": pl.Datetime("us"), "categories": pl.String})
    return frame.with_columns(
        bytes=pl.col("text").str.len_bytes().cast(pl.Int32) + 1,
        words=pl.col("text").str.count_matches(r"\S+").cast(pl.Int32),
    )


FRAME = reviews(400)
