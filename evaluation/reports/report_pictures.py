"""Select the figures of a run's report: what each is called, and how to read it; write them to files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from reviewlm.evaluation.reports.document import Picture, png
from reviewlm.evaluation.reports.report_tables import adapts
from reviewlm.evaluation.reports.run_results import ModelResults, RunResults
from reviewlm.evaluation.statistics.comparison import baseline_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 4
"""Maximum number of models in a figure, so that they do not hide each other."""
PANELS = 3
"""Maximum number of panels with one model each."""
ANSWER = "answer"
TRAINING = "training"
WEAK = "weak"
AUDIT = "audit"
"""Sections of the report that have figures."""
LIST_FILE = "drawings.json"
"""File with sections, titles and captions of written figures."""


@dataclass(frozen=True)
class Drawing:
    """A figure of a page.

    Args:
        name: Name of its file, without the ending.
        section: Its section of the page.
        figure: The figure, without a title.
        title: Its title.
        caption: How to read it; empty if its axes say it all.
    """

    name: str
    section: str
    figure: Figure
    title: str
    caption: str = ""

    @property
    def picture(self) -> Picture:
        """The figure as part of a page, which follows the page's colours."""
        from reviewlm.evaluation.reports.canvas import svg_of

        alt = f"Figure: {self.title}. {self.caption}"
        return Picture(svg_of(self.figure, self.name, alt), self.title, self.caption)

    @property
    def png(self) -> bytes:
        """The figure with its title as an image."""
        self.figure.suptitle(self.title)
        return png(self.figure)


@dataclass(frozen=True)
class WrittenDrawing:
    """A figure of a page, read from its files; matplotlib is not needed.

    Args:
        name: Name of its file, without the ending.
        section: Its section of the page.
        picture: The figure as part of a page.
        png: The figure with its title as an image.
    """

    name: str
    section: str
    picture: Picture
    png: bytes


def write_drawings(drawings: Sequence[Drawing], folder: Path) -> None:
    """Write figures to a folder, which `read_drawings` reads."""
    entries = []
    for drawing in drawings:
        # First: the image adds a title to the figure.
        picture = drawing.picture
        (folder / f"{drawing.name}.svg").write_text(picture.svg, encoding="utf-8")
        (folder / f"{drawing.name}.png").write_bytes(drawing.png)
        entries.append(
            {
                "name": drawing.name,
                "section": drawing.section,
                "title": picture.title,
                "caption": picture.caption,
            }
        )

    text = json.dumps(entries, ensure_ascii=False, indent=1)
    (folder / LIST_FILE).write_text(text, encoding="utf-8")


def read_drawings(folder: Path) -> list[WrittenDrawing]:
    """Return the figures that `write_drawings` has written, in their order."""
    drawings = []
    for entry in json.loads((folder / LIST_FILE).read_text(encoding="utf-8")):
        name = entry["name"]
        svg = (folder / f"{name}.svg").read_text(encoding="utf-8")
        picture = Picture(svg, entry["title"], entry["caption"])
        image = (folder / f"{name}.png").read_bytes()
        drawings.append(WrittenDrawing(name, entry["section"], picture, image))

    return drawings


def drawings_of(results: RunResults) -> list[Drawing]:
    """Draw every figure for which the run has data."""
    from reviewlm.evaluation.reports.canvas import styles_of

    styles = styles_of(results.order)
    return [
        drawing
        for draw in (_of_models, _of_weakness, _of_writing)
        for drawing in draw(results, styles)
    ]


Styles = Mapping[str, Mapping[str, Any]]


def _of_models(results: RunResults, styles: Styles) -> Iterator[Drawing]:
    from reviewlm.evaluation.reports.run_figures import bits_figure, loss_curves

    bars = f"Bars: {results.confidence:.0%} intervals."
    if any(map(adapts, results.table.to_dicts())):
        bars += " Models below the line adapt to what they read: the two groups do not compare."

    yield Drawing(
        "bits_per_byte",
        ANSWER,
        bits_figure(results.table, styles, results.floor, results.baseline),
        "Bits per byte of the test reviews",
        bars,
    )
    curves = {model.name: model.curve for model in results.shown(len(styles)) if model.curve}
    if curves:
        best = {model.name: model.kept for model in results.models if model.kept is not None}
        yield Drawing(
            "loss_curves",
            TRAINING,
            loss_curves(curves, styles, best),
            "Learning curves",
            "Lines with marks: validation, on a part of its reviews; pale: training; level: models without steps. "
            "Ring and legend: the weights that were kept, on all validation reviews. Compare within one vocabulary.",
        )


def _of_weakness(results: RunResults, styles: Styles) -> Iterator[Drawing]:
    from reviewlm.evaluation.reports.run_figures import reliability_figure, worst_slices_figure

    if results.slices is not None and len(results.slices.filter(pl.col("model") == results.winner)):
        base = baseline_of(results.against, results.winner)
        yield Drawing(
            "worst_slices",
            WEAK,
            worst_slices_figure(results.slices, results.winner, base, styles),
            f"Where {results.winner} does worst",
            "Whiskers: intervals that hold for all slices at once.",
        )

    if reliability := _frames_of(results.shown(PANELS), "reliability"):
        observed = {model.name: model.observed for model in results.models}
        yield Drawing(
            "reliability",
            WEAK,
            reliability_figure(reliability, observed, styles),
            "Reliability of first guesses",
            "Below the dashed line a model is surer than it is right; larger points hold more tokens. ECE: expected "
            "calibration error, the mean distance from that line.",
        )


def _of_writing(results: RunResults, styles: Styles) -> Iterator[Drawing]:
    from reviewlm.evaluation.reports.run_figures import novelty_figure

    if curves := _frames_of(results.shown(SHOWN), "novelty"):
        yield Drawing(
            "novelty",
            AUDIT,
            novelty_figure(curves, styles),
            "How much of what is written was read before",
            "A line well above that of the held-out reviews means copying.",
        )


def _frames_of(models: Sequence[ModelResults], what: str) -> dict[str, pl.DataFrame]:
    """Return the frame *what* of each model that has one with rows."""
    frames = {model.name: getattr(model, what) for model in models}
    return {name: frame for name, frame in frames.items() if frame is not None and len(frame)}
