"""Use a fitted classifier or tagger: answers, scores, error rate, saving and loading.

The folder holds `weights.safetensors` and `labeller.json` (options, V, digest of the vocabulary, SHA-256 of the
weights), which is written last. Nothing is pickled.
Shapes: see `labelled_sequences.py`; N = D sequences or P positions.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Self

import numpy as np
import torch
from safetensors.torch import load, save_file

from ...atomic_files import save_tensors
from ...base import ModelError, stored
from ...classification.figures import macro_f1
from ..device import require_device, to_device
from ..spec import WEIGHTS
from ..weights_file import stored_once
from . import losses
from .heads import ProbabilityHead
from .labelled_sequences import LabelledSequences
from .network import LabellingNetwork
from .rows import FeatureBatch, InputRows, LabelledBatch
from .spec import LabellerSpec, from_dict, to_dict

FORMAT = 1
FILE = "labeller.json"
POSITIONS = 16_384
"""Padded positions that are read at a time in evaluation; does not change an answer beyond rounding."""


class Labeller:
    """A classifier or tagger.

    Args:
        spec: The options the network was built from.
        network: On its device; put into evaluation mode here.
        vocabulary_digest: Of the vocabulary that made the ids it was trained on, if known.
    """

    def __init__(self, spec: LabellerSpec, network: LabellingNetwork, vocabulary_digest: str = "") -> None:
        self.spec, self.network, self.vocabulary_digest = spec, network.eval(), vocabulary_digest
        self.entries = network.trunk.entries

    @torch.no_grad()
    def scores(self, sequences: InputRows) -> np.ndarray:
        """Return the scores (N, K; float32) of each sequence or, for tagging, each position; for numbers K is 1.

        Raises:
            ModelError: kind "input": see `Sequences.require`.
        """
        sequences.require(self.entries)
        tagging = self.spec.task == "tagging"
        count = len(sequences.ids_P) if tagging else len(sequences)
        scores_NK = np.zeros((count, 1 if self.spec.numbers else len(self.spec.labels)), np.float32)
        for batch in sequences.by_length(POSITIONS):
            features_MF = self.network(*input_tensors(batch, self.network.device))
            where = sequences.positions(batch.rows_B) if tagging else batch.rows_B
            scores_NK[where] = self.network.head(features_MF).float().cpu().numpy()
        return scores_NK

    def answers(self, sequences: InputRows) -> np.ndarray:
        """Return the label (int64; `spec.labels` names it) or number (float32) of each sequence or position (N)."""
        return self.network.head.answers(torch.from_numpy(self.scores(sequences))).numpy()

    def probabilities(self, sequences: InputRows) -> np.ndarray:
        """Return the probability of each label (N, K; float32); each row sums to 1.

        Raises:
            ModelError: kind "input": the model has a margin or number head, which gives no probabilities.
        """
        if not isinstance(self.network.head, ProbabilityHead):
            raise ModelError(f"a model of the loss {self.spec.loss!r} has no probabilities: ask for scores", "input")
        return torch.softmax(torch.from_numpy(self.scores(sequences)), 1).numpy()

    def measure(self, examples: LabelledSequences) -> dict[str, float]:
        """Return the mean loss by name, and further figures.

        For labels: "error_rate" (the mean 0/1 loss) and "macro_f1" (`models/classification/figures.py`); for numbers:
        "root_mean_square" of the errors. Every sequence, or for tagging every position with a target, has the same
        weight.

        Raises:
            ModelError: kind "input": see `LabelledSequences.require`.
        """
        examples.require(self.spec, self.entries)
        scored = examples.asked(self.spec)
        scores_NK = torch.from_numpy(self.scores(examples.sequences)[scored]).double()
        targets_N = torch.from_numpy(examples.targets[scored].astype(np.float64 if self.spec.numbers else np.int64))
        mean = float(self.network.head.loss(scores_NK, targets_N).mean())
        if self.spec.numbers:
            return {self.spec.loss: mean, "root_mean_square": math.sqrt(mean)}
        answers_N = self.network.head.answers(scores_NK).numpy()
        return {
            self.spec.loss: mean,
            "error_rate": float(losses.zero_one(scores_NK, targets_N).mean()),
            "macro_f1": macro_f1(targets_N.numpy(), answers_N, len(self.spec.labels)),
        }

    def save(self, folder: Path) -> None:
        """Write the model into a folder, which is created if needed."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).unlink(missing_ok=True)
        tensors = {name: tensor.cpu().contiguous() for name, tensor in stored_once(self.network).items()}
        save_tensors(save_file, tensors, folder / WEIGHTS)
        values = {
            "format": FORMAT,
            "spec": to_dict(self.spec),
            "entries": self.entries,
            "vocabulary_digest": self.vocabulary_digest,
            "sha256": hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest(),
        }
        text = json.dumps(values, sort_keys=True, ensure_ascii=False, indent=1, allow_nan=False)
        (folder / FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, vocabulary_digest: str | None = None, device: str = "cpu") -> Self:
        """Open a model written by `save`.

        Args:
            folder: The model's folder.
            vocabulary_digest: Of the vocabulary that makes the ids; None skips the check.
            device: Device of the network.

        Raises:
            ModelError: kind "bundle": not a labeller, newer than this version, damaged, or of another vocabulary;
                "input": the device does not exist.
        """
        require_device(device)
        with stored(f"{folder} is not a valid classifier or tagger: it"):
            values = json.loads((folder / FILE).read_text(encoding="utf-8"))
            if values["format"] != FORMAT:
                raise ValueError(f"format {values['format']}; this version reads {FORMAT}")
            raw = (folder / WEIGHTS).read_bytes()
            if hashlib.sha256(raw).hexdigest() != values["sha256"]:
                raise ValueError(f"{WEIGHTS} is damaged: its SHA-256 is not the one in {FILE}")
            spec, weights = from_dict(values["spec"]), load(raw)
            network = empty_network(spec, values["entries"])
            network.load_state_dict(weights)
            digest = str(values["vocabulary_digest"])
        if vocabulary_digest is not None and vocabulary_digest != digest:
            raise ModelError(f"{folder} was trained with vocabulary {digest!r}, not {vocabulary_digest!r}", "bundle")
        return cls(spec, network.to(device), digest)


def input_tensors(batch: LabelledBatch | FeatureBatch, device: torch.device) -> list[torch.Tensor]:
    """Return the arguments of the network for a batch."""
    return [to_device(torch.from_numpy(array), device) for array in batch.inputs()]


def empty_network(spec: LabellerSpec, entries: int) -> LabellingNetwork:
    """Return a network whose weights are filled in later; the random stream does not change."""
    nothing: np.ndarray = np.zeros(0, np.float64 if spec.numbers else np.int64)
    with torch.random.fork_rng(devices=[]):
        return LabellingNetwork(spec, entries, nothing)
