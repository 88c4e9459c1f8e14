"""Write the data card: facts and figures of a data set and its origin, on one page.

    draw(profile_of(folder), Origin(dataset=facts, clean=facts, digests={...}), folder)

writes `data_card.html` (with embedded pictures) and `data_card.md` (tables only). The idea comes from "datasheets for
datasets" (Gebru et al. 2021).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from reviewlm.corpus.account import TAKEN, WORDS, Account, Entry, join_files
from reviewlm.corpus.profile import SAMPLE_WORDS, Profile
from reviewlm.corpus.splitting.certificate import BINS
from reviewlm.corpus.splitting.shares import Shares
from reviewlm.corpus.splitting.split import TRAIN_FIRST
from reviewlm.evaluation.reports.document import (
    PALETTE,
    Page,
    PageSection,
    PageTable,
    Part,
    Picture,
    Quote,
)
from reviewlm.evaluation.reports.report_pictures import Drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COUNTS = ("records", "rows", "quarantined", "duplicates")
DUPLICATES = {
    ", of ": ": same text in ",
    ", near ": ": nearly the same text in ",
    ", covered": ": covered by train",
    ", crowd": ": more copies of one text than may stay",
}
LEARNT = {
    ", exact": ": same text in what the champion has learnt from",
    ", covered": ": covered by passages of what the champion has learnt from",
}
"""Phrases for pairs of splits, such as "train, near test"."""
HTML = "data_card.html"
MARKDOWN = "data_card.md"
SIDE_COLOURS = dict(zip(TRAIN_FIRST, (PALETTE[0], PALETTE[4], PALETTE[2]), strict=True))
LIMITS = (
    "The ratings, dates and names are those of the source; nobody has compared them with Yelp.",
    "Whether a text was written by a customer, and by a human being, was not checked.",
    "Personal data is found by patterns (e-mail, web and IP addresses, card, bank account, social security and "
    "telephone numbers, @handles, API keys). Names of people, street addresses and "
    "what a text says about health, belief or origin are not found and not masked.",
    "Languages were told apart only where the selection names some; short texts cannot be told.",
    "Offensive, defamatory or sexual content was not looked for and was not removed.",
    "The licence of the source was not checked: the terms under which the files were obtained hold.",
)
_COVERAGE = (
    "Coverage: the share of a review's words that stand in passages of training text (runs of eight equal words). "
    "Reviews at the limit or above it have left; a paraphrase is not found."
)
_SAMPLES = (
    f"The first of train in its shuffled order, among those of {SAMPLE_WORDS[0]} to {SAMPLE_WORDS[1]} words: as they "
    "are, not chosen."
)
_COVERAGE = (
    "Coverage: the share of a review's words that stand in passages of training text (runs of five equal words). "
    "Reviews at the limit or above it have left; a paraphrase is not found."
)
_SAMPLES = (
    f"The first of train in its shuffled order, among those of {SAMPLE_WORDS[0]} to {SAMPLE_WORDS[1]} words: as they "
    "are, not chosen."
)


@dataclass(frozen=True)
class Origin:
    """Origin of a data set.

    Args:
        dataset: Facts of the ingestion (`reviewlm.corpus.ingestion.ingest`).
        clean: Facts of the cleaning (`reviewlm.corpus.cleaning.clean`).
        digests: Digests of the results by name, e.g. {"dataset": "0123…", "clean": "…"}.
        synthetic: Whether the reviews were written by the embedded grammar.
        account: What became of the records that were read.
    """

    dataset: Mapping[str, Any] = field(default_factory=dict)
    clean: Mapping[str, Any] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    synthetic: bool = False
    account: Account = field(default_factory=lambda: Account({}))


def draw(
    profile: Profile,
    origin: Origin,
    folder: Path,
) -> Page:
    """Write the data card into *folder* and return the page as data."""
    drawings = [
        Drawing("lengths", "", lengths_figure(profile), "Share of reviews by number of words")
    ]
    if profile.months.height:
        drawings.append(Drawing("months", "", months_figure(profile), "Reviews per month"))
    page = data_card(profile, origin, {drawing.name: drawing.picture for drawing in drawings})
    (folder / HTML).write_text(page.to_html(), encoding="utf-8")
    (folder / MARKDOWN).write_text(page.to_markdown(), encoding="utf-8")
    return page


def months_figure(profile: Profile) -> Figure:
    """Draw reviews per month, with the splits stacked; a month without reviews is a gap."""
    from reviewlm.evaluation.reports.canvas import canvas

    figure, axes = canvas(7.5, 3.2)
    dated = profile.months.with_columns(pl.col("month").str.to_date("%Y-%m"))
    months = dated.select(pl.date_range(pl.col("month").min(), pl.col("month").max(), "1mo"))
    below = np.zeros(months.height)
    for name, colour in SIDE_COLOURS.items():
        here = months.join(
            dated.filter(split=name),
            on="month",
            how="left",
            maintain_order="left",
        )
        counts = here["reviews"].fill_null(0).to_numpy()
        axes.bar(
            months["month"].to_numpy(),
            counts,
            31,
            bottom=below,
            color=colour,
            label=name,
        )
        below += counts

    axes.set_ylabel("reviews per month")
    axes.legend(loc="upper left")
    return figure


def lengths_figure(profile: Profile) -> Figure:
    """Draw the share of each split's reviews by number of words, in doublings; a good split has equal lines."""
    from reviewlm.evaluation.reports.canvas import canvas

    figure, axes = canvas(7.5, 3.2)
    for name, colour in SIDE_COLOURS.items():
        rows = profile.doublings.filter(split=name).sort("words")
        axes.plot(
            rows["words"],
            rows["reviews"] / max(1, rows["reviews"].sum()),
            color=colour,
            marker="o",
            label=name,
        )

    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.set_xlabel("words per review, up to twice as many")
    axes.set_ylabel("share of reviews")
    axes.legend(loc="upper left")
    return figure


def data_card(
    profile: Profile,
    origin: Origin,
    pictures: Mapping[str, Picture],
) -> Page:
    """Return the data card as data; *pictures* by name, missing ones are left out."""
    months = profile.months["month"]
    span = "unknown"
    if len(months):
        span = f"{months[0]} – {months[-1]}"

    reviews, words, size, dated = (
        profile.splits.select("reviews", "words", "bytes", "dated").sum().row(0)
    )
    what = "synthetic reviews, written by the embedded grammar" if origin.synthetic else "reviews"
    digests = "; ".join(f"{name} {digest}" for name, digest in origin.digests.items())
    lead = f"{reviews:,} clean {what}, {span}: {words:,} words, {size / 1e6:,.4g} MB of UTF-8. {digests}"

    masks = PageTable(
        ("placeholder", "occurrences"), sorted((origin.clean.get("masks") or {}).items())
    )
    splits = [_table(profile.splits.drop("dated"))]
    ratings = _table(profile.stars.rename({"0": "unknown"}), "Reviews by rating")
    dates = f"{dated:,} of {reviews:,} reviews have a date."
    lengths = [_table(profile.lengths, "Words per review: quantiles")]
    businesses = [_table(names, name) for name, names in profile.names.items() if names.height]
    quotes = []
    for star, texts in profile.samples.items():
        for text in texts:
            quotes.append(Quote(text, f"rated {star}"))

    parts: dict[str, list[Part]] = {}
    parts["Splits"] = [splits, *_shares(origin.clean), *_coverage(origin.clean)]
    parts["Ratings"] = [[ratings]]
    parts["Time"] = [dates, pictures.get("months", "")]
    parts["Length"] = [lengths, pictures.get("lengths", "")]
    parts["Masked personal data"] = [[masks] if masks.rows else []]
    parts["Businesses"] = [businesses]
    parts["Samples"] = [_SAMPLES, quotes]
    parts["Known limits"] = [LIMITS]
    sections = [*_account(origin.account), *_provenance(origin)]
    sections += [PageSection(heading, of_section) for heading, of_section in parts.items()]
    filled = []
    for section in sections:
        if any(part and not isinstance(part, str) for part in section.parts):
            filled.append(section)

    return Page("Data card", lead, filled, look="card")


def _table(rows: pl.DataFrame, caption: str = "") -> PageTable:
    return PageTable(rows.columns, rows.with_columns(pl.selectors.float().round(1)).rows(), caption)


def _provenance(origin: Origin) -> list[PageSection]:
    dataset = origin.dataset
    clean = origin.clean
    sources = [source for source in dataset.get("sources", []) if isinstance(source, Mapping)]
    counts = () if origin.account.records else COUNTS  # the account has them
    columns = ("name", "bytes", *counts, "sha256")
    files = []
    for source in sources:
        files.append([source.get(column) for column in columns])

    shown = {True: "yes", False: "no"}
    rules = {}
    for name, on in _flat(clean.get("normal_form")):
        rules[name.replace("_", " ")] = shown[on] if isinstance(on, bool) else str(on)

    numbers = range(1, len(columns) - 1)
    tables = []
    if sources:
        tables = [PageTable(("file", "bytes", *counts, "SHA-256"), files, numbers=numbers)]

    accounts = list(_accounts({} if origin.account.records else dataset, clean))
    tables += (
        [PageTable(("what", "number"), accounts, "Records in, reviews out")] if accounts else []
    )
    tables += [PageTable.facts(rules, ("rule", "on"), "Normal form of the text")] if rules else []
    text = "What is set aside keeps its bytes, source and line in the quarantine."
    return [PageSection("Provenance", [text, tables])]


def _account(account: Account) -> list[PageSection]:
    """Return the sum of the account, what looks odd, a row for each file, and the entries."""
    if not account.records:
        return []

    header = ("file", "records", "used", *(WORDS[outcome] for outcome in TAKEN))
    files = [list(row.values()) for row in account.files()]
    rows = []
    for entry in join_files(account.entries):
        rows.append(
            (entry.file or "all files", entry.step, WORDS[entry.outcome], entry.count, _tell(entry))
        )

    tables = [PageTable(header, files, "Records of each file", numbers=range(1, len(header)))]
    if rows:
        columns = ("file", "stage", "what became of them", "number", "why")
        tables.append(PageTable(columns, rows, "What the stages did with records", numbers=(3,)))

    odd = []
    if account.odd:
        odd = [[entry.sentence for entry in account.odd]]

    return [PageSection("Account", [f"{account.equation}.", *odd, tables])]


def _tell(entry: Entry) -> str:
    return f"{entry.detail or entry.kind}{f'; {entry.remedy}' if entry.remedy else ''}"


def _shares(clean: Mapping[str, Any]) -> list[str | list[PageTable]]:
    """Return the shares of the splits, as asked for and as reached, and the largest group of reviews."""
    if "shares" not in clean.get("grouping", {}):
        return []

    shares = Shares.from_dict(clean["grouping"]["shares"])
    rows = []
    for split, reached in shares.reached.items():
        asked = f"{shares.asked[split]:.1%}" if shares.asked else "by dates"
        rows.append((split, asked, f"{reached:.1%}"))

    table = PageTable(("split", "asked", "reached"), rows, "Shares of the reviews", numbers=(1, 2))
    group = shares.largest
    if not group:
        return [[table]]

    by = clean["grouping"]["by"]
    largest = (
        f"The largest {by}, {group.name}, has {group.share:.1%} of the reviews, in {group.split}."
    )
    return [[table], largest]


def _coverage(clean: Mapping[str, Any]) -> list[str | list[PageTable]]:
    """Return how much of the held-out reviews stands in training text; nothing if that was not measured."""
    sources = {"coverage": "train", "learnt_coverage": "what the champion has learnt from"}
    edges = (0, BINS // 10, BINS // 4, BINS)
    rows = []
    for name, text in sources.items():
        for split, coverage in (clean.get(name) or {}).items():
            counts = coverage["counts"]
            between = [sum(counts[low:high]) for low, high in pairwise(edges)]
            mean = f"{coverage['mean']:.2%}"
            rows.append((split, text, coverage["none"], *between, mean))

    header = ("split", "passages of", "none", "below 10 %", "10 to 25 %", "25 % or more", "mean")
    if rows:
        return [
            _COVERAGE,
            [PageTable(header, rows, "Held-out reviews by the share of their words")],
        ]

    return []


def _accounts(dataset: Mapping[str, Any], clean: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Yield where the records of the sources are now."""
    yield from ((name, dataset[name]) for name in COUNTS if name in dataset)
    near = clean.get("near") or {}
    for before, values, phrases in (
        ("quarantined: ", dataset.get("reasons"), {}),
        ("left out: ", {name: clean[name] for name in ("empty",) if name in clean}, {}),
        ("kept without a rating: stars ", clean.get("unrated"), {}),
        ("set aside, language ", clean.get("languages"), {}),
        ("left out of ", clean.get("duplicates"), DUPLICATES),
        ("left out of ", clean.get("learnt"), LEARNT),
        (
            "near-duplicates, ",
            {name: near[name] for name in ("examined", "pairs") if name in near},
            {},
        ),
        ("kept beside a near-duplicate in ", near.get("within"), {}),
    ):
        for name, count in _flat(values):
            for short, phrase in phrases.items():
                name = name.replace(short, phrase)
            yield before + name, count

    yield from ([("clean reviews", clean["rows"])] if "rows" in clean else [])


def _flat(values: Any, before: str = "") -> Iterable[tuple[str, Any]]:
    """Yield nested counts under joined names."""
    for name, value in (values or {}).items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}, ")
        else:
            yield f"{before}{name}".replace("_", " "), value
