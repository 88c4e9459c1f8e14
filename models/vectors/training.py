"""Train skip-gram and CBOW vectors on a token stream: epochs, chunks of reviews, learning rate, checkpoints.

The random numbers of a chunk depend on seed, epoch and chunk only, not on what was read before. So a killed training
continues with the same numbers, and with one thread the same stream and options give the same bytes. Several threads
change the vectors without locks (Recht et al. 2011, "Hogwild"): faster, and slightly different every time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from ..atomic_files import new_file
from ..base import ModelError
from ..streams import TokenStream, unigram_counts
from ..tokens.words import FIRST
from .huffman import HuffmanTree, huffman_tree
from .kernels import KEPT, PAIRS, ROWS, WORDS, train_chunk
from .noise import NoiseTable, noise_table
from .spec import EmbeddingSpec

CHUNK = 10_000
"""Tokens read with one learning rate, as in gensim."""
LAST_RATE = 1e-4
"""Learning rate of the end, as a share of that of the start."""
CHECKPOINT = "checkpoint.safetensors"
COUNTED = {"words": WORDS, "kept": KEPT, "pairs": PAIRS, "output_rows": ROWS}
Report = Callable[[int, int], None]
"""Called with the tokens read so far, over all epochs, and their number in the end."""


@dataclass(frozen=True)
class Selection:
    """The N entries of a vocabulary that get vectors, the most frequent first.

    Attributes:
        ids_N: Their ids.
        counts_N: How often they occur in the training reviews.
        row_V: Place of each vocabulary entry among them; −1 for the others.
    """

    ids_N: np.ndarray
    counts_N: np.ndarray
    row_V: np.ndarray


@dataclass(frozen=True)
class Trained:
    """Trained vectors of N words.

    Attributes:
        selection: The words.
        v_ND: Input vectors: the word vectors.
        u_RD: Output vectors: one per word, or per inner node of the tree.
        noise, tree: What the words were predicted against; None for the one that was not used.
        work: Counts over all epochs: words read, words kept, pairs of input and predicted word, output rows.
    """

    selection: Selection
    v_ND: np.ndarray
    u_RD: np.ndarray
    noise: NoiseTable | None
    tree: HuffmanTree | None
    work: dict[str, int]


def select(stream: TokenStream, min_count: int) -> Selection:
    """Return the entries that occur often enough; special tokens and unknown words get no vectors.

    Raises:
        ModelError: kind "input": fewer than two words are frequent enough.
    """
    counts_V = unigram_counts(stream, stream.vocabulary_size)
    counts_V[:FIRST] = 0
    ids_N = np.argsort(-counts_V, kind="stable")
    ids_N = ids_N[counts_V[ids_N] >= max(min_count, 1)]
    if len(ids_N) < 2:
        raise ModelError(
            f"{len(ids_N)} words occur at least {min_count} times; vectors need two or more. Give more text or a lower "
            "min_count", "input",
        )  # fmt: skip
    row_V = np.full(stream.vocabulary_size, -1, np.int32)
    row_V[ids_N] = np.arange(len(ids_N))
    return Selection(ids_N, counts_V[ids_N], row_V)


def keep_probability(counts_N: np.ndarray, subsample: float) -> np.ndarray:
    """Return the probability of keeping an occurrence of each word (N, float32).

    √(t/f) + t/f for a share f of the text, at most 1: the rule of word2vec's program, which keeps a little more than
    the √(t/f) of the paper.
    """
    if not subsample:
        return np.ones(len(counts_N), np.float32)
    part_N = subsample * counts_N.sum() / counts_N
    return np.minimum(1.0, np.sqrt(part_N) + part_N).astype(np.float32)


def train(
    spec: EmbeddingSpec, stream: TokenStream, threads: int = 1, report: Report = lambda done, total: None,
    work: Path | None = None,
) -> Trained:  # fmt: skip
    """Train word vectors.

    Args:
        spec: Options; its kind is "skipgram" or "cbow".
        stream: Training reviews.
        threads: Chunks that are read at the same time; only 1 gives the same vectors every time.
        report: Called after each chunk.
        work: Folder for a checkpoint after each epoch, from which a killed training continues; None: none.

    Raises:
        ModelError: kind "input": see `select`; kind "diverged": a vector is not finite.
    """
    selection = select(stream, spec.min_count)
    hierarchical = spec.output == "hierarchical_softmax"
    tree = huffman_tree(selection.counts_N) if hierarchical else None
    noise = None if hierarchical else noise_table(selection.counts_N, spec.noise_power)
    state = _state(spec, len(selection.ids_N) - hierarchical, len(selection.ids_N), work)
    reader, chunks = _ChunkTrainer(spec, stream, selection, tree, noise, state), list(chunks_of(stream.offsets))
    for epoch in range(int(state["epoch"][0]), spec.epochs):
        tokens = epoch * len(stream.ids)
        with ThreadPoolExecutor(threads) as pool:
            apply = map if threads == 1 else pool.map
            counted = apply(partial(reader.read, epoch), range(len(chunks)), chunks)
            for chunk, counts in zip(chunks, counted, strict=True):
                state["counts"] += counts
                report(tokens + int(stream.offsets[chunk[1]]), spec.epochs * len(stream.ids))
        if not np.isfinite(state["v"]).all():
            raise ModelError(f"a vector is not finite after epoch {epoch + 1}; lower the learning rate", "diverged")
        state["epoch"] += 1
        if work is not None:
            with new_file(work / CHECKPOINT) as file:
                file.write(save(state))
    done = {name: int(state["counts"][place]) for name, place in COUNTED.items()}
    return Trained(selection, state["v"], state["u"], noise, tree, done)


def chunks_of(offsets: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield the first review of each chunk and the one after its last; a chunk ends after about `CHUNK` tokens."""
    begin, reviews = 0, len(offsets) - 1
    while begin < reviews:
        end = max(begin + 1, int(np.searchsorted(offsets, offsets[begin] + CHUNK, side="right")) - 1)
        yield begin, end
        begin = end


class _ChunkTrainer:
    """Train on the chunks of a stream; it holds the arrays that the kernel changes."""

    def __init__(
        self, spec: EmbeddingSpec, stream: TokenStream, selection: Selection, tree: HuffmanTree | None,
        noise: NoiseTable | None, state: dict[str, np.ndarray],
    ) -> None:  # fmt: skip
        tree = tree or HuffmanTree(np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(1, np.int64))
        noise = noise or NoiseTable(np.zeros(0, np.int64), np.zeros(0, np.int32))
        self.spec, self.stream, self.row_V = spec, stream, selection.row_V
        self.tables = (
            keep_probability(selection.counts_N, spec.subsample), noise.threshold_N, noise.alias_N, tree.nodes_P,
            tree.first_P, tree.starts, state["v"], state["u"],
        )  # fmt: skip
        self.choices = (spec.window, spec.negatives, spec.kind == "cbow", len(tree.nodes_P) > 0)

    def read(self, epoch: int, place: int, chunk: tuple[int, int]) -> np.ndarray:
        """Train on the reviews of a chunk, the *place*-th of its epoch; return the counts of this chunk."""
        spec, starts = self.spec, np.asarray(self.stream.offsets[chunk[0] : chunk[1] + 1])
        words_T = self.row_V[self.stream.ids[starts[0] : starts[-1]]]
        done = (epoch + int(starts[0]) / len(self.stream.ids)) / spec.epochs
        rate = np.float32(spec.first_rate * max(LAST_RATE, 1 - done))
        random = np.random.SeedSequence((spec.seed, epoch, place)).generate_state(1, np.uint64)
        counts = np.zeros(len(COUNTED), np.int64)
        train_chunk(words_T, starts - starts[0], *self.tables, *self.choices, rate, random, counts)
        return counts


def _state(spec: EmbeddingSpec, R: int, N: int, work: Path | None) -> dict[str, np.ndarray]:
    """Return vectors, counts and epoch of a killed training, or those before the first epoch.

    Input vectors begin uniform in ±1 / 2D, output vectors at 0.
    """
    uniform_ND = np.random.default_rng(spec.seed).random((N, spec.dimensions), np.float32)
    first = {
        "v": (uniform_ND - np.float32(0.5)) / np.float32(spec.dimensions),
        "u": np.zeros((R, spec.dimensions), np.float32),
        "counts": np.zeros(len(COUNTED), np.int64), "epoch": np.zeros(1, np.int64),
    }  # fmt: skip
    if work is None or not (work / CHECKPOINT).exists():
        return first
    try:
        found = load_file(work / CHECKPOINT)
    except (SafetensorError, OSError):
        return first
    fits = found.keys() == first.keys() and all(found[name].shape == first[name].shape for name in first)
    return {name: np.array(value) for name, value in found.items()} if fits else first
