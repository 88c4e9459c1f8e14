"""Run a year of weekly retrains on real reviews, with planted failures, and draw what happened.

    mount -t tmpfs -o size=4G tmpfs /tmp/year
    python -m benchmarks.year --data DATA --home /tmp/year/home --out year.jsonl
    python -m benchmarks.year --figure docs/images/year.svg --out year.jsonl

Each week one month's reviews arrive in the input folder, and the deployment `retrain/weekly` runs on a real Prefect
server with a worker, as `make ui` starts them. Every fourth week the new reviews are tested for drift, and the
deployment `upkeep` runs each week. `plan.py` says what is planted when. The file system of the home is filled up in
one week, so it must be a small one of its own. The rows are written one by one; a second call continues after the last.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Timer
from typing import Any

import reviewlm
from benchmarks.harness import say
from benchmarks.year import plan, slices
from benchmarks.year.figure import draw
from benchmarks.year.operation import Operation
from reviewlm.core.config.presets import load_config
from reviewlm.core.errors import ReviewLMError
from reviewlm.tasks.records.track import registry_of

PRESET = str(Path(__file__).with_name("year.toml"))
RETRAIN = "retrain/weekly"
SCORED = 100
"""Reviews of the next month that are scored."""
ALERTS_SECONDS = 2.0
"""Time for alerts on their way."""
LARGEST_DISK = 16 << 30
FULL_SECONDS = 150.0
"""Time until the operator frees space."""
LEFT = 1 << 20
"""Bytes that are free in the week of the full disk."""
BAD = ["models.lstm.training.learning_rate=1.0", "models.lstm.hidden=8", "models.kn3.order=1"]
"""Settings of a bad model: the mixture of a unigram model and a network that has learned nothing."""


class Year:
    """One year of a home folder.

    Args:
        data: Folder of the real reviews.
        home: Home folder, on a file system of its own.
        out: File of the rows, one for each week.
        planned: What happens when.
    """

    def __init__(
        self,
        data: Path,
        home: Path,
        out: Path,
        planned: plan.YearPlan,
    ) -> None:
        self.home = home
        self.out = out
        self.planned = planned
        self.input = home.parent / "reviews"
        self.archive, self.months = slices.cut(
            data, planned.weeks + 1, planned.reviews, planned.archive
        )
        self.stranger = slices.other_city(data, 4 * planned.reviews)
        self.operation = Operation(home)

    def run(self) -> None:
        """Run the weeks that have no row yet."""
        done = len(self.out.read_text().splitlines()) if self.out.exists() else 0
        self.input.mkdir(parents=True, exist_ok=True)
        (self.input / "archive.jsonl").write_text(slices.lines(self.archive))
        self.operation.start()
        try:
            for week in range(done + 1, self.planned.weeks + 1):
                row = self.week(week)
                with self.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
                say(json.dumps(row))
        finally:
            self.operation.stop()

    def week(self, week: int) -> dict[str, Any]:
        """Let one week pass and return its row."""
        began = time.time()
        planted = self.planned.planted(week)
        file = self.input / f"week-{week:02}.jsonl"
        reviews = self.months[week - 1] + (self.stranger if planted == plan.OTHER_CITY else [])
        file.write_text(
            slices.poisoned(reviews) if planted == plan.POISON else slices.lines(reviews)
        )
        seen = self._decisions()
        row: dict[str, Any] = {
            "week": week,
            "planted": planted,
            "month": reviews[0]["date"][:7],
        }
        if self.planned.is_checked(week):
            named = {
                "overrides": [f"promotion.model_name={load_config(PRESET).promotion.model_name}"]
            }
            row["drift run"] = self.operation.run("drift/drift", named).state_name
            self.operation.finish_others()

        row |= self._retrained(planted)
        if planted == plan.POISON and row["state"] != "Completed":
            # The operator reads the alert and takes the file away.
            file.rename(file.with_suffix(".set-aside"))

        row["upkeep"] = self.operation.run("upkeep/upkeep", {"preset": PRESET}).state_name
        row["decisions"] = self._decisions()[len(seen) :]
        time.sleep(ALERTS_SECONDS)
        row["alerts"] = self.operation.alerts.taken()
        return row | self._measured(week) | {"seconds": round(time.time() - began, 1)}

    def _retrained(self, planted: str) -> dict[str, Any]:
        """Run the weekly retrain, and where the disk was full, once more with space."""
        parameters = {"preset": PRESET, "input": [str(self.input)]}
        if planted == plan.BAD_MODEL:
            parameters["overrides"] = BAD

        if planted == plan.FULL_DISK:
            with self._full_disk():
                failed = self.operation.run(RETRAIN, parameters)
            again = self._retrained("")
            return again | {"state": f"{failed.state_name}, {again['state']}"}

        killed = planted in (plan.CRASH, plan.CRASH_WITH_WORKER)
        run = self.operation.run(RETRAIN, parameters, killed, planted == plan.CRASH_WITH_WORKER)
        return {
            "state": run.state_name,
            "attempts": run.run_count,
            "retrain seconds": run.total_run_time.seconds,
        }

    @contextmanager
    def _full_disk(self) -> Iterator[None]:
        ballast = self.home.parent / "ballast"
        free = shutil.disk_usage(self.home).free
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free - LEFT)

        # The databases are on this disk too: no run could end in them before the operator has freed space.
        timer = Timer(FULL_SECONDS, ballast.unlink, [True])
        timer.start()
        try:
            yield
        finally:
            timer.join()

    def _decisions(self) -> list[dict[str, Any]]:
        """Return all decisions of the gate, the first one first."""
        config = load_config(PRESET)
        registry = registry_of(config.workspace, config.promotion.model_name)
        found = [
            {name: row[name] for name in ("decision", "version", "state", "why")}
            for row in registry.decisions()
        ]
        return found[::-1]

    def _measured(self, week: int) -> dict[str, Any]:
        """Return sizes, and bits per byte of the next month's reviews: by the champion, and by the first champion."""
        versions = {"champion": "champion", "first": "1"}
        text = {name: self._bits(version, self.months[week]) for name, version in versions.items()}
        return {
            "bits": text,
            "home bytes": shutil.disk_usage(self.home).used - _used_by(self.input),
        }

    @staticmethod
    def _bits(version: str, reviews: list[slices.Review]) -> float | None:
        """Return open bits per byte of a version on reviews it has not seen; None if there is no such version."""
        with suppress(ReviewLMError):
            model = reviewlm.load(version, preset=PRESET)
            scores = [
                model.score(review["text"], int(review["stars"])) for review in reviews[:SCORED]
            ]
            bits = sum(score.open_bits_per_byte * score.bytes for score in scores)
            return round(bits / sum(score.bytes for score in scores), 4)
        return None


def _used_by(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def main() -> None:
    """Run the year, or draw its figure."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.year", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--data", type=Path, help="folder of the real reviews")
    parser.add_argument("--home", type=Path, help="home folder, on a small file system of its own")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="file of the rows, one for each week",
    )
    parser.add_argument("--weeks", type=int, default=52)
    parser.add_argument(
        "--figure", type=Path, help="draw the rows that are there instead of running"
    )
    chosen = parser.parse_args()
    if chosen.figure:
        draw([json.loads(line) for line in chosen.out.read_text().splitlines()], chosen.figure)
        return

    if not chosen.data or not chosen.home:
        parser.error("--data and --home are needed")

    chosen.home.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(chosen.home.parent).total > LARGEST_DISK:
        parser.error(
            f"the disk of {chosen.home.parent} would be filled up: mount a small one there (see --help)"
        )

    Year(chosen.data, chosen.home, chosen.out, plan.YearPlan(chosen.weeks)).run()


if __name__ == "__main__":
    main()
