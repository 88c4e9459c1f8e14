"""Race single sentences: our scores against those of Python's `kenlm` module, one call for each sentence.

    REVIEWLM_KENLM_BIN=… REVIEWLM_KENLM_PYTHON=… python -m benchmarks.models.ngram_sentences [--quick] [--write]
        [--data FOLDER] [--orders 3,5]

Both sides are called in the same way: a process opens its model of the same training text, reads the same sentences
into a list, and calls `score(sentence)` for each of them, in one thread, several times over; the time of a pass is
divided by the number of sentences. The sentences are those of the held-out reviews of `ngram_text.prepare`, cut after
their full stops, question and exclamation marks.

    score          `LineLM.log_probability` against `kenlm.Model.score`: one number for a sentence
    full_scores    `LineLM.token_scores` against `list(kenlm.Model.full_scores(…))`: a row for each word and the end

KenLM's binary is its fastest one to ask (probing). The first call is told separately: ours imports numba and makes the
table of words then.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import Ratio, Report, Run, finish, interleave, measure
from benchmarks.models.kenlm_programs import (
    LAVISH,
    THREADS,
    kenlm_binary,
    kenlm_fit,
    our_binary,
    our_fit,
    parsed,
    parser,
    texts,
)
from benchmarks.models.ngram_text import sentences

GOALS = {"score": 1.0, "full_scores": 1.0}
SENTENCES = {False: 20_000, True: 3_000}
PASSES = 7
AGREES = 1e-5
"""Relative difference of the sums of log10 p: KenLM adds up a sentence in float32."""
TIMED = """
import json, sys, time
lines = open(sys.argv[2], encoding="utf-8").read().splitlines()
began = time.perf_counter()
score, full, unit = opened(sys.argv[1])
open_s = time.perf_counter() - began
began = time.perf_counter()
score(lines[0])
first_s = time.perf_counter() - began
found = {"open_s": round(open_s, 4), "first_call_s": round(first_s, 4)}
for name, call in (("score", score), ("full_scores", full)):
    passes = []
    for _ in range(int(sys.argv[3])):
        began = time.perf_counter()
        for line in lines:
            call(line)
        passes.append((time.perf_counter() - began) / len(lines) * 1e6)
    found[f"{name}_us"] = round(min(passes), 2)
print(json.dumps({**found, "log10": sum(map(score, lines)) / unit, "words": sum(len(line.split()) for line in lines)}))
"""
OURS = """
def opened(path):
    from pathlib import Path
    from reviewlm.training.ngram.lines.line_lm import LineLM
    model = LineLM.open(Path(path))
    return model.log_probability, model.token_scores, 2.302585092994046
"""
THEIRS = """
def opened(path):
    import kenlm
    model = kenlm.Model(path)
    return model.score, lambda line: list(model.full_scores(line)), 1.0
"""


def race(
    programs: Mapping[str, Sequence[str]],
    text: Path,
    repeats: int,
    threads: int = 1,
) -> tuple[dict[str, dict[str, Any]], dict[str, Ratio]]:
    """Return a row of figures per side, and the ratios.

    Args:
        programs: The command lines up to the model, ours first.
        text: File of sentences.

    Raises:
        SystemExit: The sides do not agree on the sum of log10 p.
    """
    commands = {name: [*command, str(text), str(PASSES)] for name, command in programs.items()}
    runs = interleave(commands, threads, repeats)
    said = {
        name: [json.loads(run.result.splitlines()[-1]) for run in of_name]
        for name, of_name in runs.items()
    }
    mine, theirs = (said[name][-1]["log10"] for name in programs)
    if not abs(mine / theirs - 1) < AGREES:
        raise SystemExit(f"log10 p of all sentences: {mine}, KenLM's {theirs}")

    ratios = {}
    for what, goal in GOALS.items():
        mine_us, theirs_us = ([one[f"{what}_us"] for one in found] for found in said.values())
        ratios[f"ngram_sentences.{what}"] = _ratio(mine_us, theirs_us, goal)

    return {name: _row(runs[name], found) for name, found in said.items()}, ratios


def _row(runs: Sequence[Run], said: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Return the medians of the rounds; of a pass over the sentences, a round tells its fastest."""
    names = ("score_us", "full_scores_us", "open_s", "first_call_s")
    row = {name: round(statistics.median(one[name] for one in said), 4) for name in names}
    return {
        **row,
        "peak_mib": round(max(run.peak_mib for run in runs)),
        "log10": round(said[-1]["log10"], 2),
    }


def _ratio(
    mine: Sequence[float],
    theirs: Sequence[float],
    goal: float,
) -> Ratio:
    rounds = [their / our for our, their in zip(mine, theirs, strict=True)]
    return Ratio(
        round(statistics.median(rounds), 3),
        goal,
        "kenlm",
        (round(min(rounds), 3), round(max(rounds), 3)),
    )


def fitted(
    args: argparse.Namespace,
    folder: Path,
    train: Path,
    order: int,
) -> dict[str, list[str]]:
    """Fit both models; return the command line of each side."""
    measure(our_fit(folder, train, order), THREADS)
    measure(
        kenlm_fit(
            args.kenlm,
            folder,
            train,
            order,
            LAVISH,
            "probing",
        ),
        THREADS,
    )
    return {
        f"ours {order}": [sys.executable, "-c", OURS + TIMED, str(our_binary(folder, order))],
        f"kenlm {order}": [args.module, "-c", THEIRS + TIMED, str(kenlm_binary(folder, order))],
    }


def main() -> None:
    """Run the benchmark and report."""
    args = parsed(parser(__doc__ or "", (3, 5)))
    if args is None or args.kenlm is None or not args.module:
        return

    measurements: dict[str, Any] = {}
    ratios: dict[str, Ratio] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train, held_out = texts(args, folder)
        text = folder / "sentences.txt"
        measurements["sentences"], measurements["words a sentence"] = sentences(
            held_out, text, SENTENCES[args.quick]
        )
        for order in args.orders:
            rows, found = race(fitted(args, folder, train, order), text, args.repeats)
            measurements |= rows
            ratios |= {f"{key}.{order}": one for key, one in found.items()}

    notes = (
        "One thread on both sides. A round is a process of each side, one after the other; `_us`: microseconds a "
        f"sentence in the fastest of {PASSES} passes over all sentences, median of the rounds.",
        f"Both sides agree in the sum of log10 p to {AGREES:g}.",
    )
    title = "Single sentences scored by library calls"
    finish(
        args,
        Report(
            "ngram_sentences",
            title,
            measurements,
            ratios,
            ("numpy", "numba"),
            notes,
        ),
    )


if __name__ == "__main__":
    main()
