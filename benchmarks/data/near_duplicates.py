"""Measure the search for near-duplicates, compared with rensa, datasketch and datatrove.

    python -m benchmarks.data.near_duplicates [--quick] [--json] [--write] [--reviews 100000] [--file FILE]

The task is the same for all: in a file of different texts, name those that have a near-duplicate, by word shingles,
with the project's default settings. The peers get the same bands of MinHash values, so candidates are equally probable.
They read the texts in word form, which ours still has to make. All get two threads or processes; rensa and datasketch
can use only one core for the way from Python's texts into signatures.

One text in fifty is planted: a copy of another one in which some words were changed. *truth* is the number of texts
with a partner of at least the least Jaccard similarity, found without hashing: two such sets share one of the rarest
shingles of each (prefix filter; Bayardo, Ma and Srikant 2007, section 3). *recall* is the share of these texts that is
named; *false* is the number of texts that are named without such a partner. Ours compares candidates exactly, so it
names no such text; the peers name candidates.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl

from benchmarks.data import duplicate_peers as peers
from benchmarks.data.ingest import folder_for
from benchmarks.harness import (
    Ratio,
    Report,
    arguments,
    available,
    finish,
    interleave,
    ratio,
    say,
    summary,
)
from reviewlm.core.config.sections.data import DuplicatesConfig
from reviewlm.corpus.duplicates.minhash import Bands
from reviewlm.corpus.duplicates.near import NearDuplicates
from reviewlm.corpus.duplicates.shingles import word_form
from reviewlm.corpus.synthetic.synth import write_reviews

THREADS = 2
REVIEWS = 100_000
QUICK_REVIEWS = 5_000
SEED, EVERY, MOST_CHANGED = 1, 50, 0.12
"""One text in `EVERY` is a copy in which up to this share of the words is changed: similarities from about 0.5 to 1."""
BATCH = 20_000
GOAL = 1.0
CONFIG = DuplicatesConfig()


def ours(file: Path, folder: Path) -> list[int]:
    """Run the pipeline's search; return the numbers of the texts that have a near-duplicate."""
    search = NearDuplicates(folder / "near", CONFIG, THREADS)
    texts = list(peers.texts_of(file))
    starts = range(0, len(texts), BATCH)
    search.add(
        (
            np.arange(start, min(start + BATCH, len(texts)), dtype=np.uint64),
            pl.Series(texts[start : start + BATCH]),
        )
        for start in starts
    )
    found = search.pairs()
    return np.unique(found.select("a", "b").to_numpy()).astype(int).tolist()


def write_texts(
    folder: Path,
    reviews: int,
    file: Path | None,
) -> tuple[Path, Path]:
    """Write different texts, some of them planted, as they are and in word form; return both files."""
    if file is None:
        file = folder / "reviews.jsonl"
        write_reviews(
            file,
            reviews,
            SEED,
            0.0,
            0.0,
        )

    texts = planted([text for text, _ in zip(peers.texts_of(file), range(reviews), strict=False)])
    table = pl.DataFrame({"text": texts}).with_columns(form=word_form(pl.Series(texts)))
    # Shorter ones never count.
    table = table.filter(pl.col("form").str.count_matches(" ") + 1 >= CONFIG.shingle + 2)
    table = table.unique("form", keep="first", maintain_order=True)
    raw = folder / "texts.jsonl"
    formed = folder / "forms.jsonl"
    for path, column in ((raw, "text"), (formed, "form")):
        path.write_bytes(b"".join(orjson.dumps({"text": text}) + b"\n" for text in table[column]))

    return raw, formed


def planted(texts: list[str]) -> list[str]:
    """Return the texts; each `EVERY`th is a copy of the one before it, with some words changed for words of others."""
    draw = random.Random(SEED)
    for number in range(EVERY, len(texts), EVERY):
        words = texts[number - 1].split(" ")
        changes = draw.randint(1, max(1, int(MOST_CHANGED * len(words))))
        for place in draw.sample(range(len(words)), min(changes, len(words))):
            words[place] = draw.choice(texts[draw.randrange(len(texts))].split(" "))
        texts[number] = " ".join(words)
    return texts


def true_texts(
    formed: Path,
    least: float,
    size: int,
) -> set[int]:
    """Return the numbers of the texts that have a partner of at least this Jaccard similarity, by a prefix filter."""
    sets = [frozenset(peers.shingles(text, size)) for text in peers.texts_of(formed)]
    counts = Counter(shingle for each in sets for shingle in each)
    met = defaultdict[str, list[int]](list)
    true: set[int] = set()
    for number, each in enumerate(sets):
        prefix = sorted(each, key=lambda shingle: (counts[shingle], shingle))[
            : len(each) - ceil(least * len(each)) + 1
        ]
        for other in {one for shingle in prefix if counts[shingle] > 1 for one in met[shingle]}:
            common = len(each & sets[other])
            if common >= least * (len(each) + len(sets[other]) - common):
                true |= {number, other}
        for shingle in prefix:
            if counts[shingle] > 1:
                met[shingle].append(number)

    return true


def contenders(
    raw: Path,
    formed: Path,
    folder: Path,
) -> Iterator[tuple[str, Any]]:
    """Yield the names and functions of the contenders whose libraries are installed."""
    bands = Bands.of(CONFIG)
    yield "ours", partial(ours, raw, folder)
    same = formed, bands, CONFIG.similarity, CONFIG.shingle
    if available("rensa"):
        yield "rensa", partial(peers.rensa, *same)
    if available("datasketch", "xxhash"):
        yield "datasketch", partial(peers.datasketch, *same)
    if available("datatrove", "xxhash"):
        yield "datatrove", partial(peers.datatrove, *same, folder / "datatrove", THREADS)


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Run the benchmark with the options of the command line."""
    parser = arguments("Near-duplicates: ours beside rensa, datasketch and datatrove")
    parser.add_argument(
        "--reviews", type=int, help=f"texts ({REVIEWS:,}; --quick: {QUICK_REVIEWS:,})"
    )
    parser.add_argument(
        "--file", type=Path, help="JSON lines with the field text, instead of synthetic reviews"
    )
    parser.add_argument("--data", type=Path, help="keep the files here")
    args = parser.parse_args(argv)
    with folder_for(args) as folder:
        raw, formed = write_texts(
            folder, args.reviews or (QUICK_REVIEWS if args.quick else REVIEWS), args.file
        )
        say("looking for the truth")
        true = true_texts(formed, CONFIG.similarity, CONFIG.shingle)
        texts = sum(1 for _ in peers.texts_of(formed))
        runs = interleave(dict(contenders(raw, formed, folder)), THREADS, args.repeats)

    measured = summary(runs)
    for name, row in measured.items():
        named = set(runs[name][-1].result)
        row |= {
            "named": len(named),
            "recall": round(len(named & true) / max(1, len(true)), 4),
            "false": len(named - true),
            "CPU µs a text": round(1e6 * row["cpu_s"] / texts, 1),
        }

    ratios: dict[str, Ratio] = {}
    for name in ("rensa", "datasketch", "datatrove"):
        if name in runs:
            ratios |= {
                f"near_duplicates.{name}": ratio(runs, "ours", name, GOAL),
                f"near_duplicates.{name}.cpu": ratio(
                    runs,
                    "ours",
                    name,
                    None,
                    "cpu",
                ),
                f"near_duplicates.{name}.memory": ratio(
                    runs,
                    "ours",
                    name,
                    None,
                    "peak_mib",
                ),
            }

    bands = Bands.of(CONFIG)
    facts = {
        "number": texts,
        "truth": len(true),
        "similarity": CONFIG.similarity,
        "shingle": CONFIG.shingle,
        "bands": bands.count,
        "rows": bands.rows,
    }
    return finish(
        args,
        Report(
            "near_duplicates",
            "Near-duplicates among different texts",
            {**measured, "texts": facts},
            ratios,
            ("numpy", "numba", "rensa", "datasketch", "datatrove"),
            notes=(__doc__ or "").split("\n\n")[2:],
        ),
    )


if __name__ == "__main__":
    main()
