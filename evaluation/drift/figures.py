"""Write the page of a drift report with the classes of reviews that moved, and draw the ageing of models by month."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reviewlm.evaluation.drift.decay import HELD_OUT, NEW, Decay
from reviewlm.evaluation.drift.report import DriftReport, flagged_sentence
from reviewlm.evaluation.reports.canvas import GREY, PALE, WIDTH, canvas, literal, styles_of
from reviewlm.evaluation.reports.document import (
    PALETTE,
    Page,
    PageSection,
    PageTable,
    PageText,
    Part,
)
from reviewlm.evaluation.reports.report_pictures import Drawing

KNOWN_COLOR = PALETTE[0]
NEW_COLOR = PALETTE[1]
SHOWN = 15
ODD = 10
TITLES = {
    "stars": "Star ratings",
    "length": "Words per review",
    "categories": "Categories of the businesses",
}


def drift_page(
    report: DriftReport,
    facts: Mapping[str, Any],
    odd: pl.DataFrame,
    counts: Mapping[str, float],
) -> Page:
    """Return the report as a page.

    Args:
        facts: What was compared: names, digests, dates.
        odd: The result of `odd_reviews.odd_table`; its first rows are shown.
        counts: The result of `odd_reviews.odd_counts`.
    """
    rows = []
    for f in report.figures:
        row = {
            "figure": f.name,
            "what": f.detail,
            "value": f.value,
            "by chance": f.expected,
        }
        row |= {
            "excess": f.excess,
            "limit of the excess": f.limit,
            "p": f.p_value,
        }
        row["verdict"] = "drifted" if f.flagged else "same"
        rows.append(row)

    drawn = Drawing("classes", "", histograms(report), "Shares of reviews by class")
    level = f"{report.false_alarm:.1%}"
    method = (
        "A figure is flagged if it exceeds its value by chance by more than its limit, and if so large a value is too "
        f"rare among random exchanges of whole reviews between the two samples: at most {level} of batches from the "
        "same source raise a false alarm, over all figures together."
    )
    found = (
        f"{counts['surprising']} of {counts['reviews']} new reviews are too surprising to the champion and "
        f"{counts['predictable']} too predictable; {counts['by_chance']:.1f} of each are expected by chance."
    )
    begins = pl.col("text").str.replace_all(r"\s+", " ").str.slice(0, 80)
    oddest = odd.head(ODD).select(
        review="review_id",
        odd="odd",
        bits_per_byte="bits_per_byte",
        expected="expected",
        deviation="deviation",
        begins=begins,
    )
    words = "Words with the largest part in the divergence, per 1,000 words"
    parts: dict[str, list[Part]] = {"Figures": [PageTable.of(rows), method]}
    parts["Stars, lengths, categories"] = [drawn.picture]
    parts[words] = [PageTable.of(report.moved)]
    parts["Odd reviews"] = [found, PageTable.of(oddest.to_dicts())]
    parts["Compared data"] = [PageTable.facts(facts)]
    sections = [PageSection(heading, of_section) for heading, of_section in parts.items()]
    lead = f"{report.reviews:,} new reviews, {report.reference_reviews:,} known to the champion"
    verdict = PageText(flagged_sentence(report), "bad" if report.drifted else "good")
    return Page("Drift of new reviews", lead, sections, [verdict])


def histograms(report: DriftReport) -> Figure:
    """Draw the shares of both samples side by side, with one panel per figure that has classes."""
    names = [name for name in TITLES if name in report.histograms]
    figure, panels = canvas(WIDTH, 2.4 * len(names), rows=len(names))
    for axes, name in zip(np.atleast_1d(panels), names, strict=True):
        _side_by_side(axes, report, name)
    return figure


def _side_by_side(
    axes: Axes,
    report: DriftReport,
    name: str,
) -> None:
    classes = report.histograms[name]
    labels, reference, new = _most(classes["labels"], classes["known"], classes["new"])
    places = range(len(labels))
    axes.bar(
        [place - 0.2 for place in places],
        reference,
        0.4,
        color=KNOWN_COLOR,
        label="known to the champion",
    )
    axes.bar(
        [place + 0.2 for place in places],
        new,
        0.4,
        color=NEW_COLOR,
        label="new reviews",
    )
    slanted = name != "stars"
    if name == "length":
        names = [f"{label}+" for label in labels]
    else:
        names = [literal(str(label)) for label in labels]

    axes.set_xticks(
        places,
        names,
        rotation=50 if slanted else 0,
        ha="right" if slanted else "center",
        fontsize=8,
    )
    axes.set_ylabel("share")
    axes.set_title(TITLES[name], fontsize=10)
    axes.legend(fontsize=8)


def _most(*columns: Sequence[Any]) -> list[list[Any]]:
    """Return labels and both shares of all classes if they are few, otherwise of those with the largest shares."""
    rows = list(zip(*columns, strict=True))
    if len(rows) > 20:
        rows = sorted(rows, key=lambda row: -max(row[1], row[2]))[:SHOWN]
    return [list(column) for column in zip(*rows, strict=True)]


def decay_curve(decays: Mapping[str, Decay]) -> Figure:
    """Draw open bits per byte by month with intervals: held-out reviews hollow, new ones filled, reference as a line.

    Args:
        decays: By name of version; the first is the champion, and its reference is drawn.
    """
    figure, axes = canvas(10.0, 4.8)
    months = sorted({month for decay in decays.values() for month in decay.table["month"]})
    place = {month: number for number, month in enumerate(months)}
    for shift, (name, style) in enumerate(styles_of(list(decays)).items()):
        table = decays[name].table
        for part, face in ((HELD_OUT, "white"), (NEW, style["color"])):
            rows = table.filter(pl.col("part") == part)
            if rows.is_empty():
                continue
            x = np.array([place[month] for month in rows["month"]]) + 0.08 * shift
            y, low, high = (
                rows[column].to_numpy() for column in ("open_bits_per_byte", "lo", "hi")
            )
            below_above = [y - low, high - y]
            axes.errorbar(
                x,
                y,
                below_above,
                label=f"{name}, {part}",
                markerfacecolor=face,
                capsize=2,
                markersize=5,
                **style,
            )

    champion, first = next(iter(decays.items()))
    axes.axhspan(first.reference.low, first.reference.high, color=PALE, zorder=0)
    axes.axhline(
        first.reference.estimate,
        color=GREY,
        linewidth=1,
        linestyle="--",
        label=f"reference {first.since} to {first.until}",
    )
    step = max(1, len(months) // 12)
    axes.set_xticks(range(0, len(months), step), months[::step], rotation=30, ha="right")
    axes.set_ylabel("open bits per byte")
    axes.set_title(f"{champion}: {first.sentence}", loc="left", fontsize=9)
    axes.legend(fontsize=8)
    return figure
