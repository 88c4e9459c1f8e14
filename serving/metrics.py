"""Define the server's metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from reviewlm.serving.engine.requests import EngineFigures

SECONDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
)
COUNTS = (
    "steps",
    "tokens",
    "prefill_tokens",
    "cached_tokens",
    "jobs",
    "step_seconds",
    "busy_seconds",
)
GAUGES = ("live", "queued", "cache_bytes", "cache_entries")
MEANINGS = {
    "steps": "Steps of the model, each one token of every text of a group.",
    "tokens": "Tokens generated.",
    "prefill_tokens": "Prompt tokens read by the model.",
    "cached_tokens": "Prompt tokens that a saved state already covered.",
    "jobs": "Searches, scores, encodings and classifications done.",
    "step_seconds": "Seconds spent in steps.",
    "busy_seconds": "Seconds not spent waiting for work.",
    "live": "Texts that are generated now.",
    "queued": "Texts that wait for their turn.",
    "cache_bytes": "Size of the saved states.",
    "cache_entries": "Number of saved states.",
}


class Metrics:
    """The counters, gauges and histograms of one process."""

    content_type = CONTENT_TYPE_PLAIN_0_0_4
    """The version that every scraper reads; version 1.0.0 differs only in names that we do not use."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "reviewlm_requests", "Answered requests.", ["route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "reviewlm_request_seconds",
            "Time from a request's head to the end of its answer.",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self.first_token = Histogram(
            "reviewlm_first_token_seconds",
            "Time from a request's head to its first text, streamed or not.",
            buckets=SECONDS,
            registry=registry,
        )
        self.refused = Counter(
            "reviewlm_refused",
            "Requests refused, by code of the error.",
            ["code"],
            registry=registry,
        )
        self.versions = Counter(
            "reviewlm_versions",
            "Versions opened, made champion, refused or closed.",
            ["event"],
            registry=registry,
        )
        self.champion = Gauge(
            "reviewlm_champion_version",
            "Number of the version that answers as champion.",
            ["model"],
            registry=registry,
        )
        self.ready = Gauge(
            "reviewlm_registry_reachable", "1 while the registry could be read.", registry=registry
        )
        self._counts = {
            name: Counter(f"reviewlm_engine_{name}", MEANINGS[name], registry=registry)
            for name in COUNTS
        }
        self._finished = Counter(
            "reviewlm_engine_texts", "Ended texts by reason.", ["reason"], registry=registry
        )
        self._gauges = {
            name: Gauge(f"reviewlm_engine_{name}", MEANINGS[name], registry=registry)
            for name in GAUGES
        }
        self._seen: dict[tuple[str, str], EngineFigures] = {}

    def observe(self, model: str, engines: Mapping[str, EngineFigures]) -> None:
        """Take over the figures of a model's open engines, by version; engines that are missing have ended."""
        for version, now in engines.items():
            before = self._seen.get((model, version), EngineFigures(alive=True))
            for name, counter in self._counts.items():
                counter.inc(max(0, getattr(now, name) - getattr(before, name)))
            for reason, count in now.finished.items():
                self._finished.labels(reason).inc(max(0, count - before.finished.get(reason, 0)))

        others = {key: figures for key, figures in self._seen.items() if key[0] != model}
        self._seen = others | {(model, version): figures for version, figures in engines.items()}
        for name, gauge in self._gauges.items():
            gauge.set(sum(getattr(figures, name) for figures in self._seen.values()))

    def text(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        return generate_latest(self.registry)
