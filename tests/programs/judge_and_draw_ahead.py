"""Judge a figure and draw a data card in a process that was forked early, and here; print as JSON what is equal."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from reviewlm.core.processes.ahead import call_ahead, imported_ahead
from reviewlm.flow_runs import CHECKS, DRAWINGS

LOADED = ("great_expectations", "matplotlib")


def main(folder: Path) -> None:
    """Compare both in a process whose table engine is first used after the fork."""
    with imported_ahead([CHECKS, DRAWINGS]):
        from reviewlm.data_checks import gx
        from reviewlm.data_checks.checks import Check, MeasuredCheck
        from reviewlm.evaluation.reports.card import HTML, MARKDOWN, draw
        from tests.evaluation.reports.test_data_card import ORIGIN, frame, profiled

        figure = MeasuredCheck(
            Check("present", "n", description="Whole"),
            value=0.5,
            judged=2,
            failing=1,
            examples=("x",),
        )
        suite = ([figure], "suite", "run", 2, ["n"])
        profile = profiled(folder, frame())
        folders = [folder / "there", folder / "here"]
        for one in folders:
            one.mkdir()

        there = call_ahead(gx.judge_suite, *suite)
        call_ahead(
            draw,
            profile,
            ORIGIN,
            folders[0],
        )
        found: dict[str, list[Any]] = {"loaded": [name for name in LOADED if name in sys.modules]}

    here = gx.judge_suite(*suite)
    draw(profile, ORIGIN, folders[1])
    results = [json.loads(verdict.document)["results"] for verdict in (there, here)]
    found["held"] = [there.held, here.held]
    found["equal"] = [there.release == here.release, results[0] == results[1]]
    for name in (HTML, MARKDOWN):
        pages = [(one / name).read_bytes() for one in folders]
        found["equal"].append(pages[0] == pages[1])

    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
