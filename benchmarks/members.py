"""Networks of one recipe trained side by side, each in a process of its own, and the mean of their probabilities.

Two networks on two cores share nothing, so neither waits for the other; they differ in their seeds alone, and what one
of them has over-fitted the other has not. The mean is that of probabilities, not of their logarithms: it sums to one.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import numpy as np
import torch

from benchmarks.harness import say
from benchmarks.line_text import LANES, LineText
from models.base import FitContext, LanguageModel, Progress
from models.neural import trainer
from models.neural.course import perplexity
from models.neural.recurrent import RecurrentLM
from models.specs import RecurrentSpec
from models.streams import TokenStream, unigram_counts
from models.vocabulary import BOS, GIVEN
from tasks.fit_process import environment_of

WHILE_TRAINING = 60
"""Pieces in which a continuous validation text is read while a network trains: side by side they take less time."""
REPORT_SECONDS = 60.0
SUMMARY = "summary.json"
CHUNK = 1024
"""Tokens of a stream that a network reads at a time; does not change the result."""


def streams_of(lines: LineText, continuous: bool, lanes: int = LANES) -> dict[str, TokenStream]:
    """Return training, validation and test streams: each line a review, or one text, cut into lanes if held out."""
    if continuous:
        return {split: lines.stream(split, 1 if split == "train" else lanes) for split in lines.lines}
    return {split: lines.reviews(split) for split in lines.lines}


def train(lines: LineText, continuous: bool, spec: RecurrentSpec, work: Path, threads: int) -> dict[str, float]:
    """Train a network, or go on with it; its weights and the numbers that are returned stand in *work*."""
    torch.set_num_threads(threads)
    streams = streams_of(lines, continuous, WHILE_TRAINING)
    torch.manual_seed(spec.training.seed)
    network = RecurrentLM.build(spec, torch.from_numpy(unigram_counts(streams["train"], lines.size)))
    work.mkdir(parents=True, exist_ok=True)
    context = FitContext(work, threads=threads, report=_Says(work.name))
    summary = dict(trainer.train(network, streams["train"], streams["valid"], spec.training, context).summary)
    RecurrentLM(spec, network, lines.size).save(work)
    (work / SUMMARY).write_text(json.dumps(summary))
    return summary


class _Says:
    """Tell the progress of a training once a minute."""

    def __init__(self, name: str) -> None:
        self.name, self.began = name, time.monotonic()
        self.last = self.began

    def __call__(self, news: Progress) -> None:
        if (now := time.monotonic()) - self.last > REPORT_SECONDS:
            self.last = now
            figures = {key: round(value, 2) for key, value in news.figures.items()}
            say(f"{self.name}, {now - self.began:.0f} s, {news.step:,} of {news.total:,} tokens: {figures}")


def train_side_by_side(
    lines: LineText, continuous: bool, spec: RecurrentSpec, work: Path, members: int, threads: int
) -> tuple[list[RecurrentLM], dict[str, dict[str, float]]]:
    """Train networks that differ in their seeds at the same time; return them and the numbers of their trainings.

    Args:
        lines: The text.
        continuous: See `streams_of`.
        spec: Of each; the seed is that of the first.
        work: A folder for each is made in it.
        members: How many.
        threads: Of each.

    Raises:
        SystemExit: One of them failed; it has told why.
    """
    os.environ.update(environment_of({"threads": threads}))
    spawn, began, before_s = multiprocessing.get_context("spawn"), time.monotonic(), _cpu_seconds()
    seed = spec.training.seed
    specs = [replace(spec, training=replace(spec.training, seed=seed + number)) for number in range(members)]
    folders = [work / f"member-{number + 1}" for number in range(members)]
    processes = [
        spawn.Process(target=train, args=(lines, continuous, one, folder, threads), daemon=True)
        for one, folder in zip(specs, folders, strict=True)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if failed := [folder.name for folder, process in zip(folders, processes, strict=True) if process.exitcode]:
        raise SystemExit(f"{', '.join(failed)} did not come to an end; the same command goes on where it stopped")
    models = [RecurrentLM.load(folder, one, lines) for one, folder in zip(specs, folders, strict=True)]  # type: ignore[arg-type]
    numbers = {f"training of {folder.name}": json.loads((folder / SUMMARY).read_text()) for folder in folders}
    together = {"wall_s": time.monotonic() - began, "cpu_s": _cpu_seconds() - before_s}
    return models, {**numbers, "training of all": together}


def _cpu_seconds() -> float:
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def token_nats(model: LanguageModel, stream: TokenStream) -> np.ndarray:
    """Return −log p of every scored token, documents read side by side with the state carried along each."""
    documents = [np.asarray(stream.document(number), np.int64) for number in range(len(stream))]
    longest = max(map(len, documents))
    ids_BT = np.full((len(documents), longest), BOS, np.int64)
    for row_T, document in zip(ids_BT, documents, strict=True):
        row_T[: len(document)] = document
    state, parts = model.start(len(documents)), []
    for begin in range(0, longest, CHUNK):
        some_BT = ids_BT[:, begin : begin + CHUNK]
        nats_BT, state = model.score(some_BT, state)
        parts.append(nats_BT)
    return np.concatenate(parts, 1)[~np.isin(ids_BT, sorted(GIVEN))]


def perplexities(models: Sequence[LanguageModel], stream: TokenStream) -> dict[str, float]:
    """Return the perplexity of each model, and that of the mean (Σ_m p_m) / M of their probabilities of each token."""
    nats_MN = np.stack([token_nats(model, stream) for model in models])
    mean_N = np.log(len(models)) - np.logaddexp.reduce(-nats_MN, 0)
    rows = {f"member {number}": nats_N for number, nats_N in enumerate(nats_MN, 1)} | {"mean of all": mean_N}
    return {name: round(perplexity(float(nats_N.mean())), 2) for name, nats_N in rows.items()}
