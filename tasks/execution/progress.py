"""Report progress of long stages: a live bar on a terminal, otherwise log lines, which Prefect shows too.

Each running stage has one line on a terminal: name, bar, share, remaining time, speed, perplexity. A log line comes
after ten seconds; later a line needs a tenth of the time so far, so that a fit of two hours writes some sixty.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TaskProgressColumn, TextColumn
from rich.table import Column

log = logging.getLogger(__name__)

LINE_SECONDS = 10.0
MOST_LINE_SECONDS = 300.0
LINE_SHARE = 0.1
"""Seconds between two log lines: this share of the time so far, within these limits."""
EARLY_SHARE = 0.05
EARLY_SECONDS = 30.0
"""Below both limits no remaining time is shown: the first step compiles and warms up, so it would mislead."""
TOLD_ELSEWHERE = (
    "seconds_left",
    "tokens_per_second",
    "validation/nats",
)  # the last: beside its perplexity
NAME = 12
"""Width of the name of a stage."""
WIDE = 80
"""Columns of a terminal from which on speed and perplexity are shown."""
Report = Callable[..., None]

ACTIVITIES = {
    "canaries": "place canaries {}",
    "card": "data card {}",
    "compare-classifiers": "compare the classifiers",
    "floor": "least possible perplexity {}, where it is known",
    "intervals": "confidence intervals of {}",
    "observe": "look at single tokens of {}",
    "pace": "train {} while the time lasts",
    "pictures": "draw the figures {}",
    "plan": "plan the training",
    "reference": "made-up secrets {}",
    "tokens": "encode {}",
}
"""What people are told while a stage runs whose name alone does not say it; its label takes the place of the braces."""
_clocks: dict[str, tuple[float, float]] = {}
"""By label: when a planned training began that another work ends, and its planned seconds."""
_lock = threading.Lock()
_shared: list[Progress] = []
"""The live display of this process, shared by all its stages; empty while none runs."""


def activity(stage: str, label: str) -> str:
    """Return the activity of a stage in words, for the lines that a waiting user reads."""
    words = ACTIVITIES.get(stage, f"{stage} {{}}")
    return words.replace("{}", label).strip()


@contextmanager
def progress(
    label: str,
    total: int,
    unit: str,
    planned: float | None = None,
) -> Iterator[Report]:
    """Yield `report(done, figures, total)`; the caller may call it as often as it likes.

    Args:
        total: Amount of work in *unit*.
        unit: "reviews", "bytes" or "tokens".
        planned: Seconds that a plan has announced for this work and the next of the same label, which ends it (the
            decay of a paced training). Beside them stands the time that both take as it looks now: used and left.
    """
    begun = time.monotonic()
    if planned is None:
        begun, planned = _clocks.pop(label, (begun, None))
    else:
        _clocks[label] = begun, planned

    line = _Line(
        label,
        max(total, 1),
        unit,
        planned,
        begun,
    )
    with _bar(line) as move:

        def report(
            done: int,
            figures: Mapping[str, float] | None = None,
            total: int | None = None,
        ) -> None:
            line.total = total or line.total
            if move:
                move(
                    completed=done,
                    total=line.total,
                    **line.columns(done, figures or {}),
                )
            else:
                line.tell(done, figures or {})

        yield report


@contextmanager
def _bar(line: _Line) -> Iterator[Callable[..., None] | None]:
    """Yield a function that moves the bar of a stage; None without a terminal."""
    if not sys.stderr.isatty():
        yield None
        return

    with _lock:
        if not _shared:
            _shared.append(live_display(Console(stderr=True)))
            _shared[0].start()
        display = _shared[0]
        bar = display.add_task(line.label, total=line.total, **line.columns(0, {}))

    try:
        yield partial(display.update, bar)
    finally:
        with _lock:
            display.remove_task(bar)
            if not display.tasks:
                display.stop()
                _shared.clear()


def live_display(console: Console) -> Progress:
    """Return the display of all running stages; a narrow terminal does without speed and perplexity."""
    one_line = Column(max_width=NAME, no_wrap=True)
    columns: list[ProgressColumn] = [
        TextColumn("{task.description}", markup=False, table_column=one_line),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TextColumn("{task.fields[left]}", markup=False),
    ]
    if console.width >= WIDE:
        columns.append(TextColumn("{task.fields[speed]}", markup=False))
        columns.append(TextColumn("{task.fields[perplexity]}", markup=False))

    return Progress(
        *columns,
        console=console,
        transient=True,
        expand=True,
    )


class _Line:
    """Progress as log lines, at most one per interval, and as columns of a terminal."""

    def __init__(
        self,
        label: str,
        total: int,
        unit: str,
        planned: float | None,
        plan_begun: float,
    ) -> None:
        self.label = label
        self.total = total
        self.unit = unit
        self.planned = planned
        self.plan_begun = plan_begun
        self.started = self.logged = time.monotonic()

    def tell(self, done: int, figures: Mapping[str, float]) -> None:
        now = time.monotonic()
        between = min(MOST_LINE_SECONDS, max(LINE_SECONDS, LINE_SHARE * (now - self.started)))
        if now - self.logged >= between:
            self.logged = now
            share = min(100.0, 100 * done / self.total)
            log.info("%s %.0f %%, %s", self.label, share, self.news(done, figures))

    def news(self, done: int, figures: Mapping[str, float]) -> str:
        """Return speed, remaining time and figures as text."""
        left = self._left(done, figures)
        shown = {}
        for name, value in figures.items():
            if name not in TOLD_ELSEWHERE:
                shown[re.sub("[_/]", " ", name)] = value

        if shown.get("best perplexity") == shown.get("validation perplexity"):
            shown.pop("best perplexity", None)

        told = ""
        if shown:
            told = "; " + ", ".join(f"{name} {_short(value)}" for name, value in shown.items())

        text = self._speed(done, figures)
        if left is not None:
            text += f", {duration(left)} left"
        if self.planned is not None:
            if left is not None:
                text += f" of about {duration(self._seconds_used() + left)}"
            text += f" (planned: {duration(self.planned)})"

        return text + told

    def _seconds_used(self) -> float:
        """Return the seconds since the planned work began; with those that are left they are the whole as it is now."""
        return time.monotonic() - self.plan_begun

    def columns(self, done: int, figures: Mapping[str, float]) -> dict[str, Any]:
        """Return remaining time, speed and perplexity as the text of their columns; the bar shows the rest."""
        left = self._left(done, figures)
        validation = figures.get("validation_perplexity", figures.get("validation/perplexity"))
        shown = {"ppl": figures.get("perplexity"), "val": validation}
        parts = [f"{name} {_short(value)}" for name, value in shown.items() if value is not None]
        columns = {
            "left": "",
            "speed": "",
            "perplexity": ", ".join(parts),
        }
        if left is not None:
            columns["left"] = f"ETA {_clock(left)}"
            if self.planned is not None:
                whole = _clock(self._seconds_used() + left)
                columns["left"] += f" of {whole}, plan {_clock(self.planned)}"

        if done:
            columns["speed"] = self._speed(done, figures)

        return columns

    def _left(self, done: int, figures: Mapping[str, float]) -> float | None:
        """Return the remaining seconds; None while they are not known well enough."""
        elapsed = time.monotonic() - self.started
        if not done or (done < EARLY_SHARE * self.total and elapsed < EARLY_SECONDS):
            return None
        # A resumed trainer gives a better estimate.
        return figures.get("seconds_left", elapsed * max(0, self.total - done) / done)

    def _speed(self, done: int, figures: Mapping[str, float]) -> str:
        """Return the speed as text: in tokens per second if they are counted, else in *unit* per second."""
        speed = done / max(time.monotonic() - self.started, 1e-9)
        if self.unit == "bytes":
            return f"{speed / 1e6:,.0f} MB/s"
        if "tokens_per_second" in figures:
            return f"{figures['tokens_per_second']:,.0f} tokens/s"
        return f"{speed:,.0f} {self.unit}/s"


def _clock(seconds: float) -> str:
    """Return seconds as the text of a narrow column: "1:05:00" or "03:02"."""
    return str(timedelta(seconds=round(seconds))).removeprefix("0:")


def duration(seconds: float) -> str:
    """Return seconds as text: "45 s", "3 min 20 s" or "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def slug(key: str) -> str:
    """Return *key* in the form that Prefect accepts for artifacts: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-")


def _short(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
