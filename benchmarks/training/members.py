"""Train the networks of `quality.py`, which differ in their seeds, one process each; average their probabilities.

Two networks on two cores share nothing, so neither waits for the other. They differ only in their seeds, so they
overfit in different ways. Probabilities are averaged, not their logarithms, so the mean sums to one.
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
from reviewlm.models.base import LanguageModel, perplexity
from reviewlm.models.neural.lm import NeuralLM
from reviewlm.models.specs import RecurrentSpec
from reviewlm.models.streams import TokenStream, unigram_counts
from reviewlm.models.tokens.special import BOS, CONTEXT_IDS
from reviewlm.tasks.fitting.fit_process import environment_of
from reviewlm.training.context import FitContext, FitProgress
from reviewlm.training.neural import trainer
from reviewlm.training.neural.fused.chosen_layers import train_with_own_layers

WHILE_TRAINING = 60
"""Number of pieces of a continuous validation text during training: side by side they take less time."""
REPORT_SECONDS = 60.0
SUMMARY = "summary.json"
MEAN = "mean of all"
CHUNK = 1024
"""Number of tokens of a stream that a network reads at a time; does not change the result."""


def streams_of(
    lines: LineText,
    documents: int | None,
    lanes: int = LANES,
) -> dict[str, TokenStream]:
    """Return training, validation and test streams: each line as a review, or one continuous text per split.

    Args:
        lines: The text.
        documents: Number of documents into which a continuous training text is cut; training shuffles them in each
            epoch. None: each line is a review.
        lanes: Number of documents of a continuous held-out text.
    """
    if documents is None:
        return {split: lines.reviews(split) for split in lines.lines}
    return {
        split: lines.stream(split, documents if split == "train" else lanes)
        for split in lines.lines
    }


def train(
    streams: Mapping[str, TokenStream],
    size: int,
    spec: RecurrentSpec,
    work: Path,
    threads: int,
) -> None:
    """Train a network, or resume its training; write its weights and the numbers of the training to *work*.

    Args:
        streams: Streams for training and validation.
        size: Number of entries of the vocabulary.
        spec: Specification of the network.
        work: Folder, created if needed.
        threads: Number of threads of this process.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(spec.training.seed)
    network = train_with_own_layers(
        NeuralLM.build(spec, torch.from_numpy(unigram_counts(streams["train"], size)))
    )
    work.mkdir(parents=True, exist_ok=True)
    context = FitContext(work, threads=threads, report=_Says(work.name))
    summary = dict(
        trainer.train(
            network,
            streams["train"],
            streams["valid"],
            spec.training,
            context,
        )
    )
    NeuralLM(spec, network, size).save(work)
    (work / SUMMARY).write_text(json.dumps(summary))


class _Says:
    """Reporter of the progress of a training, once a minute."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.began = time.monotonic()
        self.last = self.began

    def __call__(self, news: FitProgress) -> None:
        if (now := time.monotonic()) - self.last > REPORT_SECONDS:
            self.last = now
            figures = {key: round(value, 2) for key, value in news.figures.items()}
            say(
                f"{self.name}, {now - self.began:.0f} s, {news.step:,} of {news.total:,} tokens: {figures}"
            )


def train_side_by_side(
    lines: LineText,
    documents: int | None,
    spec: RecurrentSpec,
    work: Path,
    members: int,
    threads: int,
) -> tuple[list[NeuralLM], dict[str, dict[str, float]]]:
    """Train networks with different seeds at the same time; return them and the numbers of their trainings.

    Args:
        lines: The text.
        documents: See `streams_of`.
        spec: Specification of each network; the first network uses its seed.
        work: Folder that gets one folder for each network.
        members: Number of networks.
        threads: Number of threads of each process.

    Returns:
        The networks. And by name the numbers of `trainer.train` for each, and the seconds of all together, including
        the start of the processes, unless a part had been trained before.

    Raises:
        SystemExit: A training failed. The others were stopped; the next run resumes them.
    """
    seed = spec.training.seed
    specs = [
        replace(spec, training=replace(spec.training, seed=seed + number))
        for number in range(members)
    ]
    folders = [work / f"member-{number + 1}" for number in range(members)]
    anew = not any(folder.exists() for folder in folders)
    began = time.monotonic()
    before_s = _cpu_seconds()
    streams = streams_of(lines, documents, WHILE_TRAINING)
    needed = {split: streams[split] for split in ("train", "valid")}
    spawn = multiprocessing.get_context("spawn")
    arguments = [
        (needed, lines.size, one, folder, threads)
        for one, folder in zip(specs, folders, strict=True)
    ]
    processes = {
        folder.name: spawn.Process(
            target=train,
            args=some,
            daemon=True,
        )
        for folder, some in zip(folders, arguments, strict=True)
    }
    with environment(environment_of(threads)):
        for process in processes.values():
            process.start()

    _wait_for(processes)
    # `load` reads only the size of the vocabulary, so the lines can replace it.
    models = [NeuralLM.load(folder, one, lines) for one, folder in zip(specs, folders, strict=True)]  # type: ignore[arg-type]
    numbers = {
        f"training of {folder.name}": json.loads((folder / SUMMARY).read_text())
        for folder in folders
    }
    together = {"wall_s": time.monotonic() - began, "cpu_s": _cpu_seconds() - before_s}
    return models, numbers | ({"training of all": together} if anew else {})


def _wait_for(processes: Mapping[str, BaseProcess]) -> None:
    """Wait until all processes have ended without error.

    Raises:
        SystemExit: A process failed; the others are stopped at once.
    """
    running = dict(processes)
    while running:
        wait([process.sentinel for process in running.values()])
        for name, process in [
            (name, one) for name, one in running.items() if one.exitcode is not None
        ]:
            del running[name]
            if not process.exitcode:
                continue
            for other in running.values():
                other.terminate()
                other.join()
            code = process.exitcode
            how = (
                f"was killed by signal {-code}" + " (out of memory?)" * (code == -signal.SIGKILL)
                if code < 0
                else ""
            )
            said = how or "failed, for the reason above"
            raise SystemExit(f"{name} {said}; the same command goes on with what has been done")


def _cpu_seconds() -> float:
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def token_nats(model: LanguageModel, stream: TokenStream) -> np.ndarray:
    """Return −log p of every scored token; documents are read side by side, each with its own hidden state."""
    documents = [np.asarray(stream.document(number), np.int64) for number in range(len(stream))]
    longest = max(map(len, documents))
    ids_BT = np.full((len(documents), longest), BOS, np.int64)
    for row_T, document in zip(ids_BT, documents, strict=True):
        row_T[: len(document)] = document

    state = model.start(len(documents))
    parts = []
    for begin in range(0, longest, CHUNK):
        some_BT = ids_BT[:, begin : begin + CHUNK]
        nats_BT, state = model.score(some_BT, state)
        parts.append(nats_BT)

    return np.concatenate(parts, 1)[~np.isin(ids_BT, sorted(CONTEXT_IDS))]


def perplexities(models: Sequence[LanguageModel], stream: TokenStream) -> dict[str, float]:
    """Return the perplexity of each model, and that of the mean (Σ_m p_m) / M of their probabilities per token."""
    nats_MN = np.stack([token_nats(model, stream) for model in models])
    mean_N = np.log(len(models)) - np.logaddexp.reduce(-nats_MN, 0)
    rows = {f"member {number}": nats_N for number, nats_N in enumerate(nats_MN, 1)} | {MEAN: mean_N}
    return {name: round(perplexity(float(nats_N.mean())), 2) for name, nats_N in rows.items()}
