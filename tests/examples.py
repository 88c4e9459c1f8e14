"""Number of random examples of a test: profile `ci` (`make test`, `make test-slow`), `nightly` (`make test-all`)."""

from __future__ import annotations

from typing import Any

from hypothesis import settings

FEWER = 6
LEAST = 5


def register_profiles() -> None:
    """Register both profiles and load `ci`; `--hypothesis-profile=nightly` loads the other one."""
    settings.register_profile(
        "ci",
        deadline=None,
        derandomize=True,
        max_examples=100 // FEWER,
    )
    settings.register_profile("nightly", deadline=None)
    settings.load_profile("ci")


def examples(count: int, **options: Any) -> settings:
    """Return settings for *count* random examples, or in the profile `ci` for a sixth of them, always the same."""
    if settings.get_current_profile_name() == "nightly":
        return settings(
            max_examples=count,
            deadline=None,
            **options,
        )
    return settings(
        max_examples=max(LEAST, count // FEWER),
        deadline=None,
        **{"derandomize": True} | options,
    )
