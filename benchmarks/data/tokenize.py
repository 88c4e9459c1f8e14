"""Measure text → memory-mapped ids against the bare `tokenizers` package, and the memory to learn a vocabulary.

    python -m benchmarks.data.tokenize [--quick] [--json] [--write] [--text FILE.parquet]

The text follows Zipf's law over made-up words, or is the column `text` of the user's file. 18 MB of real reviews have
57,000 distinct pieces; made-up reviews of 60,000 words have more, and the text to learn from has many more.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from benchmarks.harness import (
    Ratio,
    Report,
    arguments,
    finish,
    interleave,
    measure,
    ratio,
    say,
    summary,
)
from reviewlm.models.specs import VocabularySpec
from reviewlm.models.streams import write_stream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.models.tokens.words import FIRST, PATTERN
from reviewlm.training.vocabularies.learn import learn_vocabulary

SIZES = {
    "word": 20_000,
    "char": 400,
    "bpe": 8_000,
    "unigram": 8_000,
}
THREADS = 2
BATCH = 10_000
LIMIT_MIB = 1024
WORDS = 60_000
MANY_WORDS = 2_000_000
SYLLABLES = [
    first + vowel + last
    for first in "bcdfghklmnprstw"
    for vowel in "aeiou"
    for last in ("", "n", "r", "st")
]


def make_text(
    path: Path,
    megabytes: int,
    size: int = WORDS,
) -> None:
    """Write reviews of about 100 words, punctuation and capitals; word rank r has probability ∝ log((r + 1) / r)."""
    rng = np.random.default_rng(1)
    draws = rng.integers(len(SYLLABLES), size=(size, 4))
    lengths = np.minimum(1 + np.log10(np.arange(1, size + 1)) / 2 + rng.random(size), 4).astype(int)
    words = pl.Series(
        [
            "".join(SYLLABLES[i] for i in row[:n])
            for row, n in zip(draws.tolist(), lengths, strict=True)
        ]
    )
    words = pl.concat([words, words.str.to_titlecase()])
    ends = pl.Series([" ", ", ", ". ", "! ", ".\n\n", " (", "'s "])
    writer = None
    written = 0
    number = 0
    while written < megabytes * 1_000_000:
        rank = np.exp(rng.random(100 * BATCH) * np.log(size)).astype(np.int64)
        capital = size * (rng.random(len(rank)) < 0.1)
        end = rng.choice(len(ends), len(rank), p=[0.82, 0.06, 0.06, 0.01, 0.02, 0.01, 0.02])
        frame = (
            pl.DataFrame(
                {
                    "row": np.repeat(np.arange(number, number + BATCH), 100),
                    "text": words.gather(rank + capital) + ends.gather(end),
                }
            )
            .group_by("row", maintain_order=True)
            .agg(pl.col("text").str.join())
        )
        table = frame.select(
            pl.col("text").str.strip_chars(),
            review_id=pl.col("row").cast(pl.String),
            stars=pl.lit(3, pl.Int8),
            bytes=pl.col("text").str.len_bytes(),
            words=pl.lit(100, pl.Int32),
        ).to_arrow(compat_level=pl.CompatLevel.oldest())
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
        written = written + int(frame["text"].str.len_bytes().sum())
        number = number + BATCH

    if writer:
        writer.close()


def batches(path: Path) -> Iterator[pl.DataFrame]:
    """Yield the reviews of a file, as `reviewlm.corpus.splitting.split.iter_split` does."""
    # Pre-buffering would keep the whole file in memory.
    with pq.ParquetFile(path, pre_buffer=False) as file:
        for batch in file.iter_batches(BATCH):
            yield pl.DataFrame(pl.from_arrow(batch))


def ours(text: Path, vocabulary: Path) -> dict[str, Any]:
    """Write a stream: ids on the disk, checksums, a row of facts per review."""
    with tempfile.TemporaryDirectory(dir=text.parent) as folder:
        facts = write_stream(folder, Vocabulary.load(vocabulary), batches(text), whole=False)
        return {"tokens": facts["tokens"] - facts["documents"]}


def bare(text: Path, tokenizer: Path) -> dict[str, Any]:
    """Encode the text and discard the ids."""
    encoder = Tokenizer.from_file(str(tokenizer))
    tokens = 0
    for batch in batches(text):
        tokens += sum(
            map(len, encoder.encode_batch_fast(batch["text"].to_list(), add_special_tokens=False))
        )
    return {"tokens": tokens}


def learn(
    text: Path,
    unit: str,
    file: Path | None = None,
) -> dict[str, Any]:
    """Learn a vocabulary from the whole file, and save it if *file* is given."""
    texts = (one for batch in batches(text) for one in batch["text"].to_list())
    vocabulary = learn_vocabulary(texts, VocabularySpec(unit=unit, size=SIZES[unit]), NormalForm())  # type: ignore[arg-type]
    if file:
        vocabulary.save(file)
    return dict(vocabulary.facts)


def peer_of(vocabulary: Vocabulary) -> Tokenizer:
    """Return the package's own tokenizer with the same vocabulary and the same pre-tokenization."""
    values = json.loads(vocabulary.to_json())["unit"]
    if vocabulary.unit in ("bpe", "unigram"):
        return Tokenizer.from_str(json.dumps(values["tokenizer"]))

    names = {vocabulary.token(i): i for i in range(FIRST, vocabulary.size)}
    if vocabulary.unit == "char":
        return Tokenizer(
            models.BPE(
                vocab=names,
                merges=[],
                byte_fallback=True,
                fuse_unk=False,
            )
        )

    peer = Tokenizer(models.WordLevel({"<unk>": 0, **names}, unk_token="<unk>"))
    straight = [normalizers.Replace(Regex("[‘’]"), "'"), normalizers.Replace(Regex("[“”]"), '"')]
    peer.normalizer = normalizers.Sequence([*straight, normalizers.Lowercase()])
    peer.pre_tokenizer = pre_tokenizers.Split(Regex(PATTERN), "removed", invert=True)
    return peer


def encoding(
    folder: Path,
    text: Path,
    sample: Path,
    repeats: int,
) -> tuple[dict[str, Any], dict[str, Ratio]]:
    """Measure every unit against its peer, with a vocabulary learned from the sample."""
    measurements: dict[str, Any] = {}
    ratios: dict[str, Ratio] = {}
    for unit in SIZES:
        file = folder / f"{unit}.json"
        learn(sample, unit, file)
        peer_of(Vocabulary.load(file)).save(str(folder / f"{unit}.peer.json"))
        pair = {
            unit: partial(ours, text, file),
            f"{unit}, bare": partial(bare, text, folder / f"{unit}.peer.json"),
        }
        runs = interleave(pair, THREADS, repeats)
        tokens = {run.result["tokens"] for of_name in runs.values() for run in of_name}
        if len(tokens) > 1:
            raise SystemExit(f"{unit}: the contenders found {tokens} tokens")
        measurements |= summary(runs)
        ratios[f"tokenize.bare.{unit}"] = ratio(runs, unit, f"{unit}, bare", 0.9)

    least = min(ratios.values(), key=lambda one: one.value)
    return measurements, {"tokenize.bare": least, **ratios}


def memory(text: Path) -> tuple[dict[str, Any], dict[str, Ratio]]:
    """Measure the peak memory of learning each vocabulary."""
    measurements: dict[str, Any] = {}
    ratios: dict[str, Ratio] = {}
    for unit in SIZES:
        run = measure(partial(learn, text, unit), THREADS)
        say(f"learn {unit}: {run.wall:.1f} s, {run.peak_mib:.0f} MiB")
        measurements |= summary({f"learn {unit}": [run]})
        ratios[f"tokenize.memory.{unit}"] = Ratio(
            round(LIMIT_MIB / run.peak_mib, 3), 1.0, f"{LIMIT_MIB} MiB"
        )

    return measurements, ratios


def main() -> None:
    """Run the benchmark and report."""
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--text", type=Path, help="a Parquet file of one's own with review_id, text, stars, bytes"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sample = folder / "sample.parquet"
        text = args.text or folder / "text.parquet"
        large = folder / "large.parquet"
        megabytes = {
            sample: 10,
            text: 10 if args.quick else 100,
            large: 8 if args.quick else 1_000,
        }
        for path, size in megabytes.items():
            if path != args.text:
                make_text(path, size, MANY_WORDS if path == large else WORDS)
        measurements, ratios = encoding(folder, text, sample, args.repeats)
        text.unlink() if text != args.text else None
        found, more = memory(large)
        measurements["text"] = str(args.text or f"{megabytes[text]} MB, Zipf over {WORDS:,} words")
        measurements["learned from"] = f"{megabytes[large]} MB, Zipf over {MANY_WORDS:,} words"
        notes = (
            "Ours writes the stream (ids, offsets, a row per review, checksums); bare encodes and throws away. "
            "Both read the same batches of the same file, and find the same number of tokens.",
            "tokenize.bare is the least of the units. Memory is that of the whole process.",
        )
        finish(
            args,
            Report(
                "tokenize",
                "Text to ids",
                measurements | found,
                ratios | more,
                ("tokenizers", "polars", "numpy"),
                notes,
            ),
        )


if __name__ == "__main__":
    main()
