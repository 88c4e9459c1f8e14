"""Scores of made-up models, evidence of them, and what the gate makes of it."""

from dataclasses import fields

import numpy as np
import polars as pl

from reviewlm.core.config.sections.evaluation import PromotionConfig
from reviewlm.core.lineage import Family
from reviewlm.evaluation.gate.evidence import (
    ChampionReviews,
    Evidence,
    Latency,
    Leaks,
    ModelEvidence,
)
from reviewlm.evaluation.gate.language import LanguageCase

HONEST = {
    "copied_passages": 0.03,
    "real_copied_passages": 0.02,
    "longest_copied": 14,
    "real_longest_copied": 12,
    "canaries": 10,
    "canaries_once": 10,
    "canaries_known": 1,
    "exposure_max": 3.1,
    "exposure_once": 1.3,
    "exposure_limit": 13.3,
    "private_patterns": 2,
    "real_private_patterns": 3,
}
"""Facts of the audit of a model that writes by itself."""
FIRST = {
    "champion": None,
    "champion_digest": None,
    "champion_test": None,
}
"""Changes of evidence: there is no champion yet."""


def scores(
    level=1.0,
    reviews=200,
    noise=0.02,
    seed=0,
    **columns,
):
    """Reviews with 1 bit or so a byte, times *level*; equal seeds are equally hard reviews."""
    hard = np.random.default_rng(0)
    size = hard.integers(50, 1_000, reviews)
    nats = size * 0.7 * hard.normal(1.0, 0.1, reviews) * level
    nats *= 1 + np.random.default_rng(seed).normal(0, noise, reviews) if seed else 1
    frame = pl.DataFrame(
        {
            "review_id": [f"r{i:05d}" for i in range(reviews)],
            "stars": [i % 5 + 1 for i in range(reviews)],
            "nats": nats,
            "tokens": size // 5,
            "bytes": size,
            "words": size // 5,
            "oov": [0] * reviews,
            "spelling_nats": [0.0] * reviews,
        }
    )
    return frame.with_columns(**columns)


def evidence(**changes):
    """A challenger 10 % better than the champion, with nothing against it."""
    values = {
        "challenger": scores(0.9, seed=1),
        "challenger_digest": "new",
        "challenger_test": "test1",
        "champion": scores(),
        "champion_digest": "old",
        "champion_test": "test1",
        "baseline": scores(1.2),
        "baseline_test": "test1",
        "baseline_name": "kn5",
        "baseline_digest": "base",
        "checks_passed": True,
        "smoke_passed": True,
        "resamples": 500,
        "leak_free": True,
        "leak_test": "test1",
        "challenger_departure": 0.0,
        "champion_departure": 0.0,
        "latency": Latency(8.0, 20.0, 2.0),
        "audit": HONEST,
        "family": Family("reviews", "s1"),
        "champion_family": Family("reviews", "s1"),
        "champion_reviews": ChampionReviews(same=True),
    }
    return nested(**{**values, **changes})


def nested(**values):
    """Nest flat names of evidence: `champion_digest` is the digest of the champion, `leak_free` of the leaks."""
    values = {
        "champion": None,
        "champion_digest": None,
        "baseline": None,
        "baseline_name": "baseline",
        **values,
    }
    models = {}
    for who in ("challenger", "champion", "baseline"):
        names = {field.name: f"{who}_{field.name}" for field in fields(ModelEvidence)} | {
            "rows": who
        }
        models[who] = {name: values.pop(flat) for name, flat in names.items() if flat in values}
    for name, flat in {"problem": "score_problem", "family": "family"}.items():
        if flat in values:
            models["challenger"][name] = values.pop(flat)
    found = {
        who: ModelEvidence(**known) if known.get("digest") is not None else None
        for who, known in models.items()
    }
    leaks = Leaks(
        **{
            field.name: values.pop(f"leak_{field.name}")
            for field in fields(Leaks)
            if f"leak_{field.name}" in values
        }
    )
    return Evidence(
        **found,
        leaks=leaks,
        **values,
    )


def judge(policy=None, **changes):
    return LanguageCase.judge(policy or PromotionConfig(), evidence(**changes))


def rule(decision, name):
    return next(rule for rule in decision.rules if rule.name == name)


def assert_refused_by(decision, *names):
    assert not decision.promote
    assert [rule.name for rule in decision.rules if rule.passed is False] == list(names)
