"""Fit how the time and memory of the data stages grow with the reviews, and project them to more reviews."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reviewlm.evaluation.reports.canvas import WIDTH, canvas
from reviewlm.evaluation.reports.document import PALETTE

SHARES = (0.01, 0.1, 1.0)
"""Shares of the file that are measured; the exponent is fitted between the last two."""
FACTORS = (10, 100)
HEIGHT = 5.0
Table = Mapping[str, Mapping[str, Any]]
"""Figures of each stage, and of the whole run."""


def exponent(
    small: float,
    large: float,
    factor: float,
) -> float:
    """Return b of y = a x^b through two measurements, the second of *factor* times as much."""
    return math.log(large / small) / math.log(factor)


def grown(tables: Mapping[float, Table]) -> dict[str, dict[str, Any]]:
    """Return the table of the largest share, with the wall time of the others, its exponent and projected hours.

    Args:
        tables: By share of the reviews, the figures of each stage (`wall_s` and more).
    """
    *others, before, whole = sorted(tables)
    result: dict[str, dict[str, Any]] = {}
    for stage, row in tables[whole].items():
        result[stage] = dict(row)
        for share in (*others, before):
            if stage in tables[share] and "wall_s" in row:
                result[stage][f"wall_s of {share:.0%}"] = tables[share][stage]["wall_s"]
        fewer = tables[before].get(stage, {}).get("wall_s")
        seconds = row.get("wall_s")
        if fewer and seconds:
            power = exponent(fewer, seconds, whole / before)
            result[stage]["exponent"] = round(power, 2)
            for factor in FACTORS:
                result[stage][f"hours at {factor} ×"] = round(seconds * factor**power / 3600, 2)

    return result


def draw(
    tables: Mapping[float, Table],
    reviews: int,
    file: Path,
) -> None:
    """Draw time and peak memory of the whole run over the reviews, and write the figure."""
    shares = sorted(tables)
    counts = [share * reviews for share in shares]
    figure, axes = canvas(WIDTH, HEIGHT, rows=2)
    for axis, name, label in zip(
        axes, ("wall_s", "peak_mib"), ("seconds", "peak memory, MiB"), strict=True
    ):
        values = [tables[share]["whole run"][name] for share in shares]
        power = exponent(values[-2], values[-1], shares[-1] / shares[-2])
        axis.loglog(
            counts,
            values,
            "o-",
            color=PALETTE[0],
            label=f"between the last two: reviews^{power:.2f}",
        )
        for count, value in zip(counts, values, strict=True):
            axis.annotate(
                f"{value:,.0f}",
                (count, value),
                textcoords="offset points",
                xytext=(0, 7),
                ha="center",
            )
        axis.set_ylabel(label)
        axis.set_ylim(min(values) / 2, max(values) * 2)
        axis.legend(frameon=False, loc="lower right")

    axes[-1].set_xlabel("reviews")
    figure.savefig(file)
