"""The year in fast motion: its months are those of the crawl, damage is what it claims, and its figure is drawn."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

from benchmarks.year import plan, slices
from benchmarks.year.figure import draw, marks

REVIEWS = [
    {"review_id": f"{month}-{number}", "stars": 4.0, "date": f"2016-{month:02}-01", "text": "good food here"}
    for month in (1, 2, 3, 4) for number in range(1 if month == 3 else 5)
]  # fmt: skip


def row(week: int, **values: object) -> dict[str, object]:
    return {"week": week, "planted": "", "decisions": [], "alerts": [], "bits": {"champion": 2.0, "first": 2.1},
            "home bytes": 1 << 20, **values}  # fmt: skip


def test_the_last_months_with_enough_reviews_come_in_order_and_all_before_them_is_the_archive(tmp_path: Path) -> None:
    average = {**REVIEWS[0], "stars": 3.5}
    with gzip.open(tmp_path / slices.CRAWL, "wt", encoding="utf-8") as file:
        file.write(slices.lines([average, *REVIEWS[::-1]]))
    archive, months = slices.cut(tmp_path, 2, 5, 4)
    assert [{review["date"] for review in month} for month in months] == [{"2016-02-01"}, {"2016-04-01"}]
    assert [len(month) for month in months] == [5, 5]
    assert {review["date"] for review in archive} == {"2016-01-01"}
    assert all(review["stars"] == 4.0 for review in archive)


def test_a_poisoned_file_has_broken_lines_and_random_words_and_untouched_reviews() -> None:
    counted: Counter[str] = Counter()
    for line in slices.poisoned(REVIEWS * 40).splitlines():
        try:
            counted["untouched" if json.loads(line)["text"] == "good food here" else "random"] += 1
        except ValueError:
            counted["broken"] += 1
    assert min(counted.values()) > 0.2 * 40 * len(REVIEWS)
    assert set(counted) == {"broken", "random", "untouched"}


def test_each_failure_is_planted_and_a_process_is_killed_each_month() -> None:
    year = plan.YearPlan()
    planted = Counter(year.planted(week) for week in range(1, 53))
    assert {planted[name] for name in (plan.POISON, plan.FULL_DISK, plan.OTHER_CITY, plan.BAD_MODEL)} == {1}
    assert planted[plan.CRASH] + planted[plan.CRASH_WITH_WORKER] == 13
    assert year.is_checked(29)  # the week of the other city


def test_marks_are_decisions_and_alerts_and_the_figure_has_them(tmp_path: Path) -> None:
    rows = [
        row(1, decisions=[{"decision": "promoted"}], alerts=["ReviewLM: year: version 1 is the new champion"]),
        row(2, planted=plan.CRASH, alerts=["ReviewLM: retrain (year, reviews): Crashed"]),
        row(3, alerts=["ReviewLM: year: the new reviews differ"], bits={"champion": None, "first": None}),
    ]
    assert marks(rows) == [(1, "promoted"), (2, "run failed or crashed"), (2, "planted"), (3, "drift")]
    draw(rows, tmp_path / "year.svg")
    assert "planted" in (tmp_path / "year.svg").read_text()
