"""Compare our n-gram models with KenLM's `lmplz` and `query`, n-gram by n-gram and word by word.

    REVIEWLM_KENLM_BIN=FOLDER python -m benchmarks.models.ngram_parity --reviews reviews.jsonl.gz --folder texts --write

FOLDER is the folder of KenLM's programs. The reviews become `texts/train.txt` and `texts/held_out.txt` (every tenth),
one review per line, in lower case, with words and signs separated; `--train` and `--held-out` take other texts.
"""

from __future__ import annotations

import html
import json
import math
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.harness import Report, arguments, finish, say
from reviewlm.training.ngram.arpa_reader import read_arpa
from reviewlm.training.ngram.lines.line_lm import LineLM
from reviewlm.training.ngram.lines.text_files import LineSpec, fit_text, score_text

BIN = "REVIEWLM_KENLM_BIN"
TOKEN = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|[^\w\s]|_")
PRUNING: dict[str, tuple[int, ...]] = {
    "": (),
    "0 0 1": (0, 0, 1),
    "0 1 2": (0, 1, 2),
    "1 1 2": (1, 1, 2),
}
LN10 = math.log(10)
NOTES = (
    "The max Δ are the greatest differences of a log10 probability and of a log10 back-off weight between the model "
    "that we estimate and the ARPA file of `lmplz`, over all n-grams of all orders; `same`: the n-grams are the same. "
    "Numbers in both files are float32, printed with six or seven digits.",
    "The perplexities are those of the held-out text: ours of our ARPA file by our program, theirs of their ARPA file "
    "by `query`; Δ is relative.",
)


def write_texts(reviews: Path, folder: Path) -> tuple[Path, Path]:
    """Write the training and the held-out text of a file of reviews (JSON lines or CSV with a column `text`)."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "train.txt", folder / "held_out.txt"
    with (
        paths[0].open("w", encoding="utf-8") as train,
        paths[1].open("w", encoding="utf-8") as held_out,
    ):
        for number, text in enumerate(_texts(reviews), start=1):
            # Some crawls have HTML entities, some of them escaped twice.
            plain = html.unescape(html.unescape(text))
            line = " ".join(TOKEN.findall(plain.lower()))
            (train if number % 10 else held_out).write(line + "\n")

    return paths


def _texts(reviews: Path) -> Iterator[str]:
    if ".csv" in reviews.name:
        table = pl.read_csv(reviews, columns=["text"])
    else:
        table = pl.read_ndjson(reviews, schema={"text": pl.String})
    yield from table["text"].drop_nulls()


def compare(
    train: Path,
    held_out: Path,
    order: int,
    prune: str,
    programs: Path,
) -> dict[str, Any]:
    """Estimate one model with both programs, score the held-out text with both, and return the differences."""
    with tempfile.TemporaryDirectory() as folder:
        arpa, theirs, binary = (
            Path(folder) / name for name in ("ours.arpa", "theirs.arpa", "theirs.bin")
        )
        fitted = fit_text(
            train,
            LineSpec(
                order=order,
                prune=PRUNING[prune][:order],
                marks="skip",
            ),
            arpa=arpa,
        )
        thresholds = ["--prune", *map(str, PRUNING[prune][:order])] if prune else []
        command = [
            programs / "lmplz",
            "-o",
            order,
            "--text",
            train,
            "--arpa",
            theirs,
            "--skip_symbols",
            "-S",
            "1G",
        ]
        _run([*command, "-T", folder, *thresholds])
        _run([programs / "build_binary", "trie", theirs, binary])
        query = _query([programs / "query", binary], held_out)
        score = score_text(arpa, held_out)
        greatest, same = _difference(arpa, theirs)

    with_oov = query["Perplexity including OOVs"]
    without = query["Perplexity excluding OOVs"]
    return {
        "order": order,
        "prune": prune or "none",
        "n-grams": sum(fitted["ngrams"]),
        "same": "yes" if same else "no",
        "max Δ log10 p": float(f"{greatest[0]:.2g}"),
        "max Δ back-off": float(f"{greatest[1]:.2g}"),
        "perplexity": round(score["perplexity"], 5),
        "query": with_oov,
        "relative Δ": float(f"{abs(score['perplexity'] / with_oov - 1):.1g}"),
        "without OOV": round(score["perplexity_without_oov"], 5),
        "query, without OOV": without,
        "relative Δ, without OOV": float(
            f"{abs(score['perplexity_without_oov'] / without - 1):.1g}"
        ),
        "OOV": score["oov"],
        "OOV of query": int(query["OOVs"]),
        "tokens": score["tokens"],
    }


def _difference(ours: Path, theirs: Path) -> tuple[tuple[float, float], bool]:
    """Return the greatest |Δ log10 p| and |Δ log10 back-off|, and whether the n-grams are the same."""
    first, second = (LineLM(*read_arpa(path)) for path in (ours, theirs))
    if first.words != second.words or len(first.tables.followers) != len(second.tables.followers):
        return (math.inf, math.inf), False

    orders = zip(first.tables.followers, second.tables.followers, strict=True)
    same = all(
        np.array_equal(a.word_M, b.word_M) and np.array_equal(a.first_C, b.first_C)
        for a, b in orders
    )
    if not same:
        return (math.inf, math.inf), False

    a = first.tables
    b = second.tables
    return (_greatest(a.logp, b.logp), _greatest(a.backoff, b.backoff)), True


def _greatest(ours: tuple[np.ndarray, ...], theirs: tuple[np.ndarray, ...]) -> float:
    differences = [0.0]
    for a, b in zip(ours, theirs, strict=True):
        finite = np.isfinite(a) & np.isfinite(b)
        assert np.array_equal(np.isfinite(a), np.isfinite(b))
        differences.append(float(np.abs(a[finite] - b[finite]).max(initial=0.0)) / LN10)
    return max(differences)


def _query(command: list[Any], held_out: Path) -> dict[str, float]:
    lines = _run([*command, "-v", "summary"], held_out).splitlines()
    return {
        label: float(value)
        for label, _, value in (line.partition(":") for line in lines)
        if value.strip()
    }


def _run(command: list[Any], text: Path | None = None) -> str:
    with (text or Path(os.devnull)).open("rb") as stdin:
        done = subprocess.run(
            [str(part) for part in command],
            stdin=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    if done.returncode:
        raise SystemExit(f"{command[0]} ended with {done.returncode}: {done.stderr[-2000:]}")

    return done.stdout


def main() -> None:
    """Compare orders 2 to 5, unpruned and pruned."""
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--reviews", type=Path, help="JSON lines or CSV with a column `text`, also packed"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("texts"),
        help="where the texts of the reviews go",
    )
    parser.add_argument("--train", type=Path, help="training text, one sentence a line")
    parser.add_argument("--held-out", type=Path, help="held-out text")
    parser.add_argument("--orders", default="2,3,4,5")
    args = parser.parse_args()
    if args.reviews is None and (args.train is None or args.held_out is None):
        parser.error("give --reviews, or --train and --held-out")

    train, held_out = (
        (args.train, args.held_out) if args.train else write_texts(args.reviews, args.folder)
    )
    programs = Path(os.environ.get(BIN, ""))
    if not (programs / "lmplz").is_file():
        say(
            f"skipped: {BIN} names no folder with KenLM's lmplz, query and build_binary; texts: {train}, {held_out}"
        )
        finish(args, Report("ngram_parity", "Parity with KenLM", {}, {}))
        return

    rows: dict[str, Any] = {}
    for order in map(int, args.orders.split(",")):
        for prune in list(PRUNING)[: 2 if args.quick else None]:
            if prune and len(PRUNING[prune][:order]) == order == 2 and prune == "0 0 1":
                continue  # the same as unpruned
            name = f"order {order}, {f'--prune {prune}' if prune else 'unpruned'}"
            rows[name] = compare(
                train,
                held_out,
                order,
                prune,
                programs,
            )
            say(f"{name}: {json.dumps(rows[name])}")

    finish(
        args,
        Report(
            "ngram_parity",
            "Parity with KenLM",
            rows,
            {},
            ("numpy", "polars"),
            NOTES,
        ),
    )


if __name__ == "__main__":
    main()
