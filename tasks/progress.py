"""Report progress of long stages: a live bar on a terminal, otherwise log lines; also a Prefect progress artifact."""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import TaskRunContext
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

log = logging.getLogger(__name__)

LINE_SECONDS = 10.0
ARTIFACT_SECONDS = 5.0
EARLY_SHARE, EARLY_SECONDS = 0.01, 30.0
"""Below both limits no remaining time is shown: the first step compiles and warms up, so it would mislead."""
TOLD_ELSEWHERE = ("seconds_left", "tokens_per_second")
Report = Callable[..., None]

_lock = threading.Lock()
_bars: Progress | None = None
_users = 0


@contextmanager
def progress(label: str, total: int, unit: str) -> Iterator[Report]:
    """Yield `report(done, figures, total)`; the caller may call it as often as it likes.

    Args:
        label: Name of the work, shown with the bar.
        total: Amount of work in *unit*.
        unit: "reviews", "bytes" or "tokens".
    """
    line = _Line(label, max(total, 1), unit)
    with _terminal() as bars:
        bar = bars.add_task(label, total=max(total, 1), figures="") if bars else None

        def report(done: int, figures: Mapping[str, float] | None = None, total: int | None = None) -> None:
            line.total = total or line.total
            if bars is not None and bar is not None:
                bars.update(bar, completed=done, total=line.total, figures=line.figures(done, figures or {}))
            line.tell(done, figures or {}, to_log=bars is None)

        try:
            yield report
        finally:
            if bars is not None and bar is not None:
                bars.remove_task(bar)


@contextmanager
def _terminal() -> Iterator[Progress | None]:
    """Yield the live display of this process, shared by all its stages; None without a terminal."""
    global _bars, _users
    if not sys.stderr.isatty():
        yield None
        return
    with _lock:
        if _bars is None:
            columns = (
                TextColumn("{task.description:<12}", markup=False), BarColumn(bar_width=24),
                TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(), TimeRemainingColumn(),
                TextColumn("{task.fields[figures]}", markup=False),
            )
            _bars = Progress(*columns, console=Console(stderr=True), transient=True)
            _bars.start()
        _users += 1
        bars = _bars
    try:
        yield bars
    finally:
        with _lock:
            _users -= 1
            if _users == 0 and _bars is not None:
                _bars.stop()
                _bars = None


class _Line:
    """Progress as log lines and as a Prefect progress artifact, each at most once per interval."""

    def __init__(self, label: str, total: int, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.started = self.logged = self.shown = time.monotonic()
        self.artifact: Any = None

    def tell(self, done: int, figures: Mapping[str, float], to_log: bool) -> None:
        now = time.monotonic()
        share = min(100.0, 100 * done / self.total)
        if to_log and now - self.logged >= LINE_SECONDS:
            self.logged = now
            log.info("%s %.0f %%, %s", self.label, share, self.news(done, figures))
        if now - self.shown >= ARTIFACT_SECONDS and TaskRunContext.get() is not None:
            self.shown = now
            self._show_in_prefect(share, self.news(done, figures))

    def news(self, done: int, figures: Mapping[str, float]) -> str:
        """Return speed, remaining time and figures as text."""
        speed = self._speed(done, figures)
        if done < EARLY_SHARE * self.total and self._elapsed() < EARLY_SECONDS:
            return f"{speed}{_show(figures)}"
        left = self._elapsed() * max(0, self.total - done) / max(done, 1)
        left = figures.get("seconds_left", left)  # a resumed trainer gives a better estimate
        return f"{speed}, {_duration(left)} left{_show(figures)}"

    def figures(self, done: int, figures: Mapping[str, float]) -> str:
        """Return speed and figures as text; the bar shows the rest."""
        return self._speed(done, figures) + _show(figures)

    def _elapsed(self) -> float:
        return max(time.monotonic() - self.started, 1e-9)

    def _speed(self, done: int, figures: Mapping[str, float]) -> str:
        """Return the speed as text: in tokens or reviews per second if these are counted, else in *unit* per second."""
        elapsed = self._elapsed()
        if "tokens_per_second" in figures:
            return f"{figures['tokens_per_second']:,.0f} tokens/s"
        if self.unit == "bytes" and "reviews" in figures:
            return f"{figures['reviews'] / elapsed:,.0f} reviews/s ({done / elapsed / 1e6:,.0f} MB/s)"
        return f"{done / elapsed:,.0f} {self.unit}/s"

    def _show_in_prefect(self, share: float, news: str) -> None:
        try:
            if self.artifact is None:
                self.artifact = create_progress_artifact(share, slug(f"{self.label}-progress"), news)
            else:
                update_progress_artifact(self.artifact, share, news)
        except Exception as error:  # a failed display must not end hours of work
            log.debug("progress of %s is not shown in Prefect: %s", self.label, error)


def _duration(seconds: float) -> str:
    """Return seconds as text: "45 s", "3 min 20 s" or "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def slug(key: str) -> str:
    """Return *key* in the form that Prefect accepts for artifacts: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-")


def _show(figures: Mapping[str, float]) -> str:
    known = {name.replace("_", " "): value for name, value in figures.items() if name not in TOLD_ELSEWHERE}
    parts = [f"{name} {value:,.0f}" if abs(value) >= 1000 else f"{name} {value:.4g}" for name, value in known.items()]
    return "; " + ", ".join(parts) if parts else ""
