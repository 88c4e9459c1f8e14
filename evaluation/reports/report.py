"""Write the report of a run: one self-contained page with results, their uncertainty, and how to repeat the run.

    drawings = pictures_of(results)
    Path("report.html").write_text(report(results, drawings), encoding="utf-8")

For results that a run did not measure, the page shows a short remark instead. See `docs/concepts/evaluation/report.md`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evaluation.reports import report_tables as tables
from evaluation.reports.document import Code, Link, Page, PageSection, PageTable, PageText, Part, Quote
from evaluation.reports.report_pictures import (
    AUDIT,
    CALIBRATION,
    CURVES,
    MODELS,
    RESULT,
    SLICES,
    TOKENS,
    Drawing,
    DrawnFigure,
    readings_of,
)
from evaluation.reports.report_words import headline, said_of_sample
from evaluation.reports.run_record import OWN as OF_THE_MACHINE
from evaluation.reports.run_record import REPORT_FILE, differences, record_of, samples_of
from evaluation.reports.run_results import RunResults
from evaluation.scoring.surprisal import heat_map

ABOUT_HEAT = (
    "The darker a token and the stronger the line below it, the less it was expected. Rest on a token to see its "
    "probability and rank; ∎ is the end of the review. The reviews stand in the order of their bits per token."
)
ABOUT_COSTS = (
    "Size and time. Each time was measured once: on a busy machine the same model takes several times as long, so "
    "small differences of time mean nothing. Update: one step of a network's training. Of peak speed: arithmetic of "
    "the training as a share of the fastest matrix products that this machine does."
)
LEAD = {"took": "took until this page"}
"""Facts about the run that the first lines call otherwise than the record does."""
NO_FLOOR = "No floor: only of the embedded corpus the least possible figure is known."
NO_AUDIT = "No audit was made: what the models write was not held against the training text."
ABOUT_AUDIT = (
    "Of each model's own texts, beside held-out reviews. Better: lower, higher, or as near to the real reviews as "
    "can be."
)
ALL_PASSED = "No rule failed, and none passed narrowly."
OTHER_REVIEWS = "The two runs have other test reviews, so these figures do not compare the models; the gate's do."


def report(results: RunResults, drawings: Sequence[Drawing | DrawnFigure]) -> str:
    """Return the whole page: first the result, then the reasons for it.

    *drawings* are those of `evaluation.reports.report_pictures.pictures_of`.
    """
    lead = " · ".join(f"{LEAD.get(name, name)}: {value}" for name, value in results.run.items())
    sections = [section for section in _sections(results, drawings) if section.parts]
    return Page("Report of a run", lead, (), sections, list(_result(results, drawings)), "report").to_html()


def _result(results: RunResults, drawings: Sequence[Drawing | DrawnFigure]) -> Iterator[Part]:
    """Yield what most readers want: who won, one table, one figure, three samples, and links to everything else."""
    yield PageText(headline(results), "" if results.decision is None else "good" if results.decision.promote else "bad")
    if results.links:
        yield [Link(name, address) for name, address in results.links.items()]
    yield PageTable.of(tables.result(results), tables.about_result(results))
    yield from (one.picture for one in drawings if one.section == RESULT)
    if results.hints:
        yield f"Hint: {' '.join(results.hints)}"
    if samples := samples_of(results):
        yield PageText(f"Reviews that {results.winner} wrote", "heading")
        yield [Quote(text, _stars(stars)) for stars, text in samples]


def _sections(results: RunResults, drawings: Sequence[Drawing | DrawnFigure]) -> Iterator[PageSection]:
    """Yield the sections; one without parts was not measured and is left out."""

    def drawn(where: str, otherwise: str = "") -> list[Part]:
        return [one.picture for one in drawings if one.section == where] or [otherwise]

    yield PageSection("Why: the gate's decision", list(_decision(results)), "decision")
    yield PageSection("What changed since the champion's run", list(_changes(results)), "changes")
    yield PageSection("Models beside each other", [
        *_compared(results), *drawn(MODELS), *([NO_FLOOR] if results.floor is None else []),
    ], "models")  # fmt: skip
    yield PageSection("Training", drawn(CURVES, "No training curve was recorded."), "curves")
    weak = drawn(SLICES, "No slices were measured, or none has enough reviews.")
    yield PageSection("Where it is weak", weak, "slices")
    sample = said_of_sample(results)
    about = [f"Single tokens were observed in {sample}, drawn at random: these figures are of them only."]
    about = about if sample else []
    yield PageSection("Token by token", [*about, *drawn(TOKENS, "No single tokens were observed.")], "tokens")
    yield PageSection("Calibration", [*about, *drawn(CALIBRATION, "Calibration was not measured.")], "calibration")
    readings, chosen = readings_of(results)
    heat: list[Part] = [ABOUT_HEAT, heat_map(readings, chosen)] if readings else []
    yield PageSection("Sample reviews, token by token", heat, "surprisal")
    yield PageSection("What the models write", list(_samples(results)), "samples")
    rows = tables.audit(results)
    audit = [PageTable.of(rows, ABOUT_AUDIT), *drawn(AUDIT)] if rows else [NO_AUDIT]
    yield PageSection("Audit of what is written and remembered", audit, "audit")
    yield PageSection("Data and lineage", [
        PageTable.facts(results.data), PageSection("Digests", [
            PageTable.facts(tables.digests(results), ("of", "digest")),
        ]),
    ], "data")  # fmt: skip
    yield PageSection("What the figures mean", [PageTable.of(tables.policies(results))], "policies")
    yield PageSection("To get it again", list(_again(results)), "again")


def _decision(results: RunResults) -> Iterator[Part]:
    decision = results.decision
    if decision is None:
        yield "The gate was not asked: this run only evaluates."
        return
    yield PageText(decision.headline, "good" if decision.promote else "bad")
    yield from (f"Warning: {what}." for what in decision.warnings)
    close = tables.rules(decision, close=True)
    yield PageTable.of(close, "Rules that failed, or passed narrowly") if close else ALL_PASSED
    yield PageSection(tables.count_of_rules(decision), [PageTable.of(tables.rules(decision))])


def _changes(results: RunResults) -> Iterator[Part]:
    """Yield the differences of settings, data and figures to the run that made the champion."""
    if results.decision is None:
        return
    if results.decision.champion is None:
        yield "There was no champion before this run."
        return
    then, now = results.before, record_of(results)
    if then is None:
        yield "The run that made the champion has no record beside its report in this home."
        return
    made = then["run"].get("started", then["folder"])
    yield [Link(f"The champion's run: {then['winner']}, {made}", f"../{then['folder']}/{REPORT_FILE}")]
    settings = differences(then["settings"], now["settings"], OF_THE_MACHINE)
    data = differences({**then["data"], **then["digests"]}, {**now["data"], **now["digests"]}, ("comparison",))
    yield PageTable.of(settings, "Settings") if settings else "The settings are the same."
    yield PageTable.of(data, "Data") if data else "The data are the same."
    yield PageTable.of(tables.changed(then, now), f"Figures of {then['winner']}, then, and {now['winner']}, now")
    if then["digests"].get("test reviews") != now["digests"].get("test reviews"):
        yield OTHER_REVIEWS


def _compared(results: RunResults) -> Iterator[Part]:
    """Yield the table of the static models, that of the adaptive models, and that of the costs, if there are any."""
    yield tables.ABOUT_MODELS.format(confidence=f"{results.confidence:.0%}")
    if static := tables.models(results, adapting=False):
        yield PageTable.of(static)
    if adapting := tables.models(results, adapting=True):
        yield PageText("Models that adapt to what they read", "heading")
        yield tables.about_adapting(results)
        yield PageTable.of(adapting)
    if costs := tables.costs(results):
        yield PageTable.of(costs, ABOUT_COSTS)


def _samples(results: RunResults) -> Iterator[Part]:
    for model in sorted(results.models, key=lambda model: model.name != results.winner):
        rows = [] if model.samples is None else model.samples.to_dicts()
        quotes = [Quote(row["text"], _stars(row["stars"])) for row in rows]
        if quotes:
            yield PageSection(f"Written by {model.name}, for the rating above each", [quotes])


def _stars(stars: int | None) -> str:
    return f"{'★' * stars}{'☆' * (5 - stars)} {stars} of 5" if stars else "no rating"


def _again(results: RunResults) -> Iterator[Part]:
    none = "No command line gives this configuration: save it and start the flow with it."
    yield Code("\n".join(results.commands)) if results.commands else none
    if results.config:
        yield PageSection("The whole configuration", [Code(results.config)])
