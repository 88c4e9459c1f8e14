"""Measure speed and memory of fitting and querying n-gram models, compared with KenLM's programs.

    REVIEWLM_KENLM_BIN=…/kenlm/build/bin python -m benchmarks.models.ngram [--quick] [--spill] [--json] [--write]
        [--data FOLDER] [--orders 3,4,5]

Text: full-length reviews of the crawl in `--data` (or REVIEWLM_REAL_DATA), in lower case, one per line; every sixth is
held out. All measured runs are whole processes from files to files, including start and imports:

    fit_speed      `reviewlm models ngram fit --binary` against `lmplz | build_binary`, the fastest way to KenLM's
                   probing binary (a pipe; writing the ARPA file in between takes longer); lmplz sorts in memory (-S 4G)
    fit_speed_lean the same against lmplz with a buffer of 512 MiB, its smallest memory at nearly equal CPU seconds (2%
                   more than with 4 GiB; 256 MiB takes 12% more)
    fit_memory     the peak against that of lmplz alone with 512 MiB, without writing its ARPA: its leanest way
    score_query    `reviewlm models ngram score` against `query` with the probing binary; both load, read text, add up
    score_module   the same against Python's `kenlm` module, line by line (REVIEWLM_KENLM_PYTHON is a Python with it);
                   one library call for each sentence on both sides: `benchmarks/models/ngram_sentences.py`

All peaks are resident memory of the process with its children. Perplexities are compared: a fit that disagrees with
KenLM's stops the benchmark. Sizes of the files, seconds to open them and microseconds per token are in separate rows
(`benchmarks/models/ngram_sizes.py`).

--long 50000000 scores that many tokens, too, so that the start of the programs does not decide; the text is made from
the held-out reviews as that of --spill from the others.

--spill fits 100 million tokens to order 5 within 4 GiB (2 million within 512 MiB with --quick; --spill-tokens and
--spill-order choose others), with the command `reviewlm models ngram fit --memory`. That text is copied from the
reviews, with jumps and new words (`ngram_text.more`), so that the number of different n-grams keeps growing as in real
text. Beside it, `lmplz` with three quarters of that memory for sorting writes its binary intermediate files
(`--intermediate`): its fastest way, a quarter less than with the ARPA output discarded. They are no model yet, ours is.

Ways of counting 16 million tokens to order 5 on one core: 13.7 CPU seconds if the keys of every order are sorted
separately, 6 if all windows are sorted once. On AMD's Zen 4 numpy sorts five times slower with AVX-512 than with AVX2
(58 and 12 ms per million; polars 35): with NPY_DISABLE_CPU_FEATURES="AVX512_ICL AVX512_SKX X86_V4" counting takes 4.3
seconds.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness import Ratio, Report, Run, finish, interleave, measure, ratio, say, summary
from benchmarks.models.kenlm_programs import (
    LAVISH,
    LEAN,
    THREADS,
    kenlm_binary,
    kenlm_counts,
    kenlm_fit,
    our_binary,
    our_fit,
    ours,
    parsed,
    parser,
    texts,
)
from benchmarks.models.ngram_sizes import ours_in_double, sizes
from benchmarks.models.ngram_text import more

GOALS = {
    "fit_speed": 1.5,
    "fit_speed_lean": 1.5,
    "fit_memory": 0.667,
    "score_query": 1.5,
    "score_module": 1.0,
    "score_query_long": 1.5,
    "score_module_long": 1.0,
}
SPILL = {False: (100_000_000, 4 << 30), True: (2_000_000, 512 << 20)}
AGREES = 1e-5
MODULE = """
import sys, kenlm
model, nats = kenlm.Model(sys.argv[1]), 0.0
for line in open(sys.argv[2], encoding="utf-8"):
    nats += model.score(line)
print(nats)
"""


def fits(
    args: argparse.Namespace,
    folder: Path,
    train: Path,
    order: int,
) -> tuple[dict[str, Any], dict[str, Ratio]]:
    """Measure the fit of one order."""
    kenlm = partial(
        kenlm_fit,
        args.kenlm,
        folder,
        train,
        order,
    )
    runs = interleave(
        {
            f"fit {order}": our_fit(folder, train, order),
            f"lmplz -S {LAVISH} | build_binary {order}": kenlm(LAVISH, "probing"),
            f"lmplz -S {LEAN} | build_binary {order}": kenlm(LEAN, "probing"),
            f"lmplz -S {LEAN} {order}": kenlm(LEAN, None),
        },
        THREADS,
        args.repeats,
    )
    mine, lavish, lean, alone = runs
    ratios = {
        f"ngram.fit_speed.{order}": ratio(runs, mine, lavish, GOALS["fit_speed"]),
        f"ngram.fit_speed_lean.{order}": ratio(runs, mine, lean, GOALS["fit_speed_lean"]),
        f"ngram.fit_cpu.{order}": ratio(
            runs,
            mine,
            lavish,
            None,
            "cpu",
        ),
        f"ngram.fit_memory.{order}": ratio(
            runs,
            mine,
            alone,
            GOALS["fit_memory"],
            "peak_mib",
        ),
        f"ngram.lavish_memory.{order}": ratio(
            runs,
            mine,
            lavish,
            None,
            "peak_mib",
        ),
    }
    return summary(
        {name: [without_output(run) for run in of_name] for name, of_name in runs.items()}
    ), ratios


def without_output(run: Run) -> Run:
    """Return a run without its standard output."""
    return Run(run.wall, run.cpu, run.peak_mib, run.base_mib)


def scores(
    args: argparse.Namespace,
    folder: Path,
    text: Path,
    order: int,
    long: bool = False,
) -> tuple[dict[str, Any], dict[str, Ratio]]:
    """Measure scoring a text with the models that `fits` wrote, and compare the perplexities; *long*: `--long`."""
    score, asked, module = (
        f"{name}{' long' * long} {order}" for name in ("score", "query", "module")
    )
    kind = "_long" * long
    query = shlex.join(
        [str(args.kenlm / "query"), "-v", "summary", str(kenlm_binary(folder, order))]
    )
    contenders = {
        score: ours(
            "score",
            "--text",
            text,
            "--model",
            our_binary(folder, order),
        ),
        asked: ["bash", "-c", f"{query} < {shlex.quote(str(text))}"],
    }
    if args.module:
        contenders[module] = [
            args.module,
            "-c",
            MODULE,
            str(kenlm_binary(folder, order)),
            str(text),
        ]

    runs = interleave(contenders, THREADS, args.repeats)
    mine = json.loads(runs[score][-1].result.splitlines()[-1])["perplexity"]
    found = re.search(r"Perplexity including OOVs:\s*(\S+)", runs[asked][-1].result)
    theirs = float(found[1]) if found else float("nan")
    say(f"perplexity {mine:.6f}, KenLM {theirs:.6f}")
    if not abs(mine / theirs - 1) < AGREES:
        raise SystemExit(f"order {order}: perplexity {mine}, KenLM's {theirs}")

    ratios = {f"ngram.score_query{kind}.{order}": ratio(runs, score, asked, GOALS["score_query"])}
    if args.module:
        ratios[f"ngram.score_module{kind}.{order}"] = ratio(
            runs, score, module, GOALS["score_module"]
        )

    table = summary(
        {name: [without_output(run) for run in of_name] for name, of_name in runs.items()}
    )
    table[score]["perplexity"], table[asked]["perplexity"] = mine, theirs
    return table, ratios


def saved(
    args: argparse.Namespace,
    folder: Path,
    held_out: Path,
    order: int,
    train: Path,
) -> dict[str, Any]:
    """Return size, opening time and time per token of the models that `fits` wrote, and of KenLM's trie."""
    measure(
        kenlm_fit(
            args.kenlm,
            folder,
            train,
            order,
            LAVISH,
            "trie",
        ),
        THREADS,
    )
    single = our_binary(folder, order)
    models = {
        f"ours, single {order}": single,
        f"ours, double {order}": ours_in_double(single),
        f"KenLM, probing {order}": kenlm_binary(folder, order),
        f"KenLM, trie {order}": kenlm_binary(folder, order, "trie"),
    }
    return sizes(
        models,
        held_out,
        args.module,
        THREADS,
        args.repeats,
    )


def spill(
    args: argparse.Namespace,
    folder: Path,
    source: Path,
) -> tuple[dict[str, Any], dict[str, Ratio]]:
    """Measure a fit whose counts are larger than the allowed memory."""
    tokens, limit = SPILL[args.quick]
    tokens = args.spill_tokens or tokens
    order = args.spill_order
    text = args.spill_text or folder / "more.txt"
    if not text.exists():
        say(f"{more(source, text, tokens):,} tokens made")

    work = folder / "spill"
    model = folder / "spilled"
    work.mkdir()
    options = ("--memory", limit >> 20, "--threads", THREADS)
    fit = ours(
        "fit",
        "--text",
        text,
        "--order",
        order,
        "--binary",
        model,
        *options,
    )
    run = measure(["env", f"TMPDIR={work}", *fit], THREADS)
    said = json.loads(run.result.splitlines()[-1])
    found = {
        "tokens": said["tokens"],
        "ngrams": sum(said["ngrams"]),
        "left": len(list(work.iterdir())),
    }
    say(
        f"spill {order}: {run.wall:.0f} s, {run.cpu:.0f} CPU s, {run.peak_mib:.0f} MiB of {limit >> 20}, {found}"
    )
    mine = f"spill {order}"
    theirs = f"spill {order}, lmplz"
    runs = {
        mine: [
            Run(
                run.wall,
                run.cpu,
                run.peak_mib,
                run.base_mib,
                found,
            )
        ]
    }
    ratios = {
        "ngram.spill_memory": Ratio(
            round((limit >> 20) / run.peak_mib, 3), 1.0, f"{limit >> 20} MiB"
        )
    }
    if args.kenlm:
        peer = measure(
            kenlm_counts(
                args.kenlm,
                work,
                text,
                order,
                f"{(limit >> 20) * 3 // 4}M",
            ),
            THREADS,
        )
        say(f"lmplz: {peer.wall:.0f} s, {peer.cpu:.0f} CPU s, {peer.peak_mib:.0f} MiB")
        runs[theirs] = [without_output(peer)]
        ratios["ngram.spill_speed"] = ratio(runs, mine, theirs, None)
        ratios["ngram.spill_cpu"] = ratio(
            runs,
            mine,
            theirs,
            None,
            "cpu",
        )

    return summary(runs), ratios


def main() -> None:
    """Run the benchmark and report."""
    options = parser(__doc__ or "", (3, 4, 5))
    options.add_argument(
        "--long",
        type=int,
        default=0,
        metavar="TOKENS",
        help="also score a made text of this length",
    )
    options.add_argument(
        "--spill",
        action="store_true",
        help="also fit far more text than the memory limit would hold",
    )
    options.add_argument(
        "--spill-text", type=Path, help="where that text is, or shall be kept (5 bytes a token)"
    )
    options.add_argument(
        "--spill-tokens",
        type=int,
        metavar="TOKENS",
        help="length of a text that is made for it",
    )
    options.add_argument(
        "--spill-order",
        type=int,
        default=5,
        metavar="ORDER",
    )
    options.add_argument("--only-spill", action="store_true")
    if (args := parsed(options)) is None:
        return

    measurements: dict[str, Any] = {}
    ratios: dict[str, Ratio] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train, held_out = texts(args, folder)
        long = folder / "long.txt"
        if args.long:
            say(f"{more(held_out, long, args.long):,} tokens to score")
        for order in args.orders if args.kenlm and not args.only_spill else ():
            parts = [fits(args, folder, train, order), scores(args, folder, held_out, order)]
            parts += (
                [
                    scores(
                        args,
                        folder,
                        long,
                        order,
                        long=True,
                    )
                ]
                if args.long
                else []
            )
            for part in parts:
                measurements |= part[0]
                ratios |= part[1]
            measurements |= saved(
                args,
                folder,
                held_out,
                order,
                train,
            )
        for goal in GOALS:  # the smallest ratio of all orders
            if found := [one for key, one in ratios.items() if key.startswith(f"ngram.{goal}.")]:
                ratios[f"ngram.{goal}"] = min(found, key=lambda one: one.value)
        if args.spill or args.only_spill:
            found_spill, more_ratios = spill(args, folder, train)
            measurements |= found_spill
            ratios |= more_ratios

    notes = (
        "Each ratio without an order is the least of the orders.",
        "The probing binary is KenLM's fastest to ask. Both sides agree in perplexity to 1e-5.",
    )
    title = "N-gram models fitted and asked"
    finish(
        args,
        Report(
            "ngram",
            title,
            measurements,
            dict(sorted(ratios.items())),
            ("numpy", "polars"),
            notes,
        ),
    )


if __name__ == "__main__":
    main()
