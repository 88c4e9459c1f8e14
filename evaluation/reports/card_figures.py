"""Draw the figures of a data set: ratings, time, lengths, out-of-vocabulary words, Zipf's and Heaps' law, contrasts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from corpus.profiling.profile import LENGTH_EDGES, Profile, ReviewSummary
from corpus.profiling.word_statistics import PowerLaw, WordStatistics
from evaluation.palette import PALETTE
from evaluation.plots.canvas import GREY, canvas, label_thousands, literal

SIDE_COLOURS = {"train": PALETTE[0], "validation": PALETTE[4], "test": PALETTE[2], "new": PALETTE[3]}
SHORT_SPAN = 3
"""Number of bins of the length histogram that are joined in the figure."""
LISTED = 15
"""Words or names in one panel."""


def stars_figure(profile: Profile) -> Figure:
    """Draw each split's share of reviews by rating; the splits of a good split look alike."""
    figure, axes = canvas(7.5, 4.0)
    sides = {name: summary for name, summary in profile.sides.items() if summary.reviews}
    total = profile.total.stars
    shown = [star for star in range(6) if star or total[0]]
    width = 0.8 / len(sides)
    for number, (name, summary) in enumerate(sides.items()):
        places = [place - 0.4 + (number + 0.5) * width for place in range(len(shown))]
        shares = [summary.stars[star] / summary.reviews for star in shown]
        bars = axes.bar(places, shares, width * 0.92, color=SIDE_COLOURS[name], label=name)
        if name in ("train", "new"):
            axes.bar_label(bars, [f"{share:.1%}" for share in shares], padding=2, fontsize=8)
    labels = ["unknown" if star == 0 else f"{star} star{'s' if star > 1 else ''}" for star in shown]
    axes.set_xticks(
        range(len(shown)), [f"{label}\n{total[star]:,}" for label, star in zip(labels, shown, strict=True)]
    )
    axes.tick_params(axis="x", length=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylabel("share of the split's reviews")
    axes.set_title("Reviews by rating (number over all splits below)")
    axes.margins(y=0.12)
    axes.legend(frameon=False, ncols=len(sides), loc="upper left")
    return figure


def months_figure(profile: Profile) -> Figure:
    """Draw reviews per month, with the splits stacked."""
    figure, axes = canvas(7.5, 3.6)
    months = month_range(profile.total.months.counts)
    below = np.zeros(len(months))
    for name, summary in profile.sides.items():
        if summary.months.total:
            counts = np.array([summary.months.counts.get(month, 0) for month in months], float)
            axes.bar(range(len(months)), counts, 1.0, bottom=below, color=SIDE_COLOURS[name], label=name)
            below += counts
    step = next(step for step in (1, 2, 3, 6, 12, 24, 60, 120, 1_200) if len(months) / step <= 14)
    ticks = [place for place, month in enumerate(months) if (int(month[:4]) * 12 + int(month[5:]) - 1) % step == 0]
    axes.set_xticks(ticks, [months[place][:4] if step % 12 == 0 else months[place] for place in ticks])
    if step % 12:
        axes.tick_params(axis="x", rotation=45)
    axes.set_xlim(-0.6, len(months) - 0.4)
    label_thousands(axes.yaxis)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel("month of the review" if step % 12 else "month of the review; the year begins at its tick")
    axes.set_ylabel("reviews per month")
    axes.set_title(f"Reviews per month, {months[0]} to {months[-1]}" if months else "No review has a date")
    if months:
        axes.legend(frameon=False, loc="upper left")
    return figure


def month_range(counts: dict[str, int]) -> list[str]:
    """Return all months from the first to the last, also those without reviews; at most the last hundred years."""
    if not counts:
        return []
    first, last = ((int(month[:4]) * 12 + int(month[5:]) - 1) for month in (min(counts), max(counts)))
    return [f"{month // 12:04d}-{month % 12 + 1:02d}" for month in range(max(first, last - 1_199), last + 1)]


def lengths_figure(profile: Profile) -> Figure:
    """Draw the distribution of words per review on a log scale, with quantiles of all reviews."""
    figure, axes = canvas(7.5, 4.0)
    total = profile.total
    low, high = total.length_quantile(0.0005), total.length_quantile(0.9995)
    edges = np.array(LENGTH_EDGES, float)
    for name, summary in profile.sides.items():
        if summary.reviews:
            places, shares = _length_density(summary, edges)
            axes.step(places, shares, where="post", color=SIDE_COLOURS[name], linewidth=1.6, label=name)
    axes.set_xscale("log")
    axes.set_xlim(max(low * 0.7, 1), high * 1.4)
    axes.set_ylim(bottom=0)
    axes.margins(y=0.15)
    axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    label_thousands(axes.xaxis)
    axes.xaxis.set_minor_formatter(NullFormatter())
    top = axes.get_ylim()[1] * 1.06
    for share in (0.05, 0.5, 0.95):
        place = total.length_quantile(share)
        axes.axvline(place, color=GREY, linestyle="--", linewidth=1.2, zorder=1)
        axes.annotate(
            f" {share:.0%}: {place:.0f}", (place, top), fontsize=9, color=GREY, va="top", ha="left",
        )
    axes.set_ylim(0, top)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("words per review, separated by white space (log scale)")
    axes.set_ylabel("share of reviews\nper doubling of the length")
    axes.set_title("Length of reviews; dashed: share of reviews not longer")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(0, 0.9))
    return figure


def _length_density(summary: ReviewSummary, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return lower edges and shares per doubling; bins are joined, or integer lengths would make the curve jagged."""
    counts = np.array(summary.lengths[1:-1], float)
    cuts = [0]
    for index in range(1, len(edges)):
        if edges[index] >= edges[cuts[-1]] * 2 ** (SHORT_SPAN / 8) or index == len(edges) - 1:
            cuts.append(index)
    sums = np.array([counts[a:b].sum() for a, b in pairwise(cuts)])
    widths = np.array([np.log2(edges[b] / edges[a]) for a, b in pairwise(cuts)])
    return edges[cuts], np.append(sums / summary.reviews / widths, 0.0)


def oov_figure(words: WordStatistics) -> Figure:
    """Draw the share of tokens outside a vocabulary of the most frequent words of train, by its size."""
    figure, axes = canvas(7.5, 4.0)
    for name, curve in words.oov.items():
        sizes, shares = zip(*curve, strict=True)
        axes.plot(sizes, shares, color=SIDE_COLOURS[name], marker="o", markersize=5, linewidth=1.8, label=name)
    labelled = words.oov.get("test") or next(iter(words.oov.values()), [])
    for (before, _), (size, share) in pairwise([(0, 0.0), *labelled]):
        place = (4, 7) if size > 1.6 * before else (-14, -16)  # of two close points, label one below
        axes.annotate(
            f"{share:.2%}", (size, share), textcoords="offset points", xytext=place, fontsize=9, color=GREY
        )
    _log_axes(axes, y_percent=True)
    axes.set_xlabel("types in the vocabulary: the most frequent ones of train (log scale; last: all of them)")
    axes.set_ylabel("tokens out of vocabulary\n(log scale)")
    axes.set_title("Out-of-vocabulary share by vocabulary size")
    axes.margins(x=0.08, y=0.15)
    if words.oov:
        axes.legend(frameon=False, loc="lower left")
    return figure


def zipf_figure(words: WordStatistics) -> Figure:
    """Draw count against rank of all types, and the fitted power law."""
    law = words.zipf_law
    fit = f"count ∝ rank$^{{{law.exponent:.2f}}}$, fitted to ranks {law.low:,} to {law.high:,}" if law else ""
    figure, axes = _law_canvas(words.zipf, "types", law, fit)
    axes.set_ylim(bottom=0.7)
    axes.set_xlabel("rank of the type (log scale)")
    axes.set_ylabel("occurrences (log scale)")
    axes.set_title(f"Zipf: {words.types['all']:,} types, {words.hapaxes['all']:,} of them seen once")
    axes.legend(frameon=False, loc="lower left")
    return figure


def heaps_figure(words: WordStatistics) -> Figure:
    """Draw types against tokens seen, and the fitted power law."""
    law = words.heaps_law
    fit = f"K = {law.factor:.3g}, β = {law.exponent:.3f},\nfitted from {law.low:,} tokens on" if law else ""
    figure, axes = _law_canvas(words.heaps, "types seen", law, f"K · tokens$^{{β}}$ with {fit}")
    axes.set_xlabel("tokens read, in the order of the file, which is shuffled (log scale)")
    axes.set_ylabel("types (log scale)")
    axes.set_title("Heaps: growth of the vocabulary")
    axes.legend(frameon=False, loc="upper left")
    return figure


def _law_canvas(
    points: Sequence[tuple[int, int]], label: str, law: PowerLaw | None, fit: str
) -> tuple[Figure, Axes]:
    """Draw points and the fitted line on log scales: solid in the fitted range, dotted beyond."""
    figure, axes = canvas(7.5, 4.4)
    if points:
        axes.plot(*zip(*points, strict=True), "o", color=PALETTE[0], markersize=4, label=label)
    if law is not None:
        ends, used = np.array([points[0][0], points[-1][0]], float), np.array([law.low, law.high], float)
        axes.plot(ends, law.at(ends), ":", color=PALETTE[1], linewidth=1.2, zorder=1)
        axes.plot(used, law.at(used), "-", color=PALETTE[1], linewidth=2.0, label=fit, zorder=3)
    _log_axes(axes)
    return figure, axes


def contrast_figure(words: WordStatistics) -> Figure:
    """Draw the words that distinguish 1-star from 5-star reviews best, the strongest on top."""
    figure, (left, right) = canvas(8.5, 1.3 + 0.27 * LISTED, columns=2)
    low = [row for row in words.contrast if row[1] < 0][:LISTED]
    high = [row for row in reversed(words.contrast) if row[1] > 0][:LISTED]
    for axes, rows, colour, title in (
        (left, low, PALETTE[1], "more in 1-star reviews"), (right, high, PALETTE[2], "more in 5-star reviews"),
    ):
        places = range(len(rows))
        axes.barh(places, [abs(row[1]) for row in rows], color=colour, height=0.7)
        axes.set_yticks(places, [literal(row[0]) for row in rows])
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("|z| of the log-odds ratio")
    figure.suptitle("Words of train that tell ratings apart (Monroe et al. 2008)")
    return figure


def names_figure(summary: ReviewSummary) -> Figure:
    """Draw the most frequent categories and cities of the reviewed businesses."""
    figure, both = canvas(8.5, 1.3 + 0.27 * LISTED, columns=2)
    rankings = (summary.categories.top(LISTED), summary.cities.top(LISTED))
    for axes, rows, title in zip(both, rankings, ("categories", "cities"), strict=True):
        axes.barh(range(len(rows)), [count / summary.reviews for _, count in rows], color=PALETTE[0], height=0.7)
        axes.set_ylim(-0.6, LISTED - 0.4)
        axes.set_yticks(range(len(rows)), [literal(name[:28]) for name, _ in rows])
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("share of reviews")
    figure.suptitle("Reviewed businesses (a business has several categories)")
    return figure


def _log_axes(axes: Axes, y_percent: bool = False) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(axis="x", color="#E3E3E3", linewidth=0.8)
    for axis in (axes.xaxis, axes.yaxis):
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(10, subs=(1, 2, 5) if high / low < 1_000 else (1,)))
        axis.set_minor_formatter(NullFormatter())
        label_thousands(axis)
    if y_percent:
        axes.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
