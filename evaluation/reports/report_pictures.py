"""Select the figures of a run's report, with a caption for each: how to read it, and its finding.

Matplotlib is imported only where a figure is drawn: a run that takes its figures from the store does not wait for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl

from core.errors import as_html
from evaluation.reports import report_words as words
from evaluation.reports.document import Picture, png
from evaluation.reports.run_results import ModelResults, RunResults
from evaluation.scoring.surprisal import TokenSurprisals, choose_reviews
from evaluation.statistics.comparison import baseline_of
from evaluation.statistics.pareto import known_costs
from evaluation.statistics.slice_names import OF_TOKENS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 6
"""Maximum number of models in one figure, so that they do not hide each other; curves, bars and costs show all."""
RESULT, CURVES, MODELS, SLICES = "result", "curves", "models", "slices"
TOKENS, CALIBRATION, AUDIT = "tokens", "calibration", "audit"
"""Sections of the report that have figures."""
EXPOSURE = "exposure"
"""The figure whose words tell what the gate decided."""
NOT_ON_THE_PAGE = ""
"""Section of a figure that the page shows as text."""
HEAT_REVIEWS, HEAT_MODELS = 4, 3
"""Number of sample reviews that are shown token by token, and of models per review."""
READING_OF_SLICES = {
    True: "Mean bits per token of the slice's tokens; whiskers or bands: bootstrap intervals.",
    False: "Bits per byte of the slice's reviews, unknown words spelt out; whiskers or bands: bootstrap intervals.",
}


@dataclass(frozen=True)
class DrawnFigure:
    """A drawn figure with its words, as it is kept on the disk.

    Args:
        name, section, reading, finding: See `Drawing`.
        png: The figure as a PNG image.
        svg: The figure as part of a page, without a text for screen readers.
        title: Its title, which the page shows above it.
    """

    name: str
    section: str
    reading: str
    finding: str
    png: bytes
    svg: str
    title: str

    @property
    def picture(self) -> Picture:
        """The figure as part of a page."""
        alt = f"Figure {self.name.replace('_', ' ')}. {self.finding or self.reading}"
        caption = " ".join(filter(None, (self.reading, self.finding)))
        labelled = self.svg.replace('aria-label=""', f'aria-label="{as_html(alt)}"', 1)
        return Picture(b"", alt, caption, labelled, self.title)


@dataclass(frozen=True)
class Drawing:
    """A figure with its words.

    Args:
        name: Name of its file, without the ending.
        section: Its section of the report, or `NOT_ON_THE_PAGE`.
        figure: The figure.
        reading: How to read it.
        finding: Its finding for this run; empty if there is none.
        styles: Colour, marker and line of each model in it.
    """

    name: str
    section: str
    figure: Figure
    reading: str
    finding: str = ""
    styles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @cached_property
    def drawn(self) -> DrawnFigure:
        """The drawn figure. Its layout, a third of the time of drawing, is computed for the PNG image and then kept."""
        image = png(self.figure)
        self.figure.set_layout_engine("none")
        return replace(self._without_image, png=image)

    @property
    def picture(self) -> Picture:
        """The figure as part of a page."""
        return self._without_image.picture

    @property
    def _without_image(self) -> DrawnFigure:
        from evaluation.plots.svg import svg_of, title_of

        title = title_of(self.figure)
        above = "" if title is None else title.get_text().replace("\\$", "$")
        svg = svg_of(self.figure, self.name, self.styles, "") if self.section else ""
        return DrawnFigure(self.name, self.section, self.reading, self.finding, b"", svg, above)


def pictures_of(results: RunResults) -> list[Drawing]:
    """Draw every figure for which the run has data."""
    draws = (_of_models, _of_slices, _of_tokens, _of_reviews, _of_writing)
    return [replace(drawing, styles=_styles(results)) for draw in draws for drawing in draw(results)]


def with_decision(pictures: Sequence[DrawnFigure], results: RunResults) -> list[DrawnFigure]:
    """Return figures that were drawn before the gate decided, with the words about its decision."""
    return [
        replace(picture, finding=words.said_of_exposure(results)) if picture.name == EXPOSURE else picture
        for picture in pictures
    ]


def readings_of(results: RunResults) -> tuple[list[TokenSurprisals], list[str]]:
    """Return the models (the winner first) and the ids of the sample reviews that are shown token by token."""
    readings = [
        TokenSurprisals(model.name, model.unit, model.tokens)
        for model in results.shown(HEAT_MODELS)
        if model.tokens is not None and len(model.tokens)
    ]
    readings.sort(key=lambda reading: reading.model != results.winner)
    return readings, choose_reviews(readings[0].tokens, HEAT_REVIEWS) if readings else []


def _of_models(results: RunResults) -> Iterator[Drawing]:
    from evaluation.plots.curves import loss_curves, perplexity_bars
    from evaluation.plots.figures import pareto_figure

    yield Drawing(
        "perplexity_by_model", RESULT,
        perplexity_bars(results.table, results.floor, results.baseline, _styles(results)),
        "Left: perplexities, which compare models of one vocabulary. Right: open bits per byte of the same text, which "
        "compare models of all vocabularies. Shorter is better. Models above and below a horizontal line do not "
        "compare.",
        words.said_of_bars(results),
    )  # fmt: skip
    if known_costs(results.table):
        yield Drawing(
            "quality_size_cost", MODELS, pareto_figure(results.table, _styles(results), results.floor),
            "Each point is a model. A filled one is beaten by no other of its group in quality, size and time "
            "together; a line is the best quality of a group at each cost: solid of static models, dotted of models "
            "that adapt to what they read. The two groups do not compare. Each time was measured once: on a busy "
            "machine the same model takes several times as long, so small differences of time mean nothing.",
            words.said_of_costs(results),
        )  # fmt: skip
    curves = {model.name: model.curve for model in results.models}
    best = {model.name: model.kept for model in results.models if model.kept is not None}
    if any(curves.values()):
        yield Drawing(
            "loss_curves", CURVES, loss_curves(curves, best),
            "Marked lines: validation perplexity; pale lines: training; dashed and level: models that are not trained "
            "step by step. Compare within one vocabulary."
            + " While a network is trained, a part of the validation reviews is measured; ring and legend: the weights "
            "that were kept, on all of them." * bool(best),
            words.said_of_curves(results),
        )  # fmt: skip


def _of_slices(results: RunResults) -> Iterator[Drawing]:
    from evaluation.plots.slices import slice_figure, worst_slices_figure

    if results.slices is None or not len(results.slices):
        return
    styles, named = _styles(results), _vocabularies(results)
    vocabularies = {model.name: named[model.name] for model in results.shown(SHOWN)}
    if caption := words.said_of_worst(results):
        base = baseline_of(results.against, results.winner)
        yield Drawing(
            "worst_slices", SLICES, worst_slices_figure(results.slices, results.winner, base, styles),
            f"The slices in which {results.winner} does worst, by two measures, the worst on top; whiskers: bootstrap "
            "intervals.",
            caption,
        )  # fmt: skip
    for (dimension,), slices in results.slices.group_by("dimension", maintain_order=True):
        if slices["slice"].n_unique() < 2:  # nothing to compare
            continue
        tokens = dimension in OF_TOKENS
        yield Drawing(
            f"by_{dimension}", TOKENS if tokens else SLICES,
            slice_figure(results.slices, dimension, vocabularies, styles), READING_OF_SLICES[tokens],
            words.said_of_slices(results, dimension),
        )  # fmt: skip


def _of_tokens(results: RunResults) -> Iterator[Drawing]:
    from evaluation.plots.curves import reliability_figure
    from evaluation.plots.figures import certainty_figure, rank_figure

    models, styles, winner = results.shown(SHOWN), _styles(results), results.winner
    tokens = _measured(models, "tokens")
    if tokens:
        reading = "How often the token that came is among a model's k likeliest."
        yield Drawing("ranks", TOKENS, rank_figure(tokens, styles), reading, words.said_of_ranks(models, winner))
    if reliability := _measured(models, "reliability"):
        yield Drawing(
            "reliability", CALIBRATION,
            reliability_figure(reliability, {model.name: model.observed for model in models}, styles),
            "Tokens are put into bins by the probability of the likeliest next one; larger points hold more tokens. "
            "Below the dashed line: surer than right. ECE: expected calibration error, the mean distance of the points "
            "from that line, weighted by tokens. T: the temperature that would fit the validation reviews best.",
            words.said_of_calibration(models),
        )  # fmt: skip
    if tokens:
        yield Drawing(
            "certainty", CALIBRATION, certainty_figure(tokens, styles),
            "Tokens are put into classes by the entropy of the prediction. Above the dashed line: surer than it should "
            "have been.",
            words.said_of_certainty(models, winner),
        )  # fmt: skip


def _of_reviews(results: RunResults) -> Iterator[Drawing]:
    from evaluation.plots.figures import surprisal_figure

    readings, chosen = readings_of(results)
    if readings:
        reading = "The darker a token and the stronger the line below it, the less it was expected."
        yield Drawing("surprisal", NOT_ON_THE_PAGE, surprisal_figure(readings, chosen), reading)


def _of_writing(results: RunResults) -> Iterator[Drawing]:
    from evaluation.plots.figures import exposure_figure, novelty_figure

    models, styles = results.shown(SHOWN), _styles(results)
    if curves := _measured(models, "novelty"):
        yield Drawing(
            "novelty", AUDIT, novelty_figure(curves, styles),
            "Share of runs of n words that stand in the training text too. A line well above that of the held-out "
            "reviews means copying.",
            words.said_of_copying(results),
        )  # fmt: skip
    if exposures := _measured(models, "exposure"):
        limit = next((model.audit["exposure_limit"] for model in models if model.audit.get("exposure_limit")), None)
        yield Drawing(
            EXPOSURE, AUDIT, exposure_figure(exposures, styles, limit),
            "Each point is a canary, planted as often as written below. Of texts that were never planted 1 in 20 would "
            "stand above the dashed line; planted ones that stand far above it, or mostly, are remembered.",
            words.said_of_exposure(results),
        )  # fmt: skip


def _measured(models: Sequence[ModelResults], what: str) -> dict[str, pl.DataFrame]:
    """Return the frame *what* of each model that has one with rows."""
    frames = {model.name: getattr(model, what) for model in models}
    return {name: frame for name, frame in frames.items() if frame is not None and len(frame)}


def _styles(results: RunResults) -> dict[str, dict[str, Any]]:
    from evaluation.plots.canvas import styles_of

    return styles_of([model.name for model in results.models])


def _vocabularies(results: RunResults) -> dict[str, str]:
    """Return a name for the vocabulary of each model: its unit, with digits of its digest if units are equal."""
    digests = {model.name: model.vocabulary for model in results.models}
    units = {model.name: model.unit or "tokens" for model in results.models}
    several = {unit for unit in units.values() if len({digests[name] for name in units if units[name] == unit}) > 1}
    return {name: f"{unit} {digests[name][:6]}" if unit in several else unit for name, unit in units.items()}
