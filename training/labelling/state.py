"""Hold everything that changes while a classifier or tagger is trained, for the trainer and its checkpoints."""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from torch import Tensor

from models.neural.labelling.labelled_sequences import LabelledSequences
from models.neural.labelling.labeller import Labeller
from models.neural.weights_file import (
    fill_network,
    network_tensors,
    prefixed,
    require_weights,
    stored_once,
    without_prefix,
)
from models.options import stored
from training.labelling.fine_tuning import FineTuning, Rates
from training.neural.averaging import WeightAverage
from training.neural.checkpoint import Checkpoint, fill_optimizer, optimizer_tensors, random_tensors, set_random
from training.neural.parallel.data_parallel import Ranks


@dataclass
class LabellerProgress:
    """The numbers of a training that a checkpoint holds.

    Args:
        updates: Done so far.
        tokens: Tokens, or features, read by them.
        seconds: Spent on updates.
        loss: Sum of the losses since the last line of the journal.
        targets: Number of these.
        latest: Figures of the latest evaluation.
        best: Figures of the best one; empty before the first one.
        best_update: Updates done at that evaluation.
        divergences: Times that the training went back to a good state.
        rate_factor: Of the learning rate, since these.
        class_changes: Times that it resumed under another class of determinism.
        micro_batch: Sequences read at a time; fewer after a lack of memory.
    """

    updates: int = 0
    tokens: int = 0
    seconds: float = 0.0
    loss: float = 0.0
    targets: int = 0
    latest: dict[str, float] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    best_update: int = 0
    divergences: int = 0
    rate_factor: float = 1.0
    class_changes: int = 0
    micro_batch: int = 0

    def count(self, loss: float, targets: int, tokens: int) -> None:
        """Add one update."""
        self.updates, self.tokens = self.updates + 1, self.tokens + tokens
        self.loss, self.targets = self.loss + loss, self.targets + targets

    def keep_machine(self, before: LabellerProgress) -> None:
        """Take over what describes this machine from the numbers before a divergence."""
        self.micro_batch, self.class_changes = min(before.micro_batch, self.micro_batch), before.class_changes


class LabellerState:
    """The state of one training; it is the initial state until `fill` loads a checkpoint.

    Args:
        model: With its initial weights.
        total_updates: In the whole training.
        per_epoch: Updates of an epoch.
        tuning: Options of fine-tuning; None trains all parts at the same rate.

    Attributes:
        rates: Has the optimiser.
        average: Of the weights; None where nothing is averaged.
        metrics: Progress.
        best: The best weights on validation, averaged ones if there is an average.
        ranks: A classifier is trained by one process.
    """

    def __init__(self, model: Labeller, total_updates: int, per_epoch: int, tuning: FineTuning | None) -> None:
        self.spec, self.network, self.training = model.spec, model.network, model.spec.training
        self.total_updates, self.device, self.ranks = total_updates, model.network.device, Ranks()
        self.rates = Rates(self.network, self.training, total_updates, per_epoch, tuning)
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.average = WeightAverage(trained, self.training.ema) if self.training.ema else None
        self.metrics = LabellerProgress(micro_batch=self.training.micro_batch or self.training.batch)
        self.best = network_tensors(self.network)

    def settle(self) -> None:
        """Do nothing: every update is counted when it is made."""

    def averaged(self) -> AbstractContextManager[None]:
        """Put the averaged weights into the network within a block, if there is an average."""
        return nullcontext() if self.average is None else self.average.applied()

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name, not copies, for a checkpoint."""
        return {
            **prefixed("network", stored_once(self.network)),
            **prefixed("best", self.best),
            **prefixed("optimizer", optimizer_tensors(self.rates.optimizer)),
            **prefixed("average", self.average.tensors() if self.average else {}),
            **prefixed("random", random_tensors(self.device)),
        }

    def facts(self) -> dict[str, Any]:
        """Return all numbers as JSON values, for a checkpoint."""
        return {"progress": asdict(self.metrics)}

    def identity(self, tuning: FineTuning | None, *data: LabelledSequences) -> dict[str, Any]:
        """Return the values that must be equal in a checkpoint and this training on these examples (JSON values)."""
        options = {name: value for name, value in stored(self.spec).items() if name not in ("name", "vocabulary")}
        initial = hashlib.sha256()
        for name, tensor in sorted(self.best.items()):
            initial.update(name.encode() + tensor.numpy().tobytes())
        values = {"spec": options, "tuning": asdict(tuning) if tuning else None, "initial": initial.hexdigest(),
                  "data": [_digest(one) for one in data],
                  "numbers": [entry.name for entry in fields(LabellerProgress)]}  # fmt: skip
        return json.loads(json.dumps(values))  # type: ignore[no-any-return]

    def require_weights(self, saved: Checkpoint) -> None:
        """Raise ValueError unless a checkpoint holds all weights of the network, the latest and the best."""
        for name in ("network", "best"):
            require_weights(self.network, without_prefix(name, saved.tensors))

    def fill(self, saved: Checkpoint) -> None:
        """Restore the results of `tensors` and `facts`."""
        self.metrics = LabellerProgress(**saved.facts["progress"])
        self.best = without_prefix("best", saved.tensors)
        fill_network(self.network, without_prefix("network", saved.tensors))
        fill_optimizer(self.rates.optimizer, without_prefix("optimizer", saved.tensors))
        if self.average is not None:
            self.average.fill(without_prefix("average", saved.tensors))
        set_random(without_prefix("random", saved.tensors), self.device)


def _digest(examples: LabelledSequences) -> str:
    """Return the SHA-256 of all numbers of labelled sequences; networks do not read the texts."""
    content = hashlib.sha256()
    rows = examples.sequences
    for array in (*(getattr(rows, entry.name) for entry in fields(rows) if entry.compare), examples.targets):
        content.update(f"{array.dtype} {array.shape} ".encode() + np.ascontiguousarray(array).data)
    return content.hexdigest()
