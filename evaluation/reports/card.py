"""Write the data card: facts and figures of a data set and its origin, on one page.

    draw(profile_of(folder), Origin(dataset=facts, clean=facts, digests={...}), folder)

writes `data_card.html` (with embedded pictures), `data_card.md` (tables only) and `figures/*.png`. The idea comes from
"datasheets for datasets" (Gebru et al. 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from corpus.profile import SAMPLE_WORDS, Profile
from corpus.splitting.certificate import BINS
from corpus.splitting.split import TRAIN_FIRST
from evaluation.palette import PALETTE
from evaluation.reports.document import Page, PageSection, PageTable, Picture, Quote, png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HTML, MARKDOWN, FIGURES = "data_card.html", "data_card.md", "figures"
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


@dataclass(frozen=True)
class Origin:
    """Origin of a data set.

    Args:
        dataset: Facts of the ingestion (`corpus.ingestion.ingest`).
        clean: Facts of the cleaning (`corpus.cleaning.clean`).
        digests: Digests of the results by name, e.g. {"dataset": "0123…", "clean": "…"}.
        synthetic: Whether the reviews were written by the embedded grammar.
    """

    dataset: Mapping[str, Any] = field(default_factory=dict)
    clean: Mapping[str, Any] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    synthetic: bool = False


def draw(profile: Profile, origin: Origin, folder: Path) -> Page:
    """Write the data card into *folder* and return the page as data."""
    figures = {"lengths": (lengths_figure(profile), "Bars: share of reviews by number of words")}
    if profile.months.height:
        figures["months"] = (months_figure(profile), "Bars: reviews per month")
    pictures = {name: Picture(png(figure), alt) for name, (figure, alt) in figures.items()}
    (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        (folder / FIGURES / f"{name}.png").write_bytes(picture.png)
    page = data_card(profile, origin, pictures)
    (folder / HTML).write_text(page.to_html(), encoding="utf-8")
    (folder / MARKDOWN).write_text(page.to_markdown(), encoding="utf-8")
    return page


def months_figure(profile: Profile) -> Figure:
    """Draw reviews per month, with the splits stacked; a month without reviews is a gap."""
    from evaluation.reports.canvas import canvas

    figure, axes = canvas(7.5, 3.2)
    dated = profile.months.with_columns(pl.col("month").str.to_date("%Y-%m"))
    months = dated.select(pl.date_range(pl.col("month").min(), pl.col("month").max(), "1mo"))
    below = np.zeros(months.height)
    for name in TRAIN_FIRST:
        here = months.join(dated.filter(split=name), on="month", how="left", maintain_order="left")
        counts = here["reviews"].fill_null(0).to_numpy()
        axes.bar(months["month"].to_numpy(), counts, 31, bottom=below, color=SIDE_COLOURS[name], label=name)
        below += counts
    axes.set_ylabel("reviews per month")
    axes.legend(loc="upper left")
    return figure


def lengths_figure(profile: Profile) -> Figure:
    """Draw the share of each split's reviews by number of words, in doublings; a good split has equal bars."""
    from evaluation.reports.canvas import canvas

    figure, axes = canvas(7.5, 3.2)
    lows = profile.doublings["words"].unique().sort().to_list()
    width = 0.8 / len(TRAIN_FIRST)
    for number, name in enumerate(TRAIN_FIRST):
        counts = dict(profile.doublings.filter(split=name).select("words", "reviews").iter_rows())
        places = [place - 0.4 + (number + 0.5) * width for place in range(len(lows))]
        shares = [counts.get(low, 0) / max(1, sum(counts.values())) for low in lows]
        axes.bar(places, shares, width * 0.92, color=SIDE_COLOURS[name], label=name)
    axes.set_xticks(range(len(lows)), [f"{low}–{2 * low - 1}" if low > 1 else "1" for low in lows])
    axes.set_xlabel("words per review")
    axes.set_ylabel("share of reviews")
    axes.legend(loc="upper left")
    return figure


def data_card(profile: Profile, origin: Origin, pictures: Mapping[str, Picture]) -> Page:
    """Return the data card as data; *pictures* by name, missing ones are left out."""
    months = profile.months["month"]
    span = f"{months[0]} – {months[-1]}" if len(months) else "unknown"
    reviews, words, size, dated = profile.splits.select("reviews", "words", "bytes", "dated").sum().row(0)
    what = "synthetic reviews, written by the embedded grammar" if origin.synthetic else "reviews"
    lead = (
        f"{reviews:,} clean {what}, {span}. "
        + "; ".join(f"{name} {digest}" for name, digest in origin.digests.items())
    )
    tiles = [(f"{reviews:,}", "reviews"), (_short(words), "words (white space)"), (_size(size), "of text, UTF-8"),
             (span, "months")]  # fmt: skip

    def picture(name: str) -> list[Picture]:
        return [pictures[name]] if name in pictures else []

    masks = PageTable(("placeholder", "occurrences"), sorted((origin.clean.get("masks") or {}).items()))
    sections = [
        *_provenance(origin),
        PageSection("Splits", [[_table(profile.splits.drop("dated"))], *_coverage(origin.clean)]),
        PageSection("Ratings", [[_table(profile.stars.rename({"0": "unknown"}), "Reviews by rating")]]),
        PageSection("Time", [_dated(dated, reviews), *picture("months")]),
        PageSection("Length", [[_table(profile.lengths, "Words per review: quantiles")], *picture("lengths")]),
        PageSection("Masked personal data", [[masks] if masks.rows else []]),
        PageSection("Businesses", [[_table(names, name) for name, names in profile.names.items() if names.height]]),
        PageSection("Samples", [_SAMPLES, _samples(profile)]),
        PageSection("Known limits", [LIMITS]),
    ]
    filled = [section for section in sections if any(part and not isinstance(part, str) for part in section.parts)]
    return Page("Data card", lead, tiles, filled, look="card")


_COVERAGE = (
    "Coverage: the share of a review's words that stand in passages of training text (runs of eight equal words). "
    "Reviews at the limit or above it have left; a paraphrase is not found."
)
_SAMPLES = (
    f"The first of train in its shuffled order, among those of {SAMPLE_WORDS[0]} to {SAMPLE_WORDS[1]} words: as they "
    "are, not chosen."
)


def _table(rows: pl.DataFrame, caption: str = "") -> PageTable:
    return PageTable(rows.columns, rows.with_columns(pl.selectors.float().round(1)).rows(), caption)


def _samples(profile: Profile) -> list[Quote]:
    return [
        Quote(text, f"{star} star{'s' if star > 1 else ''}")
        for star, texts in profile.samples.items() for text in texts
    ]  # fmt: skip


def _provenance(origin: Origin) -> list[PageSection]:
    dataset, clean = origin.dataset, origin.clean
    sources = [source for source in dataset.get("sources", []) if isinstance(source, Mapping)]
    counts = ("records", "rows", "quarantined", "duplicates")
    hashes = [(source.get("name"), source.get("sha256")) for source in sources]
    files = [[source.get(column) for column in ("name", "bytes", *counts)] for source in sources]
    near = clean.get("near") or {}
    accounts = [(name, dataset[name]) for name in counts if name in dataset]
    accounts += [(f"quarantined: {name}", count) for name, count in _flat(dataset.get("reasons"))]
    accounts += [("empty after cleaning", clean["empty"])] if "empty" in clean else []
    accounts += [(f"kept without a rating: stars {name}", count) for name, count in _flat(clean.get("unrated"))]
    accounts += [(f"set aside, language {name}", count) for name, count in _flat(clean.get("languages"))]
    accounts += [(f"left out of {_reason(name)}", count) for name, count in _flat(clean.get("duplicates"))]
    learnt = "{} what the champion has learnt from"
    why = {"exact": learnt.format("same text in"), "covered": learnt.format("covered by passages of")}
    accounts += [
        (f"left out of {split}: {why[kind]}", count)
        for split, kinds in (clean.get("learnt") or {}).items() for kind, count in kinds.items()
    ]
    accounts += [(f"near-duplicates, {name}", near[name]) for name in ("examined", "pairs") if name in near]
    accounts += [(f"kept in {name} beside a near-duplicate", count) for name, count in _flat(near.get("within"))]
    accounts += [("clean reviews", clean["rows"])] if "rows" in clean else []
    rules = {name.replace("_", " "): "yes" if on is True else "no" if on is False else str(on)
             for name, on in _flat(clean.get("normal_form"))}  # fmt: skip
    tables = [PageTable(("file", "bytes", *counts), files), PageTable(("file", "SHA-256"), hashes, numbers=())]
    tables = tables if sources else []
    tables += [PageTable(("what", "number"), accounts, "Records in, reviews out")] if accounts else []
    tables += [PageTable.facts(rules, ("rule", "on"), "Normal form of the text")] if rules else []
    text = "records = rows + quarantined + duplicates; what is quarantined keeps its bytes, source and line."
    return [PageSection("Provenance", [text, tables])]


def _coverage(clean: Mapping[str, Any]) -> list[str | list[PageTable]]:
    """Return how much of the held-out reviews stands in training text; nothing if that was not measured."""
    sources = {"coverage": "train", "learnt_coverage": "what the champion has learnt from"}
    edges = (0, BINS // 10, BINS // 4, BINS)
    rows = [
        (split, text, coverage["none"], *(sum(coverage["counts"][low:high]) for low, high in pairwise(edges)),
         f"{coverage['mean']:.2%}")
        for name, text in sources.items() for split, coverage in (clean.get(name) or {}).items()
    ]  # fmt: skip
    header = ("split", "passages of", "none", "below 10 %", "10 to 25 %", "25 % or more", "mean")
    return [_COVERAGE, [PageTable(header, rows, "Held-out reviews by the share of their words")]] if rows else []


def _dated(dated: int, reviews: int) -> str:
    return "All reviews have a date." if dated == reviews else f"{reviews - dated:,} reviews have no date."


def _reason(name: str) -> str:
    """Return a pair of splits, such as "train, near test", as a phrase."""
    phrases = {", of ": ": same text in ", ", near ": ": nearly the same text in ", ", covered": ": covered by train"}
    for short, phrase in phrases.items():
        name = name.replace(short, phrase)
    return name


def _flat(values: Any, before: str = "") -> Iterable[tuple[str, Any]]:
    """Yield nested counts under joined names."""
    for name, value in (values or {}).items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}, ")
        else:
            yield f"{before}{name}".replace("_", " "), value


def _scaled(value: float, units: Iterable[tuple[float, str]], plain: Callable[[float], str]) -> str:
    for size, name in units:
        if value >= size:
            return f"{value / size:.3g} {name}"
    return plain(value)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value < 1e5 else _scaled(value, ((1e9, "G"), (1e6, "M"), (1e3, "k")), str)


def _size(value: float) -> str:
    return _scaled(value, ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")), lambda number: f"{number:,.0f} B")
