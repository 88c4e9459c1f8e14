"""Give the course's programs what they take: options, reviews as tokens, models that are fitted here or were before.

Without a model and a text, everything is made from the embedded grammar in seconds. Networks this small run on one
thread: more would only wait for each other (15 times the processor time was measured).
"""

from __future__ import annotations

import atexit
import sys
import tempfile
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from reviewlm.training.fit import fit_model

if TYPE_CHECKING:
    from reviewlm.models.base import LanguageModel
    from reviewlm.models.bundles.bundle import Bundle
    from reviewlm.models.neural.network import Network
    from reviewlm.models.specs import ModelSpec
    from reviewlm.models.streams import TokenStream
    from reviewlm.models.tokens.vocabulary import Vocabulary
    from reviewlm.training.context import FitResult

_work = tempfile.TemporaryDirectory(prefix="reviewlm-course-")
atexit.register(_work.cleanup)


class CourseParser(ArgumentParser):
    """Parse the options of a program, and say on standard error what it computes: the first line comes much later."""

    def parse_args(self, *args: Any, **options: Any) -> Any:
        """Return the options, after a line with the program's purpose: the first of its text."""
        given = super().parse_args(*args, **options)
        purpose = (self.description or "").partition("\n")[0]
        print(f"{purpose} The table takes some seconds to minutes.", file=sys.stderr, flush=True)
        return given


def program(doc: str | None, models: bool = False, **defaults: float | str) -> CourseParser:
    """Return the options of a program.

    Args:
        doc: Its module's text, shown by --help.
        models: Whether it reads fitted models.
        defaults: Its own options; each has the type of its default.
    """
    parser = CourseParser(description=doc, formatter_class=RawDescriptionHelpFormatter)
    for name, default in {
        "reviews": 1_000,
        "seed": 1,
        **defaults,
    }.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=type(default),
            default=default,
            help=f"({default})",
        )

    parser.add_argument(
        "--text",
        type=Path,
        help="file with one review a line; else reviews of the embedded grammar",
    )
    if models:
        parser.add_argument(
            "--model",
            nargs="*",
            default=[],
            help="versions (champion, 3, NAME@ALIAS) or folders of "
            "bundles; else a Kneser-Ney 5-gram model and an LSTM are fitted",
        )

    return parser


def review_table(
    file: Path | None,
    count: int,
    seed: int = 1,
) -> pl.DataFrame:
    """Return the first reviews of a file, whose ratings are unknown, or reviews drawn from the embedded grammar."""
    from reviewlm.corpus.synthetic.grammar import write_review
    from reviewlm.corpus.synthetic.lexicon import STARS

    if file is None:
        stars = [
            int(star) for star in Random(seed).choices(list(STARS), list(STARS.values()), k=count)
        ]
        seeds = (f"{star} {seed * 1_000_000 + number}" for number, star in enumerate(stars))
        texts = [
            write_review(star, Random(text).random)[0]
            for star, text in zip(stars, seeds, strict=True)
        ]
    else:
        lines = [line for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
        if len(lines) > count:
            print(
                f"the first {count:,} of {len(lines):,} reviews are read (--reviews)",
                file=sys.stderr,
            )
        texts = lines[:count]
        stars = [0] * min(count, len(lines))

    table = pl.DataFrame(
        {
            "review_id": [str(number) for number in range(len(texts))],
            "text": texts,
            "stars": stars,
        }
    )
    return table.with_columns(
        pl.col("stars").cast(pl.Int8), bytes=pl.col("text").str.len_bytes().cast(pl.Int64) + 1
    )


def learnt_and_held_out(options: Namespace) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the reviews that models fitted here learn from (--reviews), and as many others; end if there are none."""
    table = review_table(options.text, 2 * options.reviews, options.seed)
    if len(table) <= options.reviews:
        sys.exit(
            f"{options.text} has {len(table):,} reviews; the first {options.reviews:,} (--reviews) are learnt "
            f"from, so none is left to measure on: --reviews {len(table) // 2} takes half of them"
        )
    return table[: options.reviews], table[options.reviews :]


class SplitReviews(NamedTuple):
    """Reviews in three parts, 80, 10 and 10 %, as tokens of a vocabulary of the first."""

    vocabulary: Vocabulary
    train: TokenStream
    validation: TokenStream
    test: TokenStream


def data_of(options: Namespace) -> SplitReviews:
    """Return the reviews that the options name."""
    from reviewlm.models.specs import VocabularySpec
    from reviewlm.models.text.normal_form import NormalForm
    from reviewlm.training.vocabularies.learn import learn_vocabulary

    table = review_table(options.text, options.reviews, options.seed)
    ends = [len(table) * share // 10 for share in (0, 8, 9, 10)]
    parts = [table[first:last] for first, last in pairwise(ends)]
    normal = NormalForm()
    spec = VocabularySpec(size=10_000, min_count=2)
    vocabulary = learn_vocabulary([normal.apply(text) for text in parts[0]["text"]], spec, normal)
    return SplitReviews(vocabulary, *(stream_of(vocabulary, part) for part in parts))


def stream_of(vocabulary: Vocabulary, table: pl.DataFrame) -> TokenStream:
    """Return reviews as tokens; the files are removed when the program ends."""
    from reviewlm.models.streams import TokenStream, write_stream

    folder = tempfile.mkdtemp(dir=_work.name)
    texts = pl.Series(
        [vocabulary.normal_form.apply(text) for text in table["text"]], dtype=pl.String
    )
    write_stream(folder, vocabulary, [table.with_columns(text=texts)])
    return TokenStream.open(folder)


def fit_model_here(spec: ModelSpec, data: SplitReviews) -> FitResult:
    """Fit a model on one thread; the trainer is that of the pipeline."""
    from reviewlm.training.context import FitContext

    context = FitContext(Path(tempfile.mkdtemp(dir=_work.name)))
    result: FitResult = fit_model(
        spec,
        data.vocabulary,
        data.train,
        data.validation,
        context,
    )
    return result


def small_lstm(seed: int = 1, **options: Any) -> Any:
    """Return the options of an LSTM that learns a thousand reviews in some ten seconds."""
    from reviewlm.models.specs import RecurrentSpec, TrainingSpec

    training = TrainingSpec(
        epochs=4,
        batch=16,
        bptt_len=35,
        learning_rate=1e-2,
        precision="float32",
        seed=seed,
    )
    return RecurrentSpec(
        **{
            "hidden": 96,
            "embedding": 64,
            "dropout": 0.1,
            "training": training,
            **options,
        }
    )


def open_models(options: Namespace) -> tuple[dict[str, Bundle], SplitReviews | None]:
    """Return the models that the options name, or two that are fitted here, with the data of these.

    From here on torch has one thread: context_use took twice the processor time with two.
    """
    import torch

    import reviewlm
    from reviewlm.models.bundles.bundle import Bundle
    from reviewlm.models.specs import NGramSpec

    torch.set_num_threads(1)
    if options.model:
        return {
            name: reviewlm.load(Path(name) if Path(name).is_dir() else name).bundle
            for name in options.model
        }, None

    data = data_of(options)
    specs = {"kn5": NGramSpec(order=5), "lstm": small_lstm(options.seed)}
    models = {name: fit_model_here(spec, data).model for name, spec in specs.items()}
    return {
        name: Bundle(specs[name], data.vocabulary, model) for name, model in models.items()
    }, data


def held_out(
    options: Namespace,
    bundle: Bundle,
    data: SplitReviews | None,
) -> TokenStream:
    """Return the reviews on which a model is measured: the test part, or those of the options in its vocabulary."""
    if data is not None:
        return data.test
    return stream_of(
        bundle.vocabulary, review_table(options.text, options.reviews, options.seed + 1)
    )


def networks(
    name: str,
    spec: Any,
    model: LanguageModel,
) -> Iterator[tuple[str, Any, Network]]:
    """Yield name, options and network of a neural model, or of those that a mixture or cache is made of."""
    if hasattr(model, "network"):
        yield name, spec, model.network
    for part in getattr(model, "parts", ()):
        yield from networks(f"{part.name} of {name}", part.spec, part.model)


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as a table: text on the left, numbers on the right with four digits."""
    cells = []
    if rows:
        cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]

    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = []
    for name in rows[0] if rows else ():
        right.append(all(isinstance(row[name], int | float) for row in rows))

    for line in cells:
        print("  ".join(_align(line, widths, right)).rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _align(
    line: Sequence[str],
    widths: Sequence[int],
    right: Sequence[bool],
) -> Iterable[str]:
    return (
        cell.rjust(n) if number else cell.ljust(n)
        for cell, n, number in zip(line, widths, right, strict=True)
    )
