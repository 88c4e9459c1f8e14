"""Measure the training of word vectors against gensim: words per second, and the quality that it buys.

    python -m benchmarks.models.vectors --quick --peer ENVIRONMENT/bin/python
    python -m benchmarks.models.vectors --write --peer ENVIRONMENT/bin/python --train TOKENS --validation TOKENS

`--peer` is an interpreter with gensim; without it only ours is measured. `--train` and `--validation` are folders of
token streams (`store/tokens`); without them the text is a random walk over 400 words.

Both read the same words with the same dimensions, window, noise words, epochs, left-out words and threads. Quality is
measured on vectors of both with the same code:

- *twins*: before training, each of some words becomes one of two new words, by a coin at each occurrence. They mean the
  same, so that each should be the nearest neighbour of the other: mean reciprocal rank among all words, and share of
  first ranks.
- *ranked*: how often the mean input vector of a held-out window gives its centre a higher score than a noise word.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np

from benchmarks.harness import Ratio, Report, arguments, finish, say
from models.streams import TokenStream
from models.tokens.words import FIRST
from models.vectors.held_out import POWER, SEED, mean_inputs, ranked_share, windows_of
from models.vectors.noise import noise_share
from models.vectors.spec import EmbeddingSpec
from models.vectors.training import Selection, select, train
from models.vectors.word_vectors import WordVectors

CASES = {
    "skip-gram, negative sampling": ("skipgram", "negative_sampling"),
    "CBOW, negative sampling": ("cbow", "negative_sampling"),
    "skip-gram, hierarchical softmax": ("skipgram", "hierarchical_softmax"),
    "CBOW, hierarchical softmax": ("cbow", "hierarchical_softmax"),
}
TWINS, RAREST_TWIN = 200, 100
GOAL = 1.0
QUALITY = ("twins_mrr", "twins_first", "ranked")


def stream_of(ids: np.ndarray, offsets: np.ndarray, size: int) -> TokenStream:
    """Return a token stream in memory."""
    header = {"tokens": len(ids), "vocabulary_digest": "", "vocabulary_size": size, "boundary_policy": ""}
    return TokenStream(Path("made"), header, ids, offsets)


def made_text(words: int, seed: int) -> TokenStream:
    """Return reviews of 100 words: a walk over 400 words, each followed by one of 20 others."""
    rng, meanings = np.random.default_rng(seed), 400
    following = np.random.default_rng(0).integers(meanings, size=(meanings, 20))
    walk_RT = np.empty((words // 100, 100), np.int64)
    walk_RT[:, 0] = rng.integers(meanings, size=len(walk_RT))
    for t in range(1, 100):
        walk_RT[:, t] = following[walk_RT[:, t - 1], np.minimum(rng.geometric(0.2, len(walk_RT)) - 1, 19)]
    ids = (FIRST + walk_RT).ravel().astype(np.uint32)
    return stream_of(ids, np.arange(0, len(ids) + 1, 100), FIRST + meanings)


def first_reviews(stream: TokenStream, words: int) -> TokenStream:
    """Return the first reviews of a stream, of about so many words."""
    count = int(np.searchsorted(stream.offsets, words))
    offsets = np.asarray(stream.offsets[: count + 1])
    return stream_of(np.asarray(stream.ids[: offsets[-1]], np.uint32), offsets, stream.vocabulary_size)


def with_twins(stream: TokenStream, seed: int = 1) -> tuple[TokenStream, np.ndarray]:
    """Return the stream with half of the occurrences of some words renamed, and the (T, 2) ids of the twins."""
    rng, counts = np.random.default_rng(seed), np.bincount(stream.ids, minlength=stream.vocabulary_size)
    counts[:FIRST] = 0
    able = np.flatnonzero(counts >= 2 * RAREST_TWIN)
    able = able[np.argsort(-counts[able], kind="stable")][len(able) // 20 :]  # the most frequent are function words
    chosen = rng.choice(able, min(TWINS, len(able)), replace=False)
    twin_V = np.arange(stream.vocabulary_size, dtype=np.uint32)
    twin_V[chosen] = stream.vocabulary_size + np.arange(len(chosen))
    ids = np.where(rng.random(len(stream.ids)) < 0.5, twin_V[stream.ids], stream.ids).astype(np.uint32)
    size = stream.vocabulary_size + len(chosen)
    return stream_of(ids, stream.offsets, size), np.stack([chosen, twin_V[chosen]], 1)


def quality(
    trained: tuple[np.ndarray, np.ndarray], selection: Selection, twins: np.ndarray, held: TokenStream, exact: bool
) -> dict[str, float]:
    """Return the figures of `QUALITY`; `ranked` only where each word has an output vector (*exact*)."""
    v_ND, u_RD = trained
    unit_ND = WordVectors(list(map(str, range(len(v_ND)))), v_ND).unit_ND
    pairs = selection.row_V[twins]
    pairs = pairs[(pairs >= 0).all(1)]
    ranks = []
    for one, other in [*pairs, *pairs[:, ::-1]]:
        cosines_N = unit_ND @ unit_ND[one]
        cosines_N[one] = -np.inf
        ranks.append(1 + int((cosines_N > cosines_N[other]).sum()))
    found = {"twins_mrr": round(float(np.mean(1 / np.array(ranks))), 4),
             "twins_first": round(float(np.mean(np.array(ranks) == 1)), 4)}  # fmt: skip
    if exact:
        windows = windows_of(held, selection, 5)
        noise_N = np.random.default_rng(SEED).choice(
            len(selection.counts_N), len(windows.centre_N), p=noise_share(selection.counts_N, POWER)
        )
        found["ranked"] = round(ranked_share(mean_inputs(v_ND, windows), windows.centre_N, noise_N, u_RD), 4)
    return found


def ours(spec: EmbeddingSpec, stream: TokenStream, threads: int) -> dict[str, Any]:
    """Train, and return seconds and matrices; compiling is not measured."""
    train(spec, first_reviews(stream, 2_000))
    wall, cpu = perf_counter(), process_time()
    trained = train(spec, stream, threads)
    return {"wall": perf_counter() - wall, "cpu": process_time() - cpu, "v": trained.v_ND, "u": trained.u_RD}


def peers(
    spec: EmbeddingSpec, text: Path, selection: Selection, python: str, threads: int, from_file: bool
) -> dict[str, Any]:
    """Train gensim's in its own environment; return seconds and matrices, the rows in our order."""
    hierarchical = spec.output == "hierarchical_softmax"
    options = {
        "vector_size": spec.dimensions, "window": spec.window, "negative": 0 if hierarchical else spec.negatives,
        "hs": int(hierarchical), "sg": int(spec.kind == "skipgram"), "min_count": spec.min_count,
        "sample": spec.subsample, "epochs": spec.epochs, "workers": threads, "seed": spec.seed, "from_file": from_file,
    }  # fmt: skip
    (given := text.with_name("options.json")).write_text(json.dumps(options), encoding="utf-8")
    out = text.with_name("peer.npz")
    command = [python, "-P", str(Path(__file__).with_name("vectors_peer.py")), str(text), str(given), str(out)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    with np.load(out) as found:
        order = np.argsort(selection.row_V[found["words"]])
        v_ND, u_RD = found["v"][order], found["u"] if hierarchical else found["u"][order]
    return {**json.loads(done.stdout.splitlines()[-1]), "v": v_ND, "u": u_RD}


def measure_case(
    name: str, args: argparse.Namespace, stream: TokenStream, held: TokenStream, twins: np.ndarray, folder: Path
) -> dict[str, dict[str, Any]]:
    """Return rows of ours and the peer for one model; they take turns."""
    kind, output = CASES[name]
    spec = EmbeddingSpec(kind=kind, output=output, dimensions=args.dimensions, epochs=args.epochs)  # type: ignore[arg-type]
    selection, text = select(stream, spec.min_count), folder / "text.txt"
    words = int(selection.counts_N.sum()) * spec.epochs
    runs: dict[str, list[dict[str, Any]]] = {}
    for _ in range(args.repeats):
        runs.setdefault("ours", []).append(ours(spec, stream, args.threads))
        for from_file in (False, True) if args.peer else ():
            run = peers(spec, text, selection, args.peer, args.threads, from_file)
            runs.setdefault("gensim, corpus_file" if from_file else "gensim", []).append(run)
    table = {}
    for whose, found in runs.items():
        row = {"words_per_cpu_s": round(words / min(run["cpu"] for run in found)),
               "words_per_s": round(words / median(run["wall"] for run in found))}  # fmt: skip
        last = (found[-1]["v"], found[-1]["u"])
        table[whose] = row | quality(last, selection, twins, held, output == "negative_sampling")
        say(f"{name}, {whose}: {table[whose]}")
    return table


def write_text(stream: TokenStream, path: Path) -> None:
    """Write the words of the reviews as lines of numbers, as gensim reads them."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(len(stream)):
            ids = stream.document(number)
            file.write(" ".join(map(str, ids[ids >= FIRST].tolist())) + "\n")


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the benchmark and report."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--peer", default="", help="interpreter of an environment with gensim")
    parser.add_argument("--train", type=Path, help="folder of a token stream to train on")
    parser.add_argument("--validation", type=Path, help="folder of a held-out token stream")
    parser.add_argument("--words", type=int, default=2_000_000, help="words of the training text (default 2,000,000)")
    parser.add_argument("--dimensions", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    args.repeats, args.words = (1, min(args.words, 200_000)) if args.quick else (args.repeats, args.words)
    source = TokenStream.open(args.train) if args.train else made_text(args.words, 1)
    held = TokenStream.open(args.validation) if args.validation else made_text(100_000, 2)
    stream, twins = with_twins(first_reviews(source, args.words))
    rows: dict[str, dict[str, Any]] = {}
    ratios: dict[str, Ratio] = {}
    speed = "words_per_cpu_s" if args.threads == 1 else "words_per_s"
    with tempfile.TemporaryDirectory() as folder:
        write_text(stream, Path(folder) / "text.txt")
        for name in list(CASES)[: 2 if args.quick else None]:
            found = measure_case(name, args, stream, held, twins, Path(folder))
            rows |= {f"{name}: {whose}": row for whose, row in found.items()}
            if args.peer:
                best = max((row for whose, row in found.items() if whose != "ours"), key=lambda row: row[speed])
                ratios[f"vectors.{name}, speed"] = Ratio(round(found["ours"][speed] / best[speed], 2), GOAL, "gensim")
                for figure in QUALITY:
                    if figure in best:
                        value = found["ours"][figure] / max(best[figure], 1e-9)
                        ratios[f"vectors.{name}, {figure}"] = Ratio(round(value, 3), None, "gensim")
    notes = (
        f"{int(stream.offsets[-1]):,} tokens, {args.dimensions} dimensions, {args.epochs} epochs, {args.threads} "
        "threads. The speed is that of training alone, without reading the text, counting and compiling: words before "
        "some are left out, per CPU second (the best run), or per second (the median) with several threads. gensim is "
        "measured with sentences in memory and with a file; the faster one counts. Its learning rate is its default, "
        "0.025; ours are the defaults of each kind. `ranked` of both leaves out words that became twins.",
    )
    return finish(args, Report("vectors", "Training word vectors", rows, ratios, ("numba", "numpy"), notes))


if __name__ == "__main__":
    main()
