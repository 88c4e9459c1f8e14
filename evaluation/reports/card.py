"""Write the data card: facts and figures of a data set and its origin, on one page.

    draw(survey, Origin(dataset=facts, clean=facts, digests={...}), folder)

writes `data_card.html` (with embedded pictures), `data_card.md` (tables only) and `figures/*.png`. The idea comes from
"datasheets for datasets" (Gebru et al. 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corpus.profiling.profile import SAMPLE_WORDS, Profile, Survey
from corpus.profiling.sketches import TypeSample
from corpus.profiling.word_statistics import WordStatistics
from corpus.splitting.certificate import BINS
from evaluation.reports.document import Page, PageSection, PageTable, Picture, Quote, as_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HTML, MARKDOWN, FIGURES = "data_card.html", "data_card.md", "figures"
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
LIMITS = (
    "The ratings, dates and names are those of the source; nobody has compared them with Yelp.",
    "Whether a text was written by a customer, and by a human being, was not checked.",
    "Personal data is found by patterns (e-mail, web and IP addresses, card, bank account, social security and "
    "telephone numbers, @handles, API keys). Names of people, street addresses and "
    "what a text says about health, belief or origin are not found and not masked.",
    "Languages were told apart only where the selection names some; short texts cannot be told.",
    "Offensive, defamatory or sexual content was not looked for and was not removed.",
    "Numbers of businesses and authors, marked ≈, are estimates with a standard error of 3 %.",
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


def draw(survey: Survey, origin: Origin, folder: Path) -> Page:
    """Write the data card into *folder* and return the page as data."""
    pictures = _pictures(survey, folder / FIGURES)
    page = data_card(survey, origin, pictures)
    (folder / HTML).write_text(page.to_html(), encoding="utf-8")
    (folder / MARKDOWN).write_text(page.to_markdown(), encoding="utf-8")
    return page


def _pictures(survey: Survey, folder: Path) -> dict[str, Picture]:
    from evaluation.plots.curves import save
    from evaluation.reports import card_figures as drawn

    profile, words = survey.profile, survey.words
    figures: dict[str, tuple[Figure, str]] = {
        "stars": (drawn.stars_figure(profile), "Bars: share of reviews by rating, for each split"),
        "months": (drawn.months_figure(profile), "Bars: reviews per month"),
        "lengths": (drawn.lengths_figure(profile), "Steps: distribution of words per review on a log scale"),
        "oov": (drawn.oov_figure(words), "Lines: share of tokens out of vocabulary against vocabulary size"),
        "zipf": (drawn.zipf_figure(words), "Dots: occurrences of a word against its rank, both on log scales"),
        "heaps": (drawn.heaps_figure(words), "Dots: different words against tokens read, both on log scales"),
    }
    if words.contrast:
        figures["contrast"] = (drawn.contrast_figure(words), "Bars: words that tell 1-star from 5-star reviews")
    if (total := profile.total).categories.total:
        figures["names"] = (drawn.names_figure(total), "Bars: commonest categories and cities")
    folder.mkdir(parents=True, exist_ok=True)
    for name, (figure, _) in figures.items():
        save(figure, folder / f"{name}.png")
    return {name: Picture((folder / f"{name}.png").read_bytes(), alt) for name, (_, alt) in figures.items()}


def data_card(survey: Survey, origin: Origin, pictures: Mapping[str, Picture]) -> Page:
    """Return the data card as data; *pictures* by name, missing ones are left out."""
    profile, words = survey.profile, survey.words
    total = profile.total
    dates = sorted(total.months.counts)
    span = f"{dates[0]} – {dates[-1]}" if dates else "unknown"
    tokens = sum(words.tokens.values())
    what = "synthetic reviews, written by the embedded grammar" if origin.synthetic else "reviews"
    lead = (
        f"{total.reviews:,} clean {what}, {span}. "
        + "; ".join(f"{name} {digest}" for name, digest in origin.digests.items())
    )
    tiles = [
        (f"{total.reviews:,}", "reviews"), (_short(total.words), "words (white space)"),
        (_short(tokens), "tokens (words and signs)"), (_short(words.types["all"]), "types: different tokens"),
        (_size(total.bytes), "of text, UTF-8"), (span, "months"),
        (_about(total.businesses), "businesses"), (_about(total.users), "authors"),
    ]

    def picture(*names: str) -> list[Picture]:
        return [pictures[name] for name in names if name in pictures]

    sections = [
        *_provenance(origin),
        PageSection("Splits", [[_splits(survey)], *_coverage(origin.clean)]),
        PageSection("Ratings", [[_stars(profile)], *picture("stars")]),
        PageSection("Time", [_dated(total.months.total, total.reviews), *picture("months")]),
        PageSection("Length", [_LENGTH, [_lengths(profile)], *picture("lengths")]),
        PageSection("Vocabulary", [_VOCABULARY, _vocabulary(words), *picture("oov", "zipf", "heaps")]),
        PageSection("Words by rating", [_CONTRAST, *picture("contrast")]),
        PageSection("Characters and masks", [_characters(profile)]),
        PageSection("Businesses", picture("names")),
        PageSection("Samples", [_SAMPLES, _samples(survey)]),
        PageSection("Known limits", [LIMITS]),
    ]
    filled = [section for section in sections if any(part and not isinstance(part, str) for part in section.parts)]
    return Page("Data card", lead, tiles, filled, look="card")


_COVERAGE = (
    "Coverage: the share of a review's words that stand in passages of training text (runs of eight equal words). "
    "Reviews at the limit or above it have left; a paraphrase is not found."
)
_LENGTH = "Words are what white space separates. Quantiles are interpolated within bins 9 % wide."
_VOCABULARY = (
    "Tokens are those of the word unit: words, numbers, punctuation and line breaks, case folded. Counts are exact. A "
    "vocabulary holds the most frequent tokens of train."
)
_SAMPLES = (
    f"The first of train in its shuffled order, among those of {SAMPLE_WORDS[0]} to {SAMPLE_WORDS[1]} words: as they "
    "are, not chosen."
)
_CONTRAST = (
    "z-scores of log-odds ratios between the 1-star and 5-star reviews of train, with the corpus's own frequencies as "
    "prior, so that a word must be frequent as well as telling."
)


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


def _splits(survey: Survey) -> PageTable:
    words = survey.words
    rows = [
        (name, summary.reviews, summary.words, words.tokens[name], words.types[name], words.hapaxes[name],
         summary.bytes, _about(summary.businesses), _about(summary.users))
        for name, summary in survey.profile.sides.items()
    ]  # fmt: skip
    header = ("split", "reviews", "words", "tokens", "types", "types seen once", "bytes", "businesses", "authors")
    return PageTable(header, rows)


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


def _stars(profile: Profile) -> PageTable:
    rows = [(name, *summary.stars) for name, summary in profile.sides.items()]
    return PageTable(("split", "unknown", "1", "2", "3", "4", "5"), rows, "Reviews by rating")


def _lengths(profile: Profile) -> PageTable:
    rows = [
        (name, f"{summary.words / summary.reviews:.1f}", *(f"{summary.length_quantile(q):.0f}" for q in QUANTILES))
        for name, summary in profile.sides.items() if summary.reviews
    ]
    return PageTable(("split", "mean", *(f"{share:.0%}" for share in QUANTILES)), rows, "Words per review: quantiles")


def _vocabulary(words: WordStatistics) -> list[PageTable]:
    sizes = [size for size, _ in next(iter(words.oov.values()), [])]
    rows = [(name, *(f"{share:.2%}" for _, share in curve)) for name, curve in words.oov.items()]
    caption = "Tokens out of vocabulary, by its size; the last is all of train"
    laws = [("Zipf's exponent", words.zipf_law, "rank"), ("Heaps' β", words.heaps_law, "tokens")]
    fitted = [
        (name, f"{abs(law.exponent):.3f}", f"{law.factor:,.3g}", f"{unit} {law.low:,} – {law.high:,}",
         f"{10**law.error - 1:.1%}")
        for name, law, unit in laws if law is not None
    ]  # fmt: skip
    header = ("law", "exponent", "factor", "fitted on", "typical error")
    tables = [PageTable(("split", *map(as_text, sizes)), rows, caption), PageTable(header, fitted, "Fitted power laws")]
    return [table for table in tables if table.rows]


def _characters(profile: Profile) -> list[PageTable]:
    classes, masks = profile.total.classes, profile.total.masks.counts
    whole, reviews = max(1, sum(classes.values())), max(1, profile.total.reviews)
    shares = [(name, count, f"{count / whole:.3%}") for name, count in classes.items()]
    masked = [(name, count, f"{1e5 * count / reviews:.1f}") for name, count in masks.items()]
    return [PageTable(("class", "characters", "share"), shares, "Characters"),
            PageTable(("placeholder", "occurrences", "per 100,000 reviews"), masked,
                      "Masked personal data")]  # fmt: skip


def _samples(survey: Survey) -> list[Quote]:
    return [
        Quote(text, f"{star} star{'s' if star > 1 else ''}")
        for star, texts in survey.samples.items() for text in texts
    ]  # fmt: skip


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


def _about(sample: TypeSample) -> str:
    if not sample.counts:
        return "unknown"
    return f"{sample.types:,}" if sample.exact else f"≈ {_short(sample.types)}"


def _scaled(value: float, units: Iterable[tuple[float, str]], plain: Callable[[float], str]) -> str:
    for size, name in units:
        if value >= size:
            return f"{value / size:.3g} {name}"
    return plain(value)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value < 1e5 else _scaled(value, ((1e9, "G"), (1e6, "M"), (1e3, "k")), str)


def _size(value: float) -> str:
    return _scaled(value, ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")), lambda number: f"{number:,.0f} B")
