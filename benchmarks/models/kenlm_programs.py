"""Find KenLM and the reviews for the benchmarks against it, and write the command lines that fit both sides' models."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import arguments, say
from benchmarks.models.ngram_text import CRAWL, prepare

THREADS = 2
QUICK_REVIEWS = 15_000
LAVISH, LEAN = "4G", "512M"
"""Memory for sorting: the fastest fit, and the least at nearly equal CPU seconds."""


def parser(description: str, orders: Sequence[int]) -> argparse.ArgumentParser:
    """Return a parser with the options of these benchmarks: those of all, --data, --orders."""
    options = arguments(description)
    default = ",".join(map(str, orders))
    options.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("REVIEWLM_REAL_DATA"),
        help=f"folder with {CRAWL}",
    )
    options.add_argument(
        "--orders",
        type=_numbers,
        default=default,
        help=f"default {default}",
    )
    return options


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def parsed(options: argparse.ArgumentParser) -> argparse.Namespace | None:
    """Parse the command line, and find KenLM; say what is absent.

    Returns:
        The options, with `kenlm` (folder of its programs, or None) and `module` (a Python with its module, or None);
        None if there are no reviews.
    """
    args = options.parse_args()
    programs = Path(os.environ.get("REVIEWLM_KENLM_BIN", ""))
    args.kenlm = programs if (programs / "lmplz").exists() else None
    args.module = os.environ.get("REVIEWLM_KENLM_PYTHON")
    if args.data is None or not (args.data / CRAWL).exists():
        say(f"skipped: --data (or REVIEWLM_REAL_DATA) has no {CRAWL}")
        return None

    if args.kenlm is None:
        say("skipped: no lmplz in REVIEWLM_KENLM_BIN")

    if not args.module:
        say("skipped: the kenlm module; REVIEWLM_KENLM_PYTHON names no Python that has it")

    return args


def texts(args: argparse.Namespace, folder: Path) -> tuple[Path, Path]:
    """Write the reviews to a text to fit, which --quick shortens, and one that is held out; return both files."""
    return prepare(folder, args.data / CRAWL, QUICK_REVIEWS if args.quick else None)


def ours(verb: str, *options: Any) -> list[str]:
    """Return the command line of a `reviewlm models ngram` command."""
    return [
        sys.executable,
        "-m",
        "reviewlm.cli",
        "models",
        "ngram",
        verb,
        "--json",
        *map(str, options),
    ]


def our_fit(
    folder: Path,
    text: Path,
    order: int,
) -> list[str]:
    """Return the command line that fits our model of a text, and saves it."""
    return ours(
        "fit",
        "--text",
        text,
        "--order",
        order,
        "--binary",
        our_binary(folder, order),
    )


def our_binary(folder: Path, order: int) -> Path:
    """Return the path of our model."""
    return folder / str(order)


def kenlm_fit(
    programs: Path,
    folder: Path,
    text: Path,
    order: int,
    buffer: str,
    form: str | None,
) -> list[str]:
    """Return the command line of KenLM's fast way from a text to a binary model.

    Args:
        buffer: Memory for sorting (`-S`).
        form: "probing" or "trie"; None: no binary, and the ARPA output is discarded.
    """
    lmplz = _lmplz(
        programs,
        folder,
        text,
        order,
        buffer,
    )
    if form is None:
        return pipeline([*lmplz, "--arpa", "/dev/null"])

    binary = [
        programs / "build_binary",
        "-T",
        folder,
        form,
        "/dev/stdin",
        kenlm_binary(folder, order, form),
    ]
    return pipeline(lmplz, binary)


def kenlm_counts(
    programs: Path,
    folder: Path,
    text: Path,
    order: int,
    buffer: str,
) -> list[str]:
    """Return the command line of KenLM's fastest way from a text to probabilities in files, which are no model yet."""
    return pipeline(
        [
            *_lmplz(
                programs,
                folder,
                text,
                order,
                buffer,
            ),
            "--intermediate",
            folder / "kenlm",
        ]
    )


def _lmplz(
    programs: Path,
    folder: Path,
    text: Path,
    order: int,
    buffer: str,
) -> list[Any]:
    return [programs / "lmplz", "-o", order, "-S", buffer, "-T", folder, "--text", text]


def kenlm_binary(
    folder: Path,
    order: int,
    form: str = "probing",
) -> Path:
    """Return the path of a KenLM binary."""
    return folder / f"{order}.{form}"


def pipeline(*programs: list[Any]) -> list[str]:
    """Return a command line that runs programs joined by pipes, and fails if one of them fails."""
    joined = " | ".join(shlex.join(map(str, program)) for program in programs)
    return ["bash", "-c", f"set -o pipefail; {joined}"]
