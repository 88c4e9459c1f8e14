"""Draw the year in fast motion: quality, decisions and alerts, and the space of the home folder, by week."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reviewlm.evaluation.reports.canvas import GREY, PALE, WIDTH, canvas
from reviewlm.evaluation.reports.document import PALETTE

Row = dict[str, Any]
LANES = ("promoted", "refused", "run failed or crashed", "drift", "planted")
HEIGHT = 7.0
MIB = 1 << 20


def draw(rows: Sequence[Row], file: Path) -> None:
    """Write the figure as SVG or PNG, by the name of the file."""
    figure, (quality, lanes, space) = canvas(WIDTH, HEIGHT, rows=3)
    weeks = [row["week"] for row in rows]
    for number, (name, label) in enumerate(
        {"champion": "champion of the week", "first": "first model, kept"}.items()
    ):
        quality.plot(weeks, [row["bits"][name] for row in rows], color=PALETTE[number], label=label)

    quality.set_ylabel("open bits per byte\nof the next month's reviews")
    quality.legend(frameon=False)
    for week, lane in marks(rows):
        lanes.plot(
            week,
            LANES.index(lane),
            "o",
            color=PALETTE[LANES.index(lane)],
            markersize=4,
        )

    for row in rows:
        if happened(row):
            lanes.axvline(row["week"], color=PALE, zorder=0)
            if not row["planted"].startswith("crash"):
                below = LANES.index("planted") + 0.25
                lanes.text(
                    row["week"],
                    below,
                    row["planted"],
                    ha="center",
                    va="top",
                    size="small",
                )

    lanes.set_yticks(range(len(LANES)), LANES)
    lanes.set_ylim(len(LANES), -0.5)
    space.plot(weeks, [row["home bytes"] / MIB for row in rows], color=GREY)
    space.set_ylim(bottom=0)
    space.set_ylabel("home folder, MiB")
    space.set_xlabel("week")
    for axes in (quality, lanes, space):
        axes.set_xlim(0, len(rows) + 1)

    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)


def happened(row: Row) -> bool:
    """Return whether what was planted took place; a run can be over before its process is killed."""
    told = " ".join(row["alerts"])
    return bool(row["planted"]) and (not row["planted"].startswith("crash") or "Crashed" in told)


def marks(rows: Sequence[Row]) -> list[tuple[int, str]]:
    """Return week and lane of each mark: decisions of the gate, alerts, and what was planted."""
    found = []
    for row in rows:
        said = [event["decision"] for event in row["decisions"]]
        told = " ".join(row["alerts"])
        present = {
            "promoted": "promoted" in said,
            "refused": "refused" in said,
            "run failed or crashed": "Failed" in told or "Crashed" in told,
            "drift": "differ" in told,
            "planted": happened(row),
        }
        found += [(row["week"], lane) for lane in LANES if present[lane]]

    return found
