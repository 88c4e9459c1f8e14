"""Write the report of a run: one self-contained page with results, their uncertainty, and how to repeat the run.

    pictures = pictures_of(results)
    Path("report.html").write_text(report(results, pictures), encoding="utf-8")

For results that a run did not measure, the page shows a short remark instead. See `docs/report.md`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from evaluation.reports import report_tables as tables
from evaluation.reports.page import contents, folded, image, listing, page, paragraph, quotation, section, table
from evaluation.reports.report_pictures import AUDIT, CALIBRATION, CURVES, MODELS, SLICES, TOKENS, Picture, readings_of
from evaluation.reports.report_words import headline
from evaluation.reports.run_results import ModelResults, RunResults
from evaluation.scoring import surprisal

TITLE = "Report of a run"
STYLE = surprisal.STYLE + "h2 { border-top: 1px solid #ddd; padding-top: 1rem; } td:first-child { font-weight: 600; }\n"


@dataclass(frozen=True)
class Part:
    """A section of the report: its anchor, its title and the HTML below it."""

    anchor: str
    title: str
    html: Sequence[str]


def report(results: RunResults, pictures: Sequence[Picture]) -> str:
    """Return the whole page.

    *pictures* are those of `evaluation.reports.report_pictures.pictures_of`.
    """
    parts = list(_parts(results, pictures))
    kind = "" if results.decision is None else "good" if results.decision.promote else "bad"
    lead = " · ".join(f"{name}: {value}" for name, value in results.run.items())
    body = [
        paragraph(headline(results), kind),
        contents({part.anchor: part.title for part in parts}),
        *(section(part.title, *part.html, anchor=part.anchor) for part in parts),
    ]
    return page(TITLE, lead, body, STYLE)


def _parts(results: RunResults, pictures: Sequence[Picture]) -> Iterator[Part]:
    yield Part("decision", "The gate's decision", list(_decision(results)))
    yield Part("models", "Models beside each other", [
        paragraph(tables.ABOUT_MODELS.format(confidence=f"{results.confidence:.0%}")),
        *_compared(results), *_costs(results), *_drawn(pictures, MODELS),
        *_missing(results.floor is None, "No floor: only of the embedded corpus the least possible figure is known."),
    ])  # fmt: skip
    yield Part("curves", "Training", _drawn(pictures, CURVES) or [paragraph("No training curve was recorded.")])
    yield Part(
        "slices",
        "Where it is weak",
        _drawn(pictures, SLICES) or [paragraph("No slices were measured, or none has enough reviews.")],
    )
    yield Part("tokens", "Token by token", _drawn(pictures, TOKENS) or [paragraph("No single tokens were observed.")])
    yield Part("calibration", "Calibration",
               _drawn(pictures, CALIBRATION) or [paragraph("Calibration was not measured.")])  # fmt: skip
    if heat := _heat(results):
        yield Part("surprisal", "Sample reviews, token by token", heat)
    if samples := list(_samples(results)):
        yield Part("samples", "What the models write", samples)
    yield Part("audit", "Audit of what is written and remembered", list(_audit(results, pictures)))
    yield Part("data", "Data and lineage", [
        table(tables.named(results.data)), "<h3>Digests</h3>", table(tables.digests(results)),
    ])  # fmt: skip
    yield Part("policies", "What the figures mean", [table(tables.policies(results))])
    yield Part("again", "To get it again", list(_again(results)))


def _compared(results: RunResults) -> list[str]:
    """Return the table of the static models, followed by that of the adaptive models, if there are any."""
    static, adapting = tables.models(results, adapting=False), tables.models(results, adapting=True)
    found = [table(static)] if static else []
    if adapting:
        found += ["<h3>Models that adapt to what they read</h3>", paragraph(tables.about_adapting(results)),
                  table(adapting)]  # fmt: skip
    return found


def _costs(results: RunResults) -> list[str]:
    rows = tables.costs(results)
    return [table(rows, "Size and time")] if rows else []


def _decision(results: RunResults) -> Iterator[str]:
    if results.decision is None:
        yield paragraph("The gate was not asked: this run only evaluates.")
        return
    yield paragraph(results.decision.headline, "good" if results.decision.promote else "bad")
    yield from (paragraph(f"Warning: {what}.") for what in results.decision.warnings)
    yield table(tables.rules(results.decision))


def _drawn(pictures: Sequence[Picture], where: str) -> list[str]:
    return [
        image(one.png, one.caption, f"Figure {one.name.replace('_', ' ')}. {one.finding or one.reading}")
        for one in pictures
        if one.section == where
    ]


def _missing(absent: bool, text: str) -> list[str]:
    return [paragraph(text)] if absent else []


def _heat(results: RunResults) -> list[str]:
    readings, chosen = readings_of(results)
    if not readings:
        return []
    return [
        paragraph(
            "The darker a token and the stronger the line below it, the less it was expected. Rest on a token to see "
            "its probability and rank; ∎ is the end of the review. The reviews stand in the order of their bits per "
            "token."
        ),
        surprisal.heat_map(readings, chosen),
    ]


def _samples(results: RunResults) -> Iterator[str]:
    def quoted(model: ModelResults) -> Iterator[str]:
        assert model.samples is not None
        for row in model.samples.to_dicts():
            yield quotation(f"{_stars(row['stars'])}\n{row['text']}")

    order = sorted(results.models, key=lambda model: model.name != results.winner)
    for model in order:
        if model.samples is None or not len(model.samples):
            continue
        if model.name == results.winner:
            yield paragraph(f"Written by {model.name}, for the rating above each:")
            yield from quoted(model)
        else:
            yield folded(f"Written by {model.name}", *quoted(model))


def _stars(stars: int | None) -> str:
    return f"{'★' * stars}{'☆' * (5 - stars)} {stars} of 5" if stars else "no rating"


def _audit(results: RunResults, pictures: Sequence[Picture]) -> Iterator[str]:
    rows = tables.audit(results)
    if not rows:
        yield paragraph("No audit was made: what the models write was not held against the training text.")
        return
    yield table(rows)
    yield from _drawn(pictures, AUDIT)


def _again(results: RunResults) -> Iterator[str]:
    if results.commands:
        yield listing("\n".join(results.commands))
    else:
        yield paragraph("No command line gives this configuration: save it and start the flow with it.")
    if results.config:
        yield folded("The whole configuration", listing(results.config))
