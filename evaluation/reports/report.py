"""Write the report of a run: one self-contained page that answers first, and folds the reasons for the answer.

    page = run_page(results, drawings_of(results))
    Path("report.html").write_text(page.to_html(), encoding="utf-8")
    Path("model_card.md").write_text(page.to_markdown(), encoding="utf-8")

The model card is the same page without pictures and texts of reviews; it has the parts of Mitchell et al. 2019 ("Model
cards for model reporting"). What a run did not measure is left out, or said not to have been measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from reviewlm.core.figures import ANSWER as FIRST_TABLE
from reviewlm.core.figures import COSTS, MORE
from reviewlm.evaluation.gate.decision import Decision
from reviewlm.evaluation.gate.memorisation import describe_secrets
from reviewlm.evaluation.gate.rule_table import MARKS
from reviewlm.evaluation.reports import report_tables as tables
from reviewlm.evaluation.reports.document import (
    Code,
    Link,
    Page,
    PageSection,
    PageTable,
    PageText,
    Part,
    Picture,
    Quote,
)
from reviewlm.evaluation.reports.report_pictures import (
    ANSWER,
    AUDIT,
    TRAINING,
    WEAK,
    Drawing,
    WrittenDrawing,
)
from reviewlm.evaluation.reports.run_record import (
    MACHINE,
    REPORT_FILE,
    TEST_REVIEWS,
    differences,
    record_of,
    samples_of,
)
from reviewlm.evaluation.reports.run_results import RunResults

USES = (
    "Meant for: suggesting the next word of a review, telling how usual a review is (bits per byte), writing example "
    "reviews for tests and teaching.",
    "Not meant for: publishing what it writes as if a customer had written it; judging a person or a business by a "
    "score; texts of other kinds or languages than those it was trained on.",
    "What it writes is likely text, not true: names, prices and events in it are made up, or come from the training "
    "text.",
)
LOOKED_FOR = (
    "E-mail and web addresses, telephone, card, bank account and social security numbers, IP addresses, @handles and "
    "API keys are looked for; names of people and postal addresses are not."
)
ABOUT_ADAPTING = (
    "These models also learn from the review that they are measured on, and forget it before the next one. Compare "
    "them among themselves only."
)

OTHER_REVIEWS = (
    "The figures then and now are of different test reviews, so they do not compare; those of the gate are of both "
    "models on the same reviews."
)


def run_page(results: RunResults, drawings: Sequence[Drawing | WrittenDrawing]) -> Page:
    """Return the page: who won and what became of it, one table, one figure, three samples; the rest is folded.

    *drawings* are those of `reviewlm.evaluation.reports.report_pictures.drawings_of`.
    """

    def pictures_in(section: str) -> list[Picture]:
        return [drawing.picture for drawing in drawings if drawing.section == section]

    winner = results.model(results.winner)
    weak = [pictures_in(WEAK)]
    training = beside(tables.models(results, COSTS), tables.ABOUT_COSTS, pictures_in(TRAINING))
    audit = beside(tables.audit(results), tables.ABOUT_AUDIT, pictures_in(AUDIT))
    copying = tables.finding_of_copying(winner.audit)
    digests = PageTable.facts(tables.digests(results), ("of", "digest"))
    data: list[Part] = [PageTable.facts(results.data), PageSection("Digests", [digests])]
    policies = PageTable.facts(winner.policies, ("policy", f"of {results.winner}"))
    more = PageTable.of(tables.models(results, MORE), tables.ABOUT_MORE)
    figures: list[Part] = [more, PageSection("Policies", [policies])]
    limits = list(_limits(results))
    again = list(_again(results))
    worst = tables.finding_of_worst(results)
    curves = tables.finding_of_curves(results)
    written = [audit, *_samples(results)]
    sections = [
        *decision_sections(results.decision, list(_changes(results))),
        PageSection("Where it is weak", weak, "weak", worst),
        PageSection("How it was trained", [training], "training", curves),
        PageSection("What it writes, and what it remembers", written, "audit", copying),
        PageSection("What it is for, and its limits", limits, "limits"),
        PageSection("Data", data, "data"),
        PageSection("More figures, and what they mean", figures, "figures"),
        PageSection("To make it again", again, "again"),
    ]
    title = tables.title(results.source, results.name, results.version, results.decision)
    answer = [list(results.notices), *_answer(results, pictures_in(ANSWER))]
    return answer_page(
        title,
        results.run,
        tables.headline(results),
        results.decision,
        results.links,
        answer,
        sections,
    )


def answer_page(
    title: str,
    run: Mapping[str, str],
    headline: str,
    decision: Decision | None,
    links: Mapping[str, str],
    answer: Sequence[Part],
    sections: Sequence[PageSection],
) -> Page:
    """Return a page that begins with the answer; sections without parts are left out.

    Args:
        run: Facts about the run, by name.
        headline: The verdict in a sentence or two.
        links: Addresses by name.
        answer: What stands below the verdict.
        sections: What is folded.
    """
    kind = ""
    if decision is not None:
        kind = "good" if decision.promote else "bad"

    verdict = PageText(headline, kind)
    passed = []
    if decision:
        passed = [PageText(f"Passed over: {what}.") for what in decision.passed_over]

    pages = []
    if links:
        pages = [[Link(name, address) for name, address in links.items()]]

    shown = [section for section in sections if any(section.parts)]
    lead = " · ".join(f"{name} {value}" for name, value in run.items())
    return Page(
        title,
        lead,
        shown,
        [verdict, *passed, *pages, *answer],
        "report",
    )


def decision_sections(
    decision: Decision | None, changes: Sequence[Part] = ()
) -> Iterator[PageSection]:
    """Yield the section about the gate's decision; none if it was not asked."""
    if decision is None:
        return

    title = f"Why it was {'promoted' if decision.promote else 'not promoted'}"
    parts: list[Part] = [PageText(f"Warning: {what}.") for what in decision.warnings]
    rows = tables.rules(decision)
    silent = [row for row in rows if row["outcome"] == MARKS[None]]
    parts += [PageTable.of([row for row in rows if row not in silent])]
    parts += [PageSection("Rules that do not apply", [PageTable.of(silent)])] if silent else []
    parts += [PageSection("What changed since the champion's run", changes)] if changes else []
    yield PageSection(title, parts, "decision", tables.count_of_rules(decision))


def _answer(results: RunResults, figure: Sequence[Picture]) -> Iterator[Part]:
    static, adapting = (tables.models(results, FIRST_TABLE, adapts) for adapts in (False, True))
    first, second = (static, adapting) if static else (adapting, [])
    shown: list[PageTable | Picture] = [
        _table_of_models(first, tables.about_models(results), results),
        *figure,
    ]
    if second:
        shown.insert(1, _table_of_models(second, ABOUT_ADAPTING, results))

    yield shown
    if samples := samples_of(results):
        yield PageText(f"Reviews that {results.winner} wrote", "heading")
        yield PageText(
            "It never writes a word outside its vocabulary, so that a sentence may have a gap."
        )
        yield [Quote(text, _head(stars, ended)) for stars, text, ended in samples]


def beside(
    rows: Sequence[tables.Row],
    caption: str,
    figures: Sequence[Picture],
) -> Sequence[PageTable | Picture]:
    """Return a table with figures beside it; of both, what there is."""
    return [*([PageTable.of(rows, caption)] if rows else []), *figures]


def _table_of_models(
    rows: Sequence[tables.Row],
    caption: str,
    results: RunResults,
) -> PageTable:
    """Return a table of models, in which the row of the winner stands out and says what became of it."""
    places = (
        place
        for place, row in enumerate(rows)
        if f"{row['model']} ".startswith(f"{results.winner} ")
    )
    place = next(places, None)
    if place is not None and (decision := results.decision) is not None:
        rows[place]["model"] += f" ({'promoted' if decision.promote else 'not promoted'})"
    return PageTable.of(rows, caption, place)


def _changes(results: RunResults) -> Iterator[Part]:
    """Yield the differences of settings, data and figures to the run that made the champion."""
    then = results.before
    now = record_of(results)
    if then is None:
        return

    same_words = then.get("vocabulary") == now["vocabulary"]
    yield [
        Link(
            f"The champion's run: {then['winner']}, {then['run'].get('started', '')}",
            f"../{then['folder']}/{REPORT_FILE}",
        )
    ]
    for what, rows in (
        ("Settings", differences(then["settings"], now["settings"], MACHINE)),
        (
            "Data",
            differences(
                {**then["data"], **then["digests"]},
                {**now["data"], **now["digests"]},
                ("comparison",),
            ),
        ),
        (
            "Figures",
            differences(then["figures"], now["figures"], () if same_words else ("perplexity",)),
        ),
    ):
        yield PageTable.of(rows, what) if rows else PageText(f"{what}: the same.")

    if then["digests"].get(TEST_REVIEWS) != now["digests"].get(TEST_REVIEWS):
        yield PageText(OTHER_REVIEWS)

    if not same_words:
        yield PageText("Perplexities are left out: they compare models of one vocabulary only.")


def _samples(results: RunResults) -> Iterator[Part]:
    for model in sorted(results.models, key=lambda model: model.name != results.winner):
        rows = []
        if model.samples is not None:
            rows = model.samples.to_dicts()

        if rows:
            quotes = [Quote(row["text"], _head(row["stars"], row["ended"])) for row in rows]
            yield PageSection(f"Written by {model.name}, for the rating above each", [quotes])


def _limits(results: RunResults) -> Iterator[Part]:
    model = results.model(results.winner)
    row = results.row(results.winner)
    limits = [*USES]
    limits += [copying] if (copying := tables.finding_of_copying(model.audit)) else []
    if secrets := describe_secrets(model.audit):
        limits += [f"{secrets[:1].upper()}{secrets[1:]}."]

    limits += [
        f"Personal data in the training text: {results.data.get('personal data', 'not known')}. {LOOKED_FOR}"
    ]
    if row.get("oov_share"):
        limits += [
            f"{row['oov_share']:.2%} of the test tokens are unknown to it; it knows them as one word, <unk>."
        ]

    if row.get("impossible"):
        limits += [f"It calls {row['impossible']:,} of the test reviews impossible."]

    if tables.adapts(row):
        limits += [
            f"It adapts to what it reads ({row['adaptation']}): its figures hold for reviews read one by one."
        ]

    limits += [f"Licence of the training text: {results.data.get('licence', 'not stated')}."]
    yield limits
    if results.version is not None:
        yield Code(
            "\n".join(
                [
                    f"reviewlm generate --model {results.name}/{results.version} --stars 2 --n 3",
                    f'reviewlm suggest "The food was" --model {results.name}/{results.version}',
                ]
            ),
            "sh",
        )
        yield Code(
            "\n".join(
                [
                    "import mlflow, pandas as pd",
                    "",
                    f'model = mlflow.pyfunc.load_model("models:/{results.name}/{results.version}")',
                    'model.predict(pd.DataFrame({"text": ["The food was"]}), params={"task": "suggest", "k": 5})',
                ]
            ),
            "python",
        )


def _head(stars: int | None, ended: bool) -> str:
    rating = "no rating"
    if stars:
        rating = f"{'★' * stars}{'☆' * (5 - stars)} {stars} of 5"

    return rating if ended else f"{rating}, cut at the longest length"


def _again(results: RunResults) -> Iterator[Part]:
    none = "No command line gives this configuration: save it and start the flow with it."
    yield Code("\n".join(results.commands), "sh") if results.commands else none
    if results.config:
        yield PageSection("The whole configuration", [Code(results.config, "json")])
