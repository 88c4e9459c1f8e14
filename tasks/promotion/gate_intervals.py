"""Keep the intervals that the gate decides by: equal scores need no new draws."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

import numpy as np

from core.config.run_config import RunConfig
from core.errors import NotWritable, StoreFull
from evaluation.statistics.bootstrap import Interval
from evaluation.statistics.studentised import Ratio, studentised_intervals
from tasks.stage import run_stage

log = logging.getLogger(__name__)


def kept_intervals(config: RunConfig, ratios: Sequence[Ratio], **options: Any) -> list[Interval]:
    """Return the interval of each ratio, from the store if it was computed before.

    A store that cannot be written to only costs the time of new draws: the challenger is registered already, and an
    error here would leave it without a decision.

    Args:
        ratios, options: See `studentised_intervals`; each ratio is computed alone.
    """
    return [_kept(config, ratio, options) if _worth_keeping(ratio) else _computed(ratio, options) for ratio in ratios]


def _worth_keeping(ratio: Ratio) -> bool:
    """Return False for a model compared with itself: the run after a promotion would else build a new result."""
    return not np.array_equal(ratio.numerator_D, ratio.denominator_D)


def _computed(ratio: Ratio, options: dict[str, Any]) -> Interval:
    return studentised_intervals([ratio], **options)[0]


def _kept(config: RunConfig, ratio: Ratio, options: dict[str, Any]) -> Interval:
    def make(work: Path) -> dict[str, Any]:
        return asdict(_computed(ratio, options))

    inputs = {"ratio": digest_of(ratio)}
    try:
        built = run_stage(config, "gate-interval", options, inputs, make)
    except (StoreFull, NotWritable) as error:
        log.warning("gate: an interval is not kept for the next decision: %s", error.what)
        return _computed(ratio, options)
    return Interval(**built.artifact.facts)


def digest_of(ratio: Ratio) -> str:
    """Return the SHA-256 of all numbers of a ratio, with all their bits."""
    digest = hashlib.sha256()
    for part in astuple(ratio):
        numbers = np.asarray([] if part is None else part)
        digest.update(f"{part is None} {numbers.dtype.str} {numbers.shape}\n".encode())
        digest.update(np.ascontiguousarray(numbers).tobytes())
    return digest.hexdigest()
