"""Know the names that other programs and data sets give the fields of a review, to propose them in remedies.

They are proposed and not read: `score` may be a rating of one to five, or the votes of a comment.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence

NAMES = {
    "text": (
        "review_text",
        "review_body",
        "review_content",
        "review_text_published",
        "content",
        "body",
        "comment",
        "review",
        "message",
    ),
    "stars": (
        "star_rating",
        "rating",
        "overall",
        "score",
        "review_score",
        "review_stars",
        "review_rating",
        "rating_value",
        "five_star_rating_published",
    ),
    "date": (
        "unix_review_time",
        "review_date",
        "review_created_utc",
        "timestamp_created",
        "timestamp",
        "created_at",
        "create_time",
        "date_published",
        "published_at",
        "date_added",
        "review_time",
        "at",
    ),
    "review_id": ("recommendationid",),
    "user_id": ("reviewer_id", "customer_id", "author_id", "steamid", "review_user_id"),
    "business_id": (
        "parent_asin",
        "asin",
        "product_id",
        "product_product_id",
        "book_id",
        "app_id",
        "place_id",
        "gmap_id",
        "hotel_id",
        "restaurant_id",
        "movie_id",
    ),
}
"""Names by our field, the likeliest first: of Amazon, Google, Goodreads, the app stores, Steam, Trustpilot, IMDb, SNAP."""


def bare(name: str) -> str:
    """Return a name without capital letters and signs: `Review Created (UTC)` is `review_created_utc`."""
    return re.sub(r"[\W_]+", "", name).casefold()


def _ranks_in(names: Sequence[str]) -> dict[str, int]:
    return {bare(name): rank for rank, name in enumerate(names)}


RANKS = {ours: _ranks_in(names) for ours, names in NAMES.items()}
"""For each of our fields, the rank of each of its names: of two in a record, the one named earlier is taken."""


def find_known(columns: Iterable[str]) -> dict[str, str]:
    """Return for each of our fields the likeliest of some names that other programs give it, if one is among them."""
    found: dict[str, str] = {}
    bares = {bare(name): name for name in columns}
    for ours, ranks in RANKS.items():
        named = sorted(ranks.keys() & bares.keys(), key=ranks.__getitem__)
        if named:
            found[ours] = bares[named[0]]

    return found


def is_known_elsewhere(ours: str, name: str) -> bool:
    """Return whether a name is known as that of another field than *ours*."""
    plain = bare(name)
    others = {other: ranks for other, ranks in RANKS.items() if other != ours}
    return plain in map(bare, others) or any(plain in ranks for ranks in others.values())


def settings_for(columns: Iterable[str], fields: Sequence[str]) -> str:
    """Return the settings, as for a command line, that name some of our fields in a file; empty if none is known."""
    known = find_known(columns)
    settings = []
    for ours in fields:
        if ours in known:
            settings.append(f"--set {shlex.quote(f'source.fields.{ours}={known[ours]}')}")

    return " ".join(settings)


def unread(field: str) -> str:
    """Return the setting, as for a command line, with which a field is not read."""
    return f"`--set source.fields.{field}=`"
