"""Write the data card: facts and figures of a data set and its origin, on one page.

    draw(survey, Origin(dataset=facts, clean=facts, digests={...}), folder)

writes `data_card.html` (with embedded pictures), `data_card.md` (tables only) and `figures/*.png`. The idea comes from
"datasheets for datasets" (Gebru et al. 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from corpus.profiling.profile import SAMPLE_WORDS, Profile, Survey
from corpus.profiling.sketches import TypeSample
from evaluation.plots.curves import save
from evaluation.reports import card_figures as drawn
from evaluation.reports.card_page import Page, Picture, Section, Table

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
    return {name: Picture(folder / f"{name}.png", alt) for name, (_, alt) in figures.items()}


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
        Section("Splits", "", [_splits(survey)]),
        Section("Ratings", "", [_stars(profile)], picture("stars")),
        Section("Time", _dated(total.months.total, total.reviews), pictures=picture("months")),
        Section("Length", "Words are what white space separates. Quantiles are interpolated within bins 9 % wide.",
                [_lengths(profile)], picture("lengths")),
        _vocabulary(survey, picture("oov", "zipf", "heaps")),
        Section("Words by rating", _CONTRAST, pictures=picture("contrast")),
        Section("Characters and masks", "", [_characters(profile), _masks(profile)]),
        Section("Businesses", "", pictures=picture("names")),
        _samples(survey),
        Section("Known limits", points=LIMITS),
    ]
    kept = [part for part in sections if part.tables or part.pictures or part.quotes or part.points]
    return Page("Data card", lead, tiles, kept)


_CONTRAST = (
    "z-scores of log-odds ratios between the 1-star and 5-star reviews of train, with the corpus's own frequencies as "
    "prior, so that a word must be frequent as well as telling."
)


def _provenance(origin: Origin) -> list[Section]:
    found, clean = origin.dataset, origin.clean
    sources = [source for source in found.get("sources", []) if isinstance(source, Mapping)]
    columns = ("records", "rows", "quarantined", "duplicates")
    names = [str(source.get("name", "")) for source in sources]
    files = Table(
        ("file", "bytes", *columns),
        [(name, *(_number(source.get(column)) for column in ("bytes", *columns)))
         for name, source in zip(names, sources, strict=True)],
    )
    hashes = Table(
        ("file", "SHA-256"),
        [(name, str(source.get("sha256", ""))) for name, source in zip(names, sources, strict=True)], words=True,
    )
    accounts = [(name, _number(found[name])) for name in columns if name in found]
    accounts += [(f"quarantined: {name}", _number(count)) for name, count in _flat(found.get("reasons"))]
    accounts += [("empty after cleaning", _number(clean["empty"]))] if "empty" in clean else []
    accounts += [(f"set aside, language {name}", _number(count)) for name, count in _flat(clean.get("languages"))]
    accounts += [(f"left out of {_reason(name)}", _number(count)) for name, count in _flat(clean.get("duplicates"))]
    near = clean.get("near") or {}
    accounts += [(f"near-duplicates, {name}", _number(near[name])) for name in ("examined", "pairs") if name in near]
    accounts += [(f"kept in {name} beside a near-duplicate", _number(n)) for name, n in _flat(near.get("within"))]
    accounts += [("clean reviews", _number(clean["rows"]))] if "rows" in clean else []
    form = Table(("rule", "on"), [(name.replace("_", " "), "yes" if on is True else "no" if on is False else str(on))
                                  for name, on in _flat(clean.get("normal_form"))], "Normal form of the text", True)
    tables = [files, hashes] if sources else []
    tables += [Table(("what", "number"), accounts, "Records in, reviews out")] if accounts else []
    text = "records = rows + quarantined + duplicates; what is quarantined keeps its bytes, source and line."
    return [Section("Provenance", text, [*tables, form] if form.rows else tables)]


def _splits(survey: Survey) -> Table:
    words = survey.words
    rows = []
    for name, summary in survey.profile.sides.items():
        rows.append((
            name, f"{summary.reviews:,}", f"{summary.words:,}", f"{words.tokens[name]:,}", f"{words.types[name]:,}",
            f"{words.hapaxes[name]:,}", f"{summary.bytes:,}", _about(summary.businesses), _about(summary.users),
        ))
    header = ("split", "reviews", "words", "tokens", "types", "types seen once", "bytes", "businesses", "authors")
    return Table(header, rows)


def _stars(profile: Profile) -> Table:
    names = ("unknown", "1", "2", "3", "4", "5")
    rows = [(name, *(f"{count:,}" for count in summary.stars)) for name, summary in profile.sides.items()]
    return Table(("split", *names), rows, "Reviews by rating")


def _lengths(profile: Profile) -> Table:
    rows = [
        (name, f"{summary.words / summary.reviews:.1f}", *(f"{summary.length_quantile(q):.0f}" for q in QUANTILES))
        for name, summary in profile.sides.items() if summary.reviews
    ]
    return Table(("split", "mean", *(f"{share:.0%}" for share in QUANTILES)), rows, "Words per review: quantiles")


def _vocabulary(survey: Survey, pictures: list[Picture]) -> Section:
    words = survey.words
    sizes = [size for size, _ in next(iter(words.oov.values()), [])]
    rows = [(name, *(f"{share:.2%}" for _, share in curve)) for name, curve in words.oov.items()]
    header = ("split", *(f"{size:,}" for size in sizes))
    text = (
        "Tokens are those of the word unit: words, numbers, punctuation and line breaks, case folded. Counts are "
        "exact. A vocabulary holds the most frequent tokens of train."
    )
    tables = [Table(header, rows, "Tokens out of vocabulary, by its size; the last is all of train")] if rows else []
    laws = [("Zipf's exponent", words.zipf_law, "rank"), ("Heaps' β", words.heaps_law, "tokens")]
    fitted = [
        (name, f"{abs(law.exponent):.3f}", f"{law.factor:,.3g}", f"{unit} {law.low:,} – {law.high:,}",
         f"{10**law.error - 1:.1%}")
        for name, law, unit in laws if law is not None
    ]
    if fitted:
        tables.append(Table(("law", "exponent", "factor", "fitted on", "typical error"), fitted, "Fitted power laws"))
    return Section("Vocabulary", text, tables, pictures)


def _characters(profile: Profile) -> Table:
    classes = profile.total.classes
    whole = max(1, sum(classes.values()))
    return Table(("class", "characters", "share"),
                 [(name, f"{count:,}", f"{count / whole:.3%}") for name, count in classes.items()], "Characters")


def _masks(profile: Profile) -> Table:
    counts, reviews = profile.total.masks.counts, max(1, profile.total.reviews)
    rows = [(name, f"{count:,}", f"{1e5 * count / reviews:.1f}") for name, count in counts.items()]
    return Table(("placeholder", "occurrences", "per 100,000 reviews"), rows, "Masked personal data")


def _samples(survey: Survey) -> Section:
    quotes = [
        (f"{star} star{'s' if star > 1 else ''}", text) for star, texts in survey.samples.items() for text in texts
    ]
    low, high = SAMPLE_WORDS
    text = f"The first of train in its shuffled order, among those of {low} to {high} words: as they are, not chosen."
    return Section("Samples", text, quotes=quotes)


def _dated(dated: int, reviews: int) -> str:
    return "All reviews have a date." if dated == reviews else f"{reviews - dated:,} reviews have no date."


def _reason(name: str) -> str:
    """Return a pair of splits, such as "train, near test", as a phrase."""
    return name.replace(", of ", ": same text in ").replace(", near ", ": nearly the same text in ")


def _flat(values: Any, before: str = "") -> Iterable[tuple[str, Any]]:
    """Yield nested counts under joined names."""
    for name, value in (values or {}).items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}, ")
        else:
            yield f"{before}{name}".replace("_", " "), value


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "" if value is None else str(value)


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
