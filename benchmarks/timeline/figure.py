"""Draw the Gantt of a run: its stages over the seconds, below them the busy cores and the memory."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.patches import Patch

from benchmarks.process_log import CPU, PIPELINE, SERVER, SERVER_CPU, ProcessLog
from benchmarks.timeline.rows import Row
from benchmarks.timeline.spans import Layer
from reviewlm.core.environment import available_cores
from reviewlm.evaluation.reports.canvas import GREY, PALE, WIDTH, canvas, literal
from reviewlm.evaluation.reports.document import PALETTE

LANES = 45
"""Most rows that are drawn: those that ran longest."""
LANE, PANEL = 0.17, 1.6
"""Inches of a row, and of each panel below the rows."""
LOOK = {
    Layer.STAGE: (PALETTE[0], "a stage is built"),
    Layer.TASK: (PALETTE[5], "a task runs, no stage is built"),
    Layer.STEP: (PALETTE[1], "no task runs"),
    Layer.FLOW: (PALETTE[1], "no task runs"),
    Layer.COMMAND: (PALETTE[1], "no task runs"),
}
BIN_SECONDS, BINS = 0.5, 400
"""Shortest time over which the busy cores are averaged (the kernel counts hundredths), and most such times."""


def draw(
    rows: Mapping[str, Row],
    log: ProcessLog,
    began: float,
    ended: float,
    goal_mib: float,
    file: Path,
) -> None:
    """Write the figure as SVG or PNG, by the name of the file."""
    longest = sorted(
        (name for name in rows if rows[name].intervals), key=lambda name: -rows[name].wall
    )[:LANES]
    shown = {name: row for name, row in rows.items() if name in longest}
    height = LANE * (len(shown) + 1)
    figure, (lanes, cores, memory) = canvas(WIDTH, height + 2 * PANEL, rows=3)
    lanes.get_gridspec().set_height_ratios([height, PANEL, PANEL])
    for number, row in enumerate(shown.values()):
        color = LOOK[row.layer][0]
        bars = [(begin - began, end - begin) for begin, end in row.intervals]
        lanes.broken_barh(
            bars,
            (number - 0.35, 0.7),
            facecolors=color,
            edgecolors=color,
            linewidth=0.6,
        )

    lanes.set_yticks(range(len(shown)), [literal(name) for name in shown])
    lanes.set_ylim(len(shown) - 0.4, -0.6)
    lanes.grid(
        axis="x",
        color=PALE,
        linewidth=0.8,
    )
    kinds = dict.fromkeys(LOOK[row.layer] for row in shown.values())
    lanes.legend(
        handles=[Patch(color=color, label=label) for color, label in kinds],
        frameon=False,
        loc="lower left",
    )
    edges = np.linspace(began, ended, max(1, min(BINS, int((ended - began) / BIN_SECONDS))) + 1)
    of_pipeline, of_server = (_busy(log, edges, what) for what in (CPU, SERVER_CPU))
    cores.stairs(
        of_pipeline + of_server,
        edges - began,
        fill=True,
        color=PALETTE[4],
        label="Prefect's server",
    )
    cores.stairs(
        of_pipeline,
        edges - began,
        fill=True,
        color=PALETTE[2],
        label="the command and its workers",
    )
    cores.axhline(
        available_cores(),
        color=GREY,
        linestyle="--",
        linewidth=0.8,
    )
    cores.set_ylim(0, 1.5 * available_cores())  # room for the legend
    cores.set_ylabel("cores busy")
    for what, color in ((PIPELINE, PALETTE[2]), (SERVER, PALETTE[4])):
        peaks = [log.peak(*each, what) or np.nan for each in pairwise(edges)]
        memory.stairs(peaks, edges - began, color=color, baseline=None)

    memory.axhline(
        goal_mib,
        color=GREY,
        linestyle="--",
        linewidth=0.8,
    )
    memory.set_ylim(bottom=0)
    memory.set_ylabel("resident, MiB")
    memory.set_xlabel("seconds")
    cores.legend(
        frameon=False,
        loc="upper right",
        ncols=2,
    )
    for axes in (lanes, cores, memory):
        axes.set_xlim(0, ended - began)

    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)


def _busy(
    log: ProcessLog,
    edges: np.ndarray,
    what: int,
) -> np.ndarray:
    """Return the average number of busy cores between each two times."""
    used = log.at(list(edges), what)
    return np.array([after - before for before, after in pairwise(used)]) / np.diff(edges)
