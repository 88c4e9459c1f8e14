"""Plant passages of test reviews in training reviews: how many are found, and what a 5-gram model gains on the others.

    python -m benchmarks.data.passages --file reviews.csv [--json] [--write]

For each way of posting again, `REVIEWS` test reviews of at least `LEAST_WORDS` words are drawn, and a training review
is made from each and another one. Then the whole pipeline of cleaning runs. *found* is the number of those of which the
test review leaves (it is covered) or the made one does (the two are nearly equal); *in part* of the others those with a
coverage of `PARTLY_COVERED` or more, without which all figures are given too. *gain if all stay* is the change of open bits per
byte on these reviews when the made reviews are added to the training text of a 5-gram model; *gain on the test* is that
on the test split after the filter. *others that leave* are test reviews without a planted passage: real repeats, or
false alarms.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from benchmarks.data.ingest import folder_for
from benchmarks.harness import Report, arguments, finish, say
from reviewlm.core.config.sections.data import CleanConfig, SourceConfig, SplitConfig
from reviewlm.corpus.cleaning.clean import prepare
from reviewlm.corpus.cleaning.clean_table import COVERAGE_FILE
from reviewlm.corpus.cleaning.normalise import normalise
from reviewlm.corpus.ingestion.ingest import iter_parts
from reviewlm.corpus.splitting.certificate import PARTLY_COVERED
from reviewlm.corpus.splitting.split import TABLE
from reviewlm.evaluation.scoring.metrics import figures_of
from reviewlm.evaluation.scoring.score import score_stream
from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.specs import NGramSpec, VocabularySpec
from reviewlm.models.streams import TokenStream, write_stream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.training.context import FitContext
from reviewlm.training.fit import fit_model
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.corpus.data_sets import assign, ingest

REVIEWS = 25
LEAST_WORDS = 40
SEED = 7
SPLIT = SplitConfig()
Words = list[str]
SYNONYMS = {
    "good": "nice",
    "great": "excellent",
    "really": "truly",
    "very": "quite",
    "place": "spot",
    "food": "meal",
    "service": "staff",
    "like": "enjoy",
    "love": "adore",
    "delicious": "tasty",
    "went": "came",
    "got": "received",
    "also": "besides",
    "but": "though",
    "always": "every time",
    "never": "at no time",
    "because": "since",
    "little": "small",
    "big": "large",
    "nice": "pleasant",
    "best": "finest",
    "bad": "poor",
    "people": "folks",
    "time": "visit",
    "definitely": "surely",
    "amazing": "superb",
    "ordered": "chose",
    "think": "believe",
    "pretty": "rather",
    "don't": "do not",
    "it's": "it is",
    "i'm": "i am",
    "i've": "i have",
    "didn't": "did not",
    "was": "had been",
    "were": "had been",
    "and": "plus",
    "so": "thus",
    "just": "only",
    "get": "receive",
}


def changed(
    own: Words,
    every: int,
    draw: random.Random,
    others: Words,
) -> Words:
    """Return the words, each one of so many exchanged."""
    return [
        draw.choice(others) if place % every == every - 1 else word
        for place, word in enumerate(own)
    ]


def reordered(own: Words, draw: random.Random) -> Words:
    """Return the words with the sentences in another order."""
    sentences = re.split(r"(?<=[.!?])\s+", " ".join(own))
    return " ".join(draw.sample(sentences, len(sentences))).split()


def reworded(own: Words, draw: random.Random) -> Words:
    """Return the words with synonyms where there are any, and the sentences in another order."""
    return reordered([SYNONYMS.get(word.lower(), word) for word in own], draw)


WAYS: dict[str, Callable[[Words, Words, random.Random], Words]] = {
    "whole in a longer review": lambda own, other, draw: [*other, *own],
    "half in a longer review": lambda own, other, draw: [
        *other[:15],
        *own[: len(own) // 2],
        *other[15:],
    ],
    "half of it and half of another": lambda own, other, draw: [
        *own[: len(own) // 2],
        *other[len(other) // 2 :],
    ],
    "every tenth word changed": lambda own, other, draw: changed(own, 10, draw, other),
    "sentences in another order": lambda own, other, draw: reordered(own, draw),
    "paraphrase: synonyms and another order": lambda own, other, draw: reworded(own, draw),
    "a third in a longer review": lambda own, other, draw: [
        *other[:15],
        *own[: len(own) // 3],
        *other[15:],
    ],
    "every seventh word changed": lambda own, other, draw: changed(own, 7, draw, other),
    "every fifth word changed": lambda own, other, draw: changed(own, 5, draw, other),
}


def cleaned(texts: dict[str, str], folder: Path) -> tuple[pl.DataFrame, set[str]]:
    """Return the clean table of some reviews, by id, and which of them are covered in part."""
    folder.mkdir(parents=True)
    rows = [
        {
            "review_id": name,
            "user_id": name,
            "business_id": "b",
            "stars": 4,
            "text": text,
            "date": "2015-01-01",
        }
        for name, text in texts.items()
    ]
    (folder / "reviews.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    ingest([folder / "reviews.jsonl"], folder / "data", SourceConfig())
    (folder / "clean").mkdir()
    prepare(folder / "data", folder / "clean", CleanConfig(), SPLIT)
    covered = pl.read_parquet(folder / "clean" / COVERAGE_FILE).filter(
        pl.col("coverage") >= PARTLY_COVERED
    )
    return pl.read_parquet(folder / "clean" / TABLE), set(covered["review_id"])


def as_clean(texts: dict[str, str], like: pl.DataFrame) -> pl.DataFrame:
    """Return reviews as rows of a clean table; with what a stream of tokens needs."""
    table = pl.DataFrame(
        {"review_id": [*texts], "text": normalise(pl.Series([*texts.values()]), NormalForm())}
    )
    known = table.with_columns(
        stars=4,
        bytes=pl.col("text").str.len_bytes() + 1,
        words=pl.col("text").str.split(" ").list.len(),
    )
    missing = [pl.lit(None).alias(name) for name in like.columns if name not in known.columns]
    return known.with_columns(missing).select(
        pl.col(name).cast(kind) for name, kind in like.schema.items()
    )


def stream_of(
    reviews: pl.DataFrame,
    vocabulary: Vocabulary,
    folder: Path,
) -> TokenStream:
    """Return reviews as tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = ("review_id", "text", "stars", "bytes", "words")
    write_stream(folder, vocabulary, [reviews.select(columns)], True)
    return TokenStream.open(folder)


def fitted(
    train: pl.DataFrame,
    vocabulary: Vocabulary,
    folder: Path,
) -> Bundle:
    """Return a 5-gram model of training reviews."""
    stream = stream_of(train, vocabulary, folder)
    spec = NGramSpec(order=5)
    return Bundle(
        spec,
        vocabulary,
        fit_model(
            spec,
            vocabulary,
            stream,
            stream,
            FitContext(folder),
        ).model,
    )


def gain(
    before: Bundle,
    after: Bundle,
    reviews: pl.DataFrame,
    folder: Path,
) -> float:
    """Return the change of open bits per byte on some reviews; negative is better."""
    bits = [
        figures_of(
            score_stream(model, stream_of(reviews, before.vocabulary, folder))
        ).open_bits_per_byte
        for model in (before, after)
    ]
    return round(bits[1] / bits[0] - 1, 4)


def measured(texts: Sequence[str], folder: Path) -> dict[str, Any]:
    """Return one row for each way of posting again."""
    reviews = {f"r{number}": text for number, text in enumerate(texts)}
    plain, _ = cleaned(reviews, folder / "plain")
    sides = {name: plain.filter(pl.col("split") == name) for name in ("train", "test")}
    vocabulary = learn_vocabulary(
        sides["train"]["text"].to_list(), VocabularySpec(size=20_000), NormalForm()
    )
    base = fitted(sides["train"], vocabulary, folder / "base")
    long = {
        name: [one for one in rows["review_id"] if len(reviews[one].split()) >= LEAST_WORDS]
        for name, rows in sides.items()
    }
    new = pl.Series([f"n{number}" for number in range(20 * REVIEWS)])
    ids = new.filter(assign(new, SPLIT) == "train").to_list()
    rows = {}
    for way, make in WAYS.items():
        draw = random.Random(SEED)
        place = folder / way.replace(" ", "_")
        chosen = draw.sample(long["test"], REVIEWS)
        made = {
            name: " ".join(
                make(reviews[own].split(), reviews[draw.choice(long["train"])].split(), draw)
            )
            for name, own in zip(ids, chosen, strict=False)
        }
        table, partly = cleaned(reviews | made, place)
        taught = fitted(
            pl.concat([sides["train"], as_clean(made, sides["train"])]),
            vocabulary,
            place / "taught",
        )
        after = fitted(table.filter(pl.col("split") == "train"), vocabulary, place / "after")
        test = table.filter(pl.col("split") == "test")
        lost = set(made) - set(table["review_id"])
        gone = set(sides["test"]["review_id"]) - set(test["review_id"])
        asked = sides["test"].filter(pl.col("review_id").is_in(chosen))
        rows[way] = {
            "found": sum(own in gone or new in lost for new, own in zip(made, chosen, strict=True)),
            "of": REVIEWS,
            "in part": len(partly & set(chosen)),
            "gain if all stay": gain(base, taught, asked, place / "s"),
            "gain on the test": gain(base, after, test, place / "s"),
            "others that leave": len(gone - set(chosen)),
        }
        say(f"{way}: {rows[way]}")

    return rows


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Run the benchmark with the options of the command line."""
    parser = arguments(
        "Passages of test reviews planted in training reviews: found, and what they are worth"
    )
    parser.add_argument(
        "--file",
        type=Path,
        required=True,
        help="a file of reviews that ReviewLM reads",
    )
    parser.add_argument("--data", type=Path, help="keep the files here")
    args = parser.parse_args(argv)
    with folder_for(args) as folder:
        ingest([args.file], folder / "input", SourceConfig())
        texts = list(
            dict.fromkeys(text for part in iter_parts(folder / "input") for text in part["text"])
        )
        rows = measured(texts, folder)

    notes = [f"File: {args.file.name}, {len(texts):,} texts.", *(__doc__ or "").split("\n\n")[2:]]
    return finish(
        args,
        Report(
            "passages",
            "Passages of test reviews in training reviews",
            rows,
            {},
            ("numba",),
            notes,
        ),
    )


if __name__ == "__main__":
    main()
