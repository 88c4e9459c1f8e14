"""Cut real reviews into monthly slices, one for each week of the year in fast motion, and damage one of them."""

from __future__ import annotations

import csv
import gzip
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

CRAWL = "yelp_crawl_chicagoland.jsonl.gz"
OTHER = "kaggle_yelp_10k.csv.gz"
BROKEN_SHARE = 0.3
LETTERS = "abcdefghijklmnopqrstuvwxyz"

Review = dict[str, Any]


def cut(
    data: Path,
    months: int,
    reviews: int,
    archive: int,
    seed: int = 1,
) -> tuple[list[Review], list[list[Review]]]:
    """Return a random sample of the older reviews, and one of each of the last months, in order.

    Args:
        data: Folder of the real reviews.
        months: Number of months; only those count that have enough reviews.
        reviews: Reviews of each.
        archive: Older reviews.
        seed: Seed of the samples.
    """
    by_month: dict[str, list[Review]] = defaultdict(list)
    with gzip.open(data / CRAWL, "rt", encoding="utf-8") as file:
        for line in file:
            review = json.loads(line)
            if float(review["stars"]).is_integer():  # the crawl has some averages of a business
                by_month[review["date"][:7]].append(review)

    last = [month for month in sorted(by_month) if len(by_month[month]) >= reviews][-months:]
    random = Random(seed)
    older = [review for month in sorted(by_month) if month < last[0] for review in by_month[month]]
    return random.sample(older, archive), [
        random.sample(by_month[month], reviews) for month in last
    ]


def other_city(data: Path, reviews: int) -> list[Review]:
    """Return reviews of another city, by other people, with the fields of the crawl."""
    with gzip.open(data / OTHER, "rt", encoding="utf-8", newline="") as file:
        rows = [row for row, _ in zip(csv.DictReader(file), range(reviews), strict=False)]
    names = ("review_id", "user_id", "business_id", "stars", "date", "text")
    return [
        {name: float(row[name]) if name == "stars" else row[name] for name in names} for row in rows
    ]


def lines(reviews: list[Review]) -> str:
    """Return reviews as JSON lines."""
    return "".join(json.dumps(review) + "\n" for review in reviews)


def poisoned(reviews: list[Review], seed: int = 1) -> str:
    """Return JSON lines of which a third are cut off, and a third have random letters for words."""
    return "".join(_poisoned(reviews, Random(seed)))


def _poisoned(reviews: list[Review], random: Random) -> Iterator[str]:
    for review in reviews:
        drawn = random.random()
        if drawn < BROKEN_SHARE:
            line = json.dumps(review)
            yield line[: random.randrange(1, len(line))] + "\n"
        elif drawn < 2 * BROKEN_SHARE:
            words = (
                "".join(random.choices(LETTERS, k=len(word))) for word in review["text"].split()
            )
            yield json.dumps({**review, "text": " ".join(words)}) + "\n"
        else:
            yield json.dumps(review) + "\n"
