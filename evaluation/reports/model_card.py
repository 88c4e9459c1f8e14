"""Write the model card of a registered model: description, intended use, figures, and limits.

The structure follows Mitchell et al. 2019 ("Model cards for model reporting"). All facts are read from the run; the
card says which ones were not measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from evaluation.reports import report_tables as tables
from evaluation.reports.document import Code, Page, PageSection, PageTable
from evaluation.reports.report_words import amount, headline, with_interval
from evaluation.reports.run_results import ModelResults, RunResults
from evaluation.statistics.comparison import baseline_of
from evaluation.statistics.slice_names import slice_name
from evaluation.statistics.slice_table import worst_slices
from models.base import STATIC

CARD_FILE = "model_card.md"
KINDS = (
    "E-mail and web addresses, telephone, card, bank account and social security numbers, IP addresses, @handles "
    "and API keys"
)
COPYING = 2.0
"""A model that copies this many times the share of 8-grams that people repeat is reported as copying."""
USES = (
    "Meant for: suggesting the next word of a review, telling how usual a review is (bits per byte), writing example "
    "reviews for tests and teaching.",
    "Not meant for: publishing what it writes as if a customer had written it; judging a person or a business by a "
    "score; texts of other kinds or languages than those it was trained on.",
    "What it writes is likely text, not true: names, prices and events in it are made up, or come from the training "
    "text.",
)
FIGURES = {
    "open_bits_per_byte": "bits per byte, unknown words spelt out", "bits_per_byte": "bits per byte",
    "perplexity": "perplexity per token", "word_perplexity": "perplexity per word",
    "gap": "bits per byte above the floor",
}  # fmt: skip
HITS = {"hit@1": "first suggestion is right", "hit@5": "one of five is right"}


def model_card(results: RunResults, name: str = "reviewlm") -> str:
    """Return the card of the winner of a run as Markdown.

    Args:
        results: Results of the run that registered it.
        name: Name of the registered model.
    """
    model, row = results.model(results.winner), results.row(results.winner)
    digests = {**results.digests, **model.digests}
    sections = [
        PageSection("Intended use", [USES]),
        PageSection("Training data", [PageTable.facts(results.data)]),
        PageSection("Figures", [_about_figures(results), _figures(results, row)]),
        *_weak(results),
        PageSection("Limits", [list(_limits(results, model))]),
        *_gate(results),
        PageSection("Digests", [PageTable.facts(digests, ("of", "SHA-256 or artifact"))]),
        PageSection("What the figures mean", [PageTable.facts(model.policies, ("what", "is"))]),
        *_asking(results, name),
    ]
    version = f", version {results.version}" if results.version is not None else ""
    title = f"{name}{version}: {model.name}"
    return Page(title, headline(results), _glance(results, model, row), sections).to_markdown()


def pointer(run_link: str) -> str:
    """Return the sentence in a version's description that links to its model card."""
    return f"Model card: `{CARD_FILE}` among the artifacts of [its run]({run_link})."


def _glance(results: RunResults, model: ModelResults, row: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the key facts of the model, as (value, label)."""
    whole = row.get("parameters")
    tiles = [
        (model.kind, "kind"), (model.unit, "unit of its vocabulary"), (model.adaptation, "adaptation"),
        ("not counted" if whole is None else f"{whole:,.0f}", "parameters"),
        (f"{amount(row.get('megabytes'), 3)} MB", "size"), (f"{amount(row.get('fit_seconds'), 3)} s", "time to fit"),
    ]  # fmt: skip
    return tiles + [(value, what) for what, value in results.run.items()]


def _about_figures(results: RunResults) -> str:
    return (
        f"On {results.row(results.winner)['reviews']:,} test reviews, which no model was trained on. In brackets: "
        f"{results.confidence:.0%} bootstrap intervals over reviews."
    )


def _figures(results: RunResults, row: dict[str, Any]) -> PageTable:
    """Return the winner's figures with their intervals, next to those of the baseline."""
    against, names = baseline_of(results.against, results.winner), [results.winner]
    names += [against] if against != results.winner and against in results.table["model"].to_list() else []
    rows = [(words, *(with_interval(results.row(name), column) for name in names))
            for column, words in FIGURES.items() if row.get(column) is not None]  # fmt: skip
    observed = [results.model(name).observed for name in names]
    rows += [(words, *("–" if of.get(hit) is None else f"{of[hit]:.1%}" for of in observed))
             for hit, words in HITS.items() if observed[0].get(hit) is not None]  # fmt: skip
    return PageTable(("figure", results.winner, *(f"baseline {name}" for name in names[1:])), rows)


def _weak(results: RunResults) -> Iterator[PageSection]:
    """Yield the slices in which the model surely needs more bits than for all reviews, the hardest first."""
    if results.slices is None:
        return
    slices = results.slices.filter(pl.col("model") == results.winner)
    against = baseline_of(results.against, results.winner)
    worst = worst_slices(slices, against).filter(pl.col("relative_to") == "whole", "surely_harder").to_dicts()
    header = ["slice", "reviews", "bits above all reviews"]
    rows = [[slice_name(row, ": "), f"{row['reviews']:,}",
             "infinite" if row["excess"] is None else f"{row['excess']:+.1%}"] for row in worst]  # fmt: skip
    if against not in ("", results.winner):
        header.append(f"surely worse than {against}")
        for cells, row in zip(rows, worst, strict=True):
            cells.append("yes" if row["surely_worse"] else "no")
    if rows:
        text = (
            f"The hardest of the {worst[0]['looked_at']} slices with enough reviews, without those that may be hard by "
            "chance."
        )
        yield PageSection("Where it is weakest", [text, PageTable(header, rows)])


def _limits(results: RunResults, model: ModelResults) -> Iterator[str]:
    yield from _memorisation(model)
    masked = results.data.get("personal data", "nothing is known of a masking")
    yield (
        f"Personal data in the training text: {masked}. {KINDS} are "
        "looked for; names of people and postal addresses are not."
    )
    row = results.row(model.name)
    if row.get("oov_share"):
        yield f"{row['oov_share']:.2%} of the test tokens are unknown to it; it knows them as one word, <unk>."
    if row.get("impossible"):
        yield f"It calls {row['impossible']:,} of the test reviews impossible."
    if model.adaptation != STATIC:
        yield (
            f"It adapts to what it reads ({model.adaptation}): the figures hold for reviews read one at a time, each "
            "from the fresh state, and compare with those of other adapting models only."
        )
    if (ece := model.observed.get("ece")) is not None:
        yield f"The probability of its first guess is off by {ece:.1%} on average (expected calibration error)."
    yield f"Licence of the training text: {results.data.get('licence', 'not stated')}."


def _memorisation(model: ModelResults) -> Iterator[str]:
    """Yield the findings of the audit, or a sentence that there was none."""
    audit = model.audit
    if not audit:
        yield "Memorisation was not audited: it may write parts of its training text word by word."
        return
    share, real = audit.get("copied_8"), audit.get("real_copied_8")
    if share is not None:
        beside = "" if real is None else f"; in held-out reviews {real:.1%}"
        copies = " It copies." if real is not None and share > COPYING * max(real, 1e-3) else ""
        longest = audit.get("longest_copied")
        span = "" if longest is None else f" The longest copied run has {longest:,} words."
        yield f"Of the 8-grams that it writes {share:.1%} stand in the training text{beside}.{copies}{span}"
    if (most := audit.get("exposure_max")) is not None:
        chance = "A text that was never there has 1 bit or less in half of all cases."
        yield f"Canaries in its training text: highest exposure {most:.2f} bits. {chance}"
    if (patterns := audit.get("private_patterns")) is not None:
        yield f"In {audit.get('samples', 'its')} samples {patterns:,} patterns of personal data were found."


def _gate(results: RunResults) -> Iterator[PageSection]:
    if results.decision is None:
        return
    rows = [(row["rule"], row["outcome"], row["why"]) for row in tables.rules(results.decision)]
    sentences = [results.decision.headline, *(f"Warning: {what}" for what in results.decision.warnings)]
    yield PageSection("The gate", [". ".join(sentences), PageTable(("rule", "outcome", "why"), rows, numbers=())])


def _asking(results: RunResults, name: str) -> Iterator[PageSection]:
    """Yield how to load and query the model, and how to repeat the run."""
    reference = results.version if results.version is not None else "champion"
    where = f"models:/{name}/{reference}" if results.version is not None else f"models:/{name}@{reference}"
    shell = [f"reviewlm generate --model {reference} --stars 2 --n 3",
             f'reviewlm suggest "The food was" --model {reference}']  # fmt: skip
    python = [
        "import mlflow, pandas as pd", "", f'model = mlflow.pyfunc.load_model("{where}")',
        'model.predict(pd.DataFrame({"text": ["The food was"]}), params={"task": "suggest", "k": 5})',
    ]  # fmt: skip
    yield PageSection("How to load and ask it", [Code("\n".join(shell), "sh"), Code("\n".join(python), "python")])
    if results.commands:
        yield PageSection("How to make it again", [Code("\n".join(results.commands), "sh")])
