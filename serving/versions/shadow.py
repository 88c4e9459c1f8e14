"""Score shadow traffic: champion and challenger on a sample of users' texts, to compare them on real requests.

Only text that users sent is scored: what the champion wrote would favour the champion. Nothing is stored but sums.
"""

from __future__ import annotations

import logging
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import isfinite
from math import log as ln
from threading import BoundedSemaphore

from serving.metrics import Metrics
from serving.scoring import Scoring
from serving.versions.open_version import OpenVersion
from serving.versions.versions import Versions
from tracking.registry.versions import CHALLENGER

WAITING = 64
"""Texts that wait; more are left out."""
SECONDS = 30.0
POINTS = frozenset(round(1.25**power) for power in range(10, 100))
"""Numbers of texts after which the figures go to MLflow: about ten points for each factor of ten, from 9 texts on."""
log = logging.getLogger(__name__)


class Shadow:
    """Scores chosen texts with champion and challenger, in a thread of its own that ends with the versions.

    Args:
        versions: The open versions.
        share: Share of the texts that are chosen.
        metrics: Where the sums go.
    """

    def __init__(self, versions: Versions, share: float, metrics: Metrics) -> None:
        self._versions, self._share, self._metrics = versions, share, metrics
        self._free = BoundedSemaphore(WAITING)
        self._pair, self._sums = (0, 0), _Sums()
        self._closed = False
        self._thread = ThreadPoolExecutor(1, "shadow")
        versions.at_close(self.close)

    def offer(self, text: str, stars: int | None, whole: bool) -> None:
        """Perhaps score a text; *whole*: its end counts too."""
        if self._closed or not text or random.random() >= self._share:
            return
        if not self._free.acquire(blocking=False):
            self._metrics.shadow_left_out.inc()
            return
        self._thread.submit(self._compare, text, stars, whole)

    def close(self) -> None:
        """Score no more texts, and leave out those that wait."""
        self._closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _compare(self, text: str, stars: int | None, whole: bool) -> None:
        try:
            champion, challenger = self._versions.champion, self._versions.contents().aliases.get(CHALLENGER)
            if champion is None or challenger is None:
                return
            with (
                self._versions.using(champion.number) as old,
                self._versions.using(challenger) as new,
            ):
                if old is not None and new is not None and old is not new:
                    bits = tuple(_open_bits(one, text, stars, whole) for one in (old, new))
                    if not all(map(isfinite, bits)):
                        raise ValueError("a model gives the text no probability")
                    self._count((old.number, new.number), len(text.encode()) + whole, *bits)
        except Exception as error:
            self._metrics.shadow_left_out.inc()
            log.debug("a text was not scored in the shadow: %s", error)
        finally:
            self._free.release()

    def _count(self, pair: tuple[int, int], size: int, champion: float, challenger: float) -> None:
        labels = tuple(map(str, pair))
        self._metrics.shadow_texts.labels(*labels).inc()
        self._metrics.shadow_bytes.labels(*labels).inc(size)
        self._metrics.shadow_bits.labels(*labels, "champion").inc(champion)
        self._metrics.shadow_bits.labels(*labels, "challenger").inc(challenger)
        if pair != self._pair:
            self._pair, self._sums = pair, _Sums()
        sums = self._sums
        sums.texts, sums.bytes = sums.texts + 1, sums.bytes + size
        sums.champion, sums.challenger = sums.champion + champion, sums.challenger + challenger
        if sums.texts in POINTS:
            self._versions.source.record(pair[1], sums.figures(), sums.texts)


@dataclass
class _Sums:
    """Sums over the texts of one champion and one challenger."""

    texts: int = 0
    bytes: int = 0
    champion: float = 0.0
    challenger: float = 0.0

    def figures(self) -> dict[str, float]:
        """Return both models' bits per byte."""
        return {
            "shadow/open_bits_per_byte": self.challenger / self.bytes,
            "shadow/champion_open_bits_per_byte": self.champion / self.bytes,
        }


def _open_bits(version: OpenVersion, text: str, stars: int | None, whole: bool) -> float:
    """Return the bits of a text, with the spelling of unknown words; without those of its end unless it is *whole*."""
    scoring = Scoring([text], stars)
    while version.engine.run(scoring.advance).result(SECONDS):
        pass
    score = scoring.scored[0].score
    return (score.nats + score.spelling_nats - (0.0 if whole else score.per_token[-1][1])) / ln(2)
