"""Let the challenger score a share of the texts beside the champion, so that both are compared on the real traffic.

Only text that users sent is scored: what the champion wrote would favour the champion. Nothing is stored but sums.
"""

from __future__ import annotations

import logging
import random
from concurrent.futures import ThreadPoolExecutor
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
log = logging.getLogger(__name__)


class Shadow:
    """Scores chosen texts with champion and challenger, in a thread of its own.

    Args:
        versions: The open versions.
        share: Share of the texts that are chosen.
        metrics: Where the sums go.
    """

    def __init__(self, versions: Versions, share: float, metrics: Metrics) -> None:
        self._versions, self._share, self._metrics = versions, share, metrics
        self._free = BoundedSemaphore(WAITING)
        self._thread = ThreadPoolExecutor(1, "shadow")

    def offer(self, text: str, stars: int | None, whole: bool) -> None:
        """Perhaps score a text; *whole*: its end counts too."""
        if not text or random.random() >= self._share:
            return
        if not self._free.acquire(blocking=False):
            self._metrics.shadow_left_out.inc()
            return
        self._thread.submit(self._compare, text, stars, whole)

    def close(self) -> None:
        """Leave out what waits."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _compare(self, text: str, stars: int | None, whole: bool) -> None:
        try:
            challenger = self._versions.contents().aliases.get(CHALLENGER)
            if challenger is None:
                return
            with (
                self._versions.using(self._versions.champion.number) as old,
                self._versions.using(challenger) as new,
            ):
                if old is None or new is None or old is new:
                    return
                each = (("champion", old), ("challenger", new))
                bits = {role: _open_bits(one, text, stars, whole) for role, one in each}
                pair = (str(old.number), str(new.number))
                self._metrics.shadow_texts.labels(*pair).inc()
                self._metrics.shadow_bytes.labels(*pair).inc(len(text.encode()) + whole)
                for role, value in bits.items():
                    self._metrics.shadow_bits.labels(*pair, role).inc(value)
        except Exception as error:
            self._metrics.shadow_left_out.inc()
            log.debug("a text was not scored in the shadow: %s", error)
        finally:
            self._free.release()


def _open_bits(version: OpenVersion, text: str, stars: int | None, whole: bool) -> float:
    """Return the bits of a text, with the spelling of unknown words; without those of its end unless it is *whole*."""
    scoring = Scoring([text], stars)
    while version.engine.run(scoring.advance).result(SECONDS):
        pass
    score = scoring.scored[0].score
    return (score.nats + score.spelling_nats - (0.0 if whole else score.per_token[-1][1])) / ln(2)
