"""Measure the size of saved n-gram models, the time a new process takes to open one, and the time per token.

Our models with numbers of four and eight bytes are compared with KenLM's two binary forms: probing (fastest to query)
and trie (smallest). KenLM's are opened by its Python module, as a Python program would. Both sides score the same lines
and report the time for opening and scoring, without the start of the interpreter and its imports. The files are in the
system's cache.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import Run, measure, say

OURS = """
import json, sys, time
from pathlib import Path
from reviewlm.training.ngram.lines.line_lm import LineLM
from reviewlm.training.ngram.lines.text_corpus import LineCorpus
began = time.perf_counter()
model = LineLM.open(Path(sys.argv[1]))
opened = time.perf_counter()
corpus = LineCorpus.read_file(Path(sys.argv[2]), model.words, "unknown")
scores = model.score_text(corpus)
seconds = time.perf_counter() - opened
print(json.dumps({"open": opened - began, "token": seconds / scores.tokens, "log10": -scores.nats / 2.302585092994046}))
"""
THEIRS = """
import json, sys, time
import kenlm
began = time.perf_counter()
model = kenlm.Model(sys.argv[1])
opened = time.perf_counter()
total = tokens = 0
with open(sys.argv[2], encoding="utf-8") as lines:
    for line in lines:
        total += model.score(line)
        tokens += len(line.split()) + 1
seconds = time.perf_counter() - opened
print(json.dumps({"open": opened - began, "token": seconds / tokens, "log10": total}))
"""
AGREES = 1e-4


def ours_in_double(folder: Path) -> Path:
    """Save a model again with numbers of eight bytes; return its folder."""
    from reviewlm.training.ngram.lines.line_lm import LineLM

    double = folder.with_name(f"{folder.name}.double")
    LineLM.open(folder).save(double, "double")
    return double


def size(path: Path) -> int:
    """Return the size in bytes of a file, or of all files in a folder."""
    return (
        sum(file.stat().st_size for file in path.iterdir())
        if path.is_dir()
        else path.stat().st_size
    )


def sizes(
    models: Mapping[str, Path],
    held_out: Path,
    module: str | None,
    threads: int,
    repeats: int,
) -> dict[str, dict[str, Any]]:
    """Return a row per model: MiB, seconds to open it, microseconds per token.

    Args:
        models: Models by name; a folder is one of ours, a file one of KenLM's.
        module: Python with the `kenlm` module, needed for KenLM's models.

    Raises:
        SystemExit: The models do not agree on the held-out text.
    """
    rows = {}
    totals = []
    for name, path in models.items():
        rows[name] = {"MiB": round(size(path) / 2**20, 1)}
        if path.is_dir() or module:
            command = [sys.executable, "-c", OURS] if path.is_dir() else [str(module), "-c", THEIRS]
            runs = [measure([*command, str(path), str(held_out)], threads) for _ in range(repeats)]
            rows[name] |= {
                "open_s": _least(runs, "open", 1.0, 4),
                "us_per_token": _least(runs, "token", 1e6, 3),
            }
            totals.append(_said(runs[-1])["log10"])
        say(f"{name}: {rows[name]}")

    if totals and not max(totals) - min(totals) <= AGREES * -min(totals):
        raise SystemExit(f"log10 p of the held-out text: {totals}")

    return rows


def _said(run: Run) -> dict[str, float]:
    found: dict[str, float] = json.loads(run.result.splitlines()[-1])
    return found


def _least(
    runs: Sequence[Run],
    what: str,
    unit: float,
    digits: int,
) -> float:
    """Return the minimum of the runs, since other work on the machine disturbs times of milliseconds."""
    return round(unit * min(_said(run)[what] for run in runs), digits)
