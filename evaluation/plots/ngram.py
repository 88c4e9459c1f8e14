"""Draw how n-gram models compare: by order, method, amount of text and size, and the share of unseen n-grams."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeGuard

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from evaluation.palette import PALETTE
from evaluation.plots.canvas import GREY, canvas, plain_log_ticks, thousands
from models.ngram.comparison import Row
from models.ngram.lines.text_comparison import Pruned, TextComparison

MARKERS = "osD^vPX*"


def all_figures(found: TextComparison) -> dict[str, Figure]:
    """Return every figure that the comparison has data for, by the name of its file."""
    drawn = {"by_order": by_order(found.methods), "by_method": by_method(found.methods), "unseen": unseen(found.unseen)}
    if len({row.every for row in found.amounts}) > 1:
        drawn["by_amount"] = by_amount(found.amounts)
    if len(found.curve) > 1:
        drawn["by_size"] = by_size(found.curve)
    return drawn


def by_order(rows: Sequence[Row]) -> Figure:
    """Draw perplexity by order, one line per method; a method without a finite perplexity is only in the legend."""
    figure, axes = canvas(8.0, 5.2)
    for number, method in enumerate(_methods(rows)):
        points = [(row.order, row.perplexity) for row in rows if row.method == method and _finite(row.perplexity)]
        _line(axes, points, number, f"{_spoken(method)}{_without(rows, method)}")
    axes.set_xticks(sorted({row.order for row in rows}))
    axes.set_xlabel("order of the model")
    _perplexities(axes, "Perplexity by order and smoothing method")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def by_method(rows: Sequence[Row]) -> Figure:
    """Draw the perplexity of every method at the highest order, best first, and its lowest perplexity at any order."""
    order = max(row.order for row in rows)
    best = {method: _best(rows, method) for method in _methods(rows)}
    here = {row.method: row.perplexity for row in rows if row.order == order}
    names = sorted(best, key=lambda method: (best[method].perplexity or math.inf, method), reverse=True)
    figure, axes = canvas(9.0, 1.6 + 0.5 * len(names))
    for place, method in enumerate(names):
        perplexity, found = here.get(method), best[method]
        if not _finite(perplexity):
            axes.text(1.02, place, _why(rows, method, order), va="center", fontsize=9, color=GREY)
        if _finite(perplexity):
            axes.barh(place, perplexity, height=0.62, color=PALETTE[0])
        if _finite(found.perplexity):
            axes.plot(found.perplexity, place, marker="D", color=PALETTE[1], markersize=6, linestyle="none")
            label = f"{_short(found.perplexity)} at order {found.order}"
            if _finite(perplexity) and found.order != order:
                label = f"{_short(perplexity)}; {label}"
            right = max(value for value in (perplexity, found.perplexity) if _finite(value))
            axes.annotate(label, (right, place), xytext=(9, 0), textcoords="offset points", va="center", fontsize=9)
    finite = [float(value) for value in here.values() if _finite(value)]
    axes.set_xlim(1, 6 * max(finite, default=10.0))
    axes.set_xscale("log")
    plain_log_ticks(axes.xaxis)
    axes.grid(axis="x", color="#E3E3E3", linewidth=0.8)
    axes.grid(axis="y", visible=False)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_yticks(range(len(names)), [_spoken(name) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"perplexity at order {order} (bar), and at the order where it is lowest (diamond); log scale")
    axes.set_title("Smoothing methods on the same text; lower is better")
    return figure


def by_amount(rows: Sequence[Row]) -> Figure:
    """Draw perplexity by amount of training text, one line per order."""
    figure, axes = canvas(8.0, 4.8)
    for number, order in enumerate(sorted({row.order for row in rows})):
        points = sorted((row.tokens, row.perplexity) for row in rows if row.order == order and _finite(row.perplexity))
        _line(axes, points, number, f"order {order}")
    axes.set_xscale("log")
    ticks = sorted({row.tokens for row in rows})
    axes.set_xticks(ticks, [thousands(_rounded(tick)) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("training tokens (log scale)")
    _perplexities(axes, f"Perplexity by amount of training text, {_spoken(rows[0].method)}")
    axes.legend(frameon=False)
    return figure


def by_size(curve: Sequence[Pruned]) -> Figure:
    """Draw the size–perplexity curve of count and entropy pruning."""
    figure, axes = canvas(8.4, 5.0)
    whole = next(point for point in curve if point.pruning == "none")
    for number, pruning in enumerate(("count", "entropy")):
        points = sorted((point.bytes, point.perplexity) for point in curve if point.pruning == pruning)
        _line(axes, [*points, (whole.bytes, whole.perplexity)], number, f"pruned by {pruning}")
        _name_thresholds(axes, [point for point in curve if point.pruning == pruning], PALETTE[number])
    axes.plot(whole.bytes, whole.perplexity, marker="*", markersize=13, color=GREY, linestyle="none", label="unpruned")
    axes.set_xscale("log")
    _nearby_ticks(axes.xaxis)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 2**20:.3g}"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value / 2**20:.3g}"))
    axes.set_xlabel("size of the tables in MiB (log scale); beside the points the threshold")
    _perplexities(axes, "What pruning costs", log=False)
    axes.legend(frameon=False)
    return figure


def _name_thresholds(axes: Axes, points: Sequence[Pruned], colour: str) -> None:
    """Write the thresholds next to their points if there is room, starting with the smallest models."""
    last = 0.0
    for point in sorted(points, key=lambda point: point.bytes):
        if point.pruning == "count" or point.bytes > 1.15 * last:
            left = point.pruning == "entropy"
            axes.annotate(f"{point.threshold:g}".replace("e-0", "e-"), (point.bytes, point.perplexity),
                          xytext=(-4 if left else 7, -12 if left else 3), ha="right" if left else "left",
                          textcoords="offset points", fontsize=8, color=colour)  # fmt: skip
            last = point.bytes


def unseen(shares: Mapping[int, Mapping[int, float]]) -> Figure:
    """Draw the share of held-out tokens whose n-gram never occurred in training, by order: the sparsity problem.

    Args:
        shares: By amount of training text (n means one line of every n) and order.
    """
    figure, axes = canvas(8.0, 4.6)
    amounts = sorted(shares, reverse=True)
    amounts = sorted({amounts[0], amounts[len(amounts) // 2], amounts[-1]}, reverse=True)
    orders = sorted(shares[amounts[0]])
    width = 0.8 / len(amounts)
    for number, every in enumerate(amounts):
        left = [order - 0.4 + (number + 0.5) * width for order in orders]
        label = "all of the text" if every == 1 else f"1/{every} of the text"
        bars = axes.bar(left, [shares[every][k] for k in orders], width * 0.92, color=PALETTE[number], label=label)
        axes.bar_label(bars, [f"{shares[every][k]:.1%}" for k in orders], padding=2, fontsize=8)
    axes.set_xticks(orders, [f"{order}" for order in orders])
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylim(0, 1)
    axes.set_xlabel("order of the n-gram")
    axes.set_ylabel("held-out tokens whose n-gram is new")
    axes.set_title("What has never been seen: probability 0 without smoothing")
    axes.legend(frameon=False, loc="upper left")
    return figure


def _line(axes: Axes, points: Sequence[tuple[float, float]], number: int, label: str) -> None:
    xs, ys = [x for x, _ in points], [y for _, y in points]
    colour, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
    style = "-" if number < len(PALETTE) else "--"
    axes.plot(xs, ys, color=colour, marker=marker, markersize=5, linewidth=1.6, linestyle=style, label=label)


def _perplexities(axes: Axes, title: str, log: bool = True) -> None:
    if log:
        axes.set_yscale("log")
        plain_log_ticks(axes.yaxis)
    axes.set_ylabel(f"held-out perplexity{' (log scale)' if log else ''}")
    axes.set_title(title)


def _nearby_ticks(axis: object) -> None:
    """Place ticks at powers of two of a MiB: sizes seldom span a power of ten."""
    from matplotlib.axis import Axis
    from matplotlib.ticker import LogLocator, NullLocator

    assert isinstance(axis, Axis)
    axis.set_major_locator(LogLocator(base=2))
    axis.set_minor_locator(NullLocator())


def _methods(rows: Sequence[Row]) -> list[str]:
    """Return the methods, best first."""
    names = list(dict.fromkeys(row.method for row in rows))
    return sorted(names, key=lambda method: _best(rows, method).perplexity or math.inf)


def _best(rows: Sequence[Row], method: str) -> Row:
    return min((row for row in rows if row.method == method), key=lambda row: row.perplexity or math.inf)


def _without(rows: Sequence[Row], method: str) -> str:
    own = [row for row in rows if row.method == method]
    if any(_finite(row.perplexity) for row in own):
        return ""
    return ": scores, no perplexity" if own[0].perplexity is None else ": infinite"


def _why(rows: Sequence[Row], method: str, order: int) -> str:
    row = next((row for row in rows if row.method == method and row.order == order), None)
    if row is None:
        return "not fitted at this order"
    if row.perplexity is None:
        return "scores that rank words: no perplexity"
    return f"infinite: {row.zero_probability_events:,} held-out tokens have probability 0"


def _finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _short(perplexity: float) -> str:
    return f"{perplexity:,.0f}" if perplexity >= 1_000 else f"{perplexity:.4g}"


def _spoken(method: str) -> str:
    return {
        "modified_kneser_ney": "modified Kneser–Ney", "kneser_ney": "Kneser–Ney", "jelinek_mercer": "Jelinek–Mercer",
        "witten_bell": "Witten–Bell", "katz": "Katz back-off", "add_k": "add-k", "stupid_backoff": "stupid back-off",
    }.get(method, method.replace("_", " "))  # fmt: skip


def _rounded(number: float) -> float:
    return float(f"{number:.2g}")
