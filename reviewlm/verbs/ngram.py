"""Define the commands for n-gram models of plain text, one sentence per line, like KenLM's programs.

They need no pipeline.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from reviewlm import terminal
from reviewlm.core.errors import (
    ANOTHER_PLACE,
    ConfigError,
    InputError,
    converted_errors,
    disk_errors,
)
from reviewlm.core.output import require_folder, require_output
from reviewlm.models.atomic_files import require_new
from reviewlm.models.ngram.methods import SCORES_ONLY
from reviewlm.models.ngram.methods import Smoothing as Methods
from reviewlm.options import (
    DrawSeed,
    Json,
    MaxTokens,
    Number,
    Temperature,
    TopK,
    TopP,
    WordsToSuggest,
    run_checked,
)

app = typer.Typer(
    no_args_is_help=True,
    help="Fit and use n-gram models of any text, with the same numbers as KenLM.",
)
Text = Annotated[
    Path,
    typer.Option(
        "--text",
        help="Tokenised text, one sentence per line, blanks between words; also .gz, .bz2, .xz, .zst.",
    ),
]
Model = Annotated[
    Path,
    typer.Option(
        "--model", help="An ARPA file of any toolkit, or the folder that `fit --binary` wrote."
    ),
]
Marks = Annotated[
    Literal["refuse", "skip", "unknown"],
    typer.Option(
        "--marks",
        help=(
            "<s>, </s> and <unk> in the text: 'refuse' is an error, 'skip' reads them as blanks, 'unknown' counts <unk> as "
            "the unknown word (for texts whose rare words were replaced by it, such as the Penn Treebank)."
        ),
    ),
]
Smoothing = Annotated[Methods, typer.Option("--smoothing", help="The smoothing method.")]

Order = Annotated[
    int,
    typer.Option(
        "--order",
        min=1,
        max=6,
        help="N, the longest n-gram.",
    ),
]
NewArpa = Annotated[
    Path | None,
    typer.Option(
        "--arpa", help="ARPA file to write, for any toolkit; compressed if it ends in .gz."
    ),
]
NewBinary = Annotated[
    Path | None,
    typer.Option("--binary", help="New folder in the memory-mapped format, which opens fast."),
]
Prune = Annotated[
    str,
    typer.Option(
        "--prune",
        help="Count thresholds per order, e.g. 0,0,1 (0: keep all; the last one repeats).",
    ),
]
Entropy = Annotated[
    float,
    typer.Option(
        "--entropy", min=0, help="Drop n-grams that cost less perplexity than this, e.g. 1e-7."
    ),
]
HeldOut = Annotated[
    Path | None,
    typer.Option("--held-out", help="Held-out text, for methods that choose parameters on it."),
]
Memory = Annotated[
    int,
    typer.Option(
        "--memory",
        min=0,
        help="Memory limit in MiB; the rest goes to temporary files in TMPDIR (not possible with --entropy). 0: no limit.",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="Threads that count and estimate. Default: up to four."),
]
Pad = Annotated[
    int,
    typer.Option(
        "--pad", min=0, help="Assumed size of the vocabulary, for <unk> (as KenLM's --vocab_pad)."
    ),
]
LimitVocabulary = Annotated[
    Path | None,
    typer.Option(
        "--limit-vocab",
        help="File of words: drop n-grams with other words (as --limit_vocab_file).",
    ),
]
Cluster = Annotated[
    str,
    typer.Option(
        "--cluster", metavar="ADDRESS", help="Ray cluster that counts, see `execution.cluster`."
    ),
]


@app.command()
def fit(
    text: Text,
    order: Order = 5,
    arpa: NewArpa = None,
    binary: NewBinary = None,
    prune: Prune = "",
    entropy: Entropy = 0.0,
    smoothing: Smoothing = "modified_kneser_ney",
    held_out: HeldOut = None,
    marks: Marks = "refuse",
    memory: Memory = 0,
    threads: Threads = None,
    pad: Pad = 0,
    limit_vocabulary: LimitVocabulary = None,
    cluster: Cluster = "",
    as_json: Json = False,
) -> None:
    """Estimate an n-gram model from a text file.

    \b
    Example:
      reviewlm models ngram fit --text corpus.txt --order 5 --arpa model.arpa
    """
    if arpa is None and binary is None:
        raise ConfigError(
            "No output was given", remedy="give --arpa FILE, --binary FOLDER, or both"
        )

    thresholds = tuple(_thresholds(prune))
    memory_limit = memory << 20 or None
    from reviewlm.training.ngram.lines.text_files import LineSpec, fit_text, require_texts

    engine = None  # threads
    if cluster:
        from reviewlm.tasks.execution.cluster import RayEngine

        engine = RayEngine(cluster)

    with _refusing_settings(), converted_errors():
        spec = LineSpec(
            order=order,
            smoothing=smoothing,
            prune=thresholds,
            entropy=entropy,
            padded_vocabulary=pad,
            held_out=held_out,
            limit_vocabulary=limit_vocabulary,
            marks=marks,
            memory_limit=memory_limit,
            threads=threads,
        )
        _require_apart(arpa, binary)

    _require_outputs(arpa, binary, smoothing)
    run_checked(lambda: require_texts(text, held_out, limit_vocabulary, apart_from=arpa))
    with disk_errors(arpa or binary or "", ANOTHER_PLACE), converted_errors():
        result = fit_text(
            text,
            spec,
            arpa,
            binary,
            engine,
        )

    _show_fit(
        result,
        arpa,
        binary,
        smoothing,
        as_json,
    )


@contextmanager
def _refusing_settings() -> Iterator[None]:
    """Turn an error about a setting of the model into a ConfigError."""
    try:
        yield
    except (InputError, ValueError) as error:
        raise ConfigError(f"A setting is not valid: {getattr(error, 'what', error)}") from error


def _require_apart(arpa: Path | None, binary: Path | None) -> None:
    """Raise an error if the folder of --binary exists, or is to hold the file of --arpa."""
    if binary is None:
        return

    require_new(binary)
    if arpa is None:
        return

    file = arpa.resolve()
    if binary.resolve() in (file, *file.parents):
        raise ValueError("--arpa is the folder of --binary, or in it")


def _require_outputs(
    arpa: Path | None,
    binary: Path | None,
    smoothing: Methods,
) -> None:
    """Raise an error if an output cannot be written, or the method has no probabilities for an ARPA file."""
    if arpa is not None:
        if smoothing in SCORES_ONLY:
            raise ConfigError(
                f"{smoothing} gives scores, not probabilities, as readers of ARPA take them for"
            )
        require_output(arpa, "--arpa")

    require_folder(binary.absolute().parent if binary else None, "--binary")


def _show_fit(
    result: dict[str, Any],
    arpa: Path | None,
    binary: Path | None,
    smoothing: str,
    as_json: bool,
) -> None:
    """Show the size of a fitted model by order, and where it is written."""
    terminal.show_rows(_per_order(result))
    terminal.show_facts(
        {name: value for name, value in result.items() if name not in ("ngrams", "discounts")}
    )
    if arpa is not None and smoothing == "maximum_likelihood":
        terminal.say(
            "ARPA has no probability 0: log10 p = -99 is written instead. --binary keeps the zeros."
        )

    written = {"arpa": arpa, "binary": binary}
    terminal.last_line(
        {**result, **{name: str(path) for name, path in written.items() if path}}, as_json
    )


@app.command()
def score(
    text: Text,
    model: Model,
    as_json: Json = False,
) -> None:
    """Measure a model's perplexity on a text file, with and without unknown words, like KenLM's `query`.

    \b
    Example:
      reviewlm models ngram score --model model.arpa --text test.txt
    """
    from reviewlm.training.ngram.lines.text_files import require_texts, score_text

    run_checked(lambda: require_texts(text))
    result = run_checked(lambda: score_text(model, text))
    terminal.show_result(result, as_json)


@app.command()
def suggest(
    prompt: Annotated[
        str, typer.Argument(help="The line so far, tokenised like the training text.")
    ],
    model: Model,
    k: WordsToSuggest = 5,
    as_json: Json = False,
) -> None:
    """Suggest the next words with their probabilities; a stupid back-off model ranks them by its scores.

    \b
    Example:
      reviewlm models ngram suggest "the food was" --model model.arpa
    """
    from reviewlm.training.ngram.lines.line_lm import next_words
    from reviewlm.training.ngram.lines.text_files import open_model

    opened = run_checked(lambda: open_model(model))
    words = run_checked(lambda: next_words(opened, prompt, k))
    name = "probability" if opened.normalised else "score"
    rows = [{"word": word, name: value} for word, value in words]
    terminal.show_rows(rows)
    terminal.last_line({"words": rows}, as_json)


@app.command()
def generate(
    model: Model,
    n: Number = 1,
    prompt: Annotated[str, typer.Option("--prompt", help="Beginning of each line.")] = "",
    temperature: Temperature = 1.0,
    top_k: TopK = 0,
    top_p: TopP = 1.0,
    max_tokens: MaxTokens = 100,
    seed: DrawSeed = 1,
    as_json: Json = False,
) -> None:
    """Write random lines with the model.

    \b
    Example:
      reviewlm models ngram generate --model model.arpa --n 3
    """
    from reviewlm.training.ngram.lines.line_lm import write_lines
    from reviewlm.training.ngram.lines.text_files import open_model

    opened = run_checked(lambda: open_model(model))
    lines = run_checked(
        lambda: write_lines(
            opened,
            n,
            prompt,
            temperature,
            top_k,
            top_p,
            max_tokens,
            seed,
        )
    )
    for line in lines:
        terminal.say(line)

    terminal.last_line({"lines": lines}, as_json)


def _per_order(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each order: its number of n-grams, and its discounts if the method has any."""
    none = [(None, None, None)] * len(result["ngrams"])
    orders = zip(result["ngrams"], result["discounts"] or none, strict=True)
    rows = []
    for order, (ngrams, (d1, d2, d3)) in enumerate(orders, start=1):
        rows.append(
            {
                "order": order,
                "n-grams": ngrams,
                "D1": d1,
                "D2": d2,
                "D3+": d3,
            }
        )
    return rows


def _thresholds(given: str) -> list[int]:
    """Parse the whole numbers of --prune, separated by commas."""
    try:
        return [int(part) for part in given.replace(",", " ").split()]
    except ValueError as error:
        raise ConfigError(
            "--prune must be whole numbers, separated by commas", where="--prune", value=given
        ) from error
