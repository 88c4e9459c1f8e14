"""Networks of one recipe trained side by side, each in a process of its own, and the mean of their probabilities.

Two networks on two cores share nothing, so neither waits for the other; they differ in their seeds alone, and what one
of them has over-fitted the other has not. The mean is that of probabilities, not of their logarithms: it sums to one.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import numpy as np
import torch

from benchmarks.harness import say
from benchmarks.line_text import LANES, LineText
from benchmarks.processes import environment
from models.base import FitContext, LanguageModel, Progress
from models.neural.recurrent import RecurrentLM
from models.neural.training import trainer
from models.neural.training.training_metrics import perplexity
from models.specs import RecurrentSpec
from models.streams import TokenStream, unigram_counts
from models.tokens.vocabulary import BOS, GIVEN
from tasks.fitting.fit_process import environment_of

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


def train(streams: Mapping[str, TokenStream], size: int, spec: RecurrentSpec, work: Path, threads: int) -> None:
    """Train a network, or go on with it; its weights and the numbers of the training are left in *work*.

    Args:
        streams: For training and validation.
        size: Entries of the vocabulary.
        spec: Of the network.
        work: Made if need be.
        threads: Of this process.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(spec.training.seed)
    network = RecurrentLM.build(spec, torch.from_numpy(unigram_counts(streams["train"], size)))
    work.mkdir(parents=True, exist_ok=True)
    context = FitContext(work, threads=threads, report=_Says(work.name))
    summary = dict(trainer.train(network, streams["train"], streams["valid"], spec.training, context).summary)
    RecurrentLM(spec, network, size).save(work)
    (work / SUMMARY).write_text(json.dumps(summary))


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

    Returns:
        The networks; and by name what `trainer.train` says of each, and the seconds of all together, the start of the
        processes included, unless some of it had been done before.

    Raises:
        SystemExit: One of them failed; the others were stopped, and go on where they were.
    """
    seed = spec.training.seed
    specs = [replace(spec, training=replace(spec.training, seed=seed + number)) for number in range(members)]
    folders = [work / f"member-{number + 1}" for number in range(members)]
    anew, began, before_s = not any(folder.exists() for folder in folders), time.monotonic(), _cpu_seconds()
    streams = streams_of(lines, continuous, WHILE_TRAINING)
    needed, spawn = {split: streams[split] for split in ("train", "valid")}, multiprocessing.get_context("spawn")
    arguments = [(needed, lines.size, one, folder, threads) for one, folder in zip(specs, folders, strict=True)]
    processes = {
        folder.name: spawn.Process(target=train, args=some, daemon=True)
        for folder, some in zip(folders, arguments, strict=True)
    }
    with environment(environment_of({"threads": threads})):
        for process in processes.values():
            process.start()
    _wait_for(processes)
    # Of the vocabulary only its size is read.
    models = [RecurrentLM.load(folder, one, lines) for one, folder in zip(specs, folders, strict=True)]  # type: ignore[arg-type]
    numbers = {f"training of {folder.name}": json.loads((folder / SUMMARY).read_text()) for folder in folders}
    together = {"wall_s": time.monotonic() - began, "cpu_s": _cpu_seconds() - before_s}
    return models, numbers | ({"training of all": together} if anew else {})


def _wait_for(processes: Mapping[str, BaseProcess]) -> None:
    """Return when all have ended well.

    Raises:
        SystemExit: One has not; then the others are stopped at once.
    """
    running = dict(processes)
    while running:
        wait([process.sentinel for process in running.values()])
        for name, process in [(name, one) for name, one in running.items() if one.exitcode is not None]:
            del running[name]
            if not process.exitcode:
                continue
            for other in running.values():
                other.terminate()
                other.join()
            code = process.exitcode
            how = f"was killed by signal {-code}" + " (out of memory?)" * (code == -signal.SIGKILL) if code < 0 else ""
            said = how or "failed, for the reason above"
            raise SystemExit(f"{name} {said}; the same command goes on with what has been done")


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
