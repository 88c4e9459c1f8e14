"""Hold everything that changes while a network is trained, for the trainer and its checkpoints.

That is: weights, best weights, the optimiser's moments, averages of the weights, the memory of the streams, torch's
random streams and the training metrics. Everything else follows from the options and the number of updates. Each rank
has its own rows of the memory and its own random streams. A checkpoint holds those of all ranks, so that training can
resume with another number of ranks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from reviewlm.models.neural.network import (
    Network,
    fill_network,
    network_tensors,
    require_weights,
    stored_once,
)
from reviewlm.models.neural.spec import TrainingSpec
from reviewlm.models.options import to_plain_values
from reviewlm.training.context import FitProgress
from reviewlm.training.neural.averaging import NonMonotonicTrigger, WeightAverage
from reviewlm.training.neural.checkpoint import (
    Checkpoint,
    fill_optimizer,
    optimizer_tensors,
    random_tensors,
    set_random,
)
from reviewlm.training.neural.data_parallel import Ranks
from reviewlm.training.neural.learning_rates import learning_rate
from reviewlm.training.neural.optimizers import make_optimizer
from reviewlm.training.neural.tbptt import Memory
from reviewlm.training.neural.training_metrics import TrainingMetrics

if TYPE_CHECKING:
    from reviewlm.models.streams import TokenStream


class TrainingState:
    """The state of one training; it is the initial state until `fill` loads a checkpoint.

    Args:
        network: With its initial weights, in training mode.
        training: The recipe.
        total_updates: In the whole training.
        ranks: The processes that train the network together.
        optimizer: None: the one that the recipe names, with one rate for all parameters.

    Attributes:
        reports_nats: The training losses are nats, not those of an estimator (`OutputLayer.reports_nats`).
        rows: The rows of the batch that this rank reads.
        network: The network as the optimiser sees it.
        parameters: The parameters that are trained.
        optimizer: Turns gradients into steps.
        memory: The memory of the streams.
        average: Of the weights; None where nothing is averaged.
        trigger: Starts the average of "nt_asgd"; None for other optimisers, whose average starts at once.
        metrics: Numbers: progress, losses, times, factors of the learning rate.
        best: The best weights on validation, averaged ones if there is an average.
        unread: Reads and counts the figures of the last update, which a GPU may still be computing; see `settle`.
    """

    def __init__(
        self,
        network: Network,
        training: TrainingSpec,
        total_updates: int = 1,
        ranks: Ranks | None = None,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        self.network = network
        self.training = training
        self.total_updates = total_updates
        self.ranks = ranks or Ranks()
        self.rows = self.ranks.rows(training.batch)
        self.device = next(network.parameters()).device
        output = getattr(network, "output", None)
        self.reports_nats = output is None or output.reports_nats
        self.parameters = [
            parameter for parameter in network.parameters() if parameter.requires_grad
        ]
        self.optimizer = optimizer or make_optimizer(network, training)
        self.trigger = None
        if training.optimizer == "nt_asgd":
            self.trigger = NonMonotonicTrigger()

        averages = self.trigger is not None or training.ema > 0
        self.average = None
        if averages:
            self.average = WeightAverage(self.parameters, training.ema or None)

        self.metrics = TrainingMetrics(micro_batch=training.micro_batch or training.batch)
        self.best = network_tensors(network)
        self.unread: Callable[[], None] | None = None
        self.forget()

    def forget(self) -> None:
        """Reset the memory of all streams at the start of an epoch."""
        self.memory = Memory.empty(self.network, self.rows.stop - self.rows.start, self.device)

    def settle(self) -> None:
        """Count the last update if its figures have not been read yet: before anything else reads the metrics.

        Raises:
            Divergence: Of that update (`step.py`); the state is unusable.
        """
        unread = self.unread
        self.unread = None
        if unread is not None:
            began = time.perf_counter()
            unread()
            self.metrics.count_wait(time.perf_counter() - began)

    def rate(self, update: int) -> float:
        """Return the learning rate of an update (from 0), for a window of the usual length."""
        metrics = self.metrics
        return (
            learning_rate(self.training, update, self.total_updates)
            * metrics.rate_factor
            * metrics.plateau
        )

    def set_rates(self, share: float = 1.0) -> None:
        """Set the learning rates of the next update; *share* multiplies them."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(self.metrics.updates) * share

    def progress(self, updates: int, total_tokens: int) -> FitProgress:
        """Return a progress report of a training of *updates* updates in all."""
        return self.metrics.progress(updates, total_tokens, self.reports_nats)

    def after_step(self) -> None:
        """Add the new weights to the average, once it has begun."""
        if self.average is not None and (self.trigger is None or self.trigger.fired):
            self.average.update()

    def use_average(self) -> AbstractContextManager[None]:
        """Put the averaged weights into the network within a block, if there is an average."""
        if self.average is None:
            return nullcontext()
        return self.average.apply()

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name, not copies, for a checkpoint. All ranks call it; the leading one gets them."""
        place = self.device
        if self.ranks.size > 1:  # other ranks send theirs
            place = torch.device("cpu")

        own_memory = {name: tensor.to(place) for name, tensor in self.memory.tensors().items()}
        of_ranks = self.ranks.gather((own_memory, random_tensors(self.device)))
        if not self.ranks.leads:
            return {}

        memory = Memory.join([Memory.of(tensors, place) for tensors, _ in of_ranks])
        together = {
            **add_prefix("network", stored_once(self.network)),
            **add_prefix("best", self.best),
            **add_prefix("optimizer", optimizer_tensors(self.optimizer)),
        }
        if self.average:
            together |= add_prefix("average", self.average.tensors())

        together |= add_prefix("memory", memory.tensors())
        for rank, (_, random) in enumerate(of_ranks):
            together |= add_prefix(_stream(rank), random)

        return together

    def facts(self) -> dict[str, Any]:
        """Return all numbers as JSON values, for a checkpoint."""
        return {
            "course": asdict(self.metrics),
            "trigger": asdict(self.trigger) if self.trigger else None,
        }

    def identity(self, *streams: TokenStream) -> dict[str, Any]:
        """Return the values that must be equal in a checkpoint and this training on these streams (JSON values)."""
        digests = [[stream.vocabulary_digest, stream.facts["sha256"]] for stream in streams]
        shapes = [list(parameter.shape) for parameter in self.parameters]
        return {
            "training": to_plain_values(self.training),
            "shapes": shapes,
            "streams": digests,
        }

    def require_weights(self, saved: Checkpoint) -> None:
        """Raise ValueError unless a checkpoint holds all weights of the network, the latest and the best."""
        for name in ("network", "best"):
            require_weights(self.network, without_prefix(name, saved.tensors))

    def fill(self, saved: Checkpoint) -> None:
        """Restore the results of `tensors` and `facts`."""
        tensors = saved.tensors
        self.unread = None
        self.metrics = TrainingMetrics(**saved.facts["course"])
        self.best = without_prefix("best", tensors)
        fill_network(self.network, without_prefix("network", tensors))
        fill_optimizer(self.optimizer, without_prefix("optimizer", tensors))
        if self.average is not None:
            self.average.fill(without_prefix("average", tensors))

        if self.trigger is not None:
            self.trigger = NonMonotonicTrigger(**saved.facts["trigger"])

        self.memory = Memory.of(without_prefix("memory", tensors), self.device).rows(self.rows)
        if random := without_prefix(_stream(self.ranks.rank), tensors):
            set_random(random, self.device)
        else:  # the checkpoint has fewer ranks
            torch.manual_seed(self.ranks.seed(self.training.seed))


def _stream(rank: int) -> str:
    """Return the name of a rank's random streams in a checkpoint."""
    return f"random.{rank}" if rank else "random"


def add_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under the names "PREFIX/NAME"."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of one prefix under their names without it."""
    return {
        name[len(prefix) + 1 :]: value
        for name, value in tensors.items()
        if name.startswith(prefix + "/")
    }
