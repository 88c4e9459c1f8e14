"""Fine-tune a network that starts from a language model (Howard & Ruder 2018, ULMFiT, sections 3.2 and 3.3).

    discriminative rates          η^{l−1} = η^l / rate_decay               the head has η, each part below it less
    slanted triangular rates      cut = ⌊T · share⌋                         eq. 3
                                  p   = t / cut                 for t < cut
                                  p   = 1 − (t − cut)/(T − cut) from then on
                                  η_t = η (1 + p (ratio − 1)) / ratio
    gradual unfreezing            the head is trained from the start, the part d below it from epoch d · epochs_apart

Eq. 3 has cut (1/share − 1) in place of T − cut. Both are the same where T · share is a whole number; elsewhere that
denominator is too small, and η_t could fall below 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from models.neural.labelling.network import LabellingNetwork
from models.neural.spec import TrainingSpec
from training.neural.optimizers import learning_rate, make_rule


@dataclass(frozen=True)
class FineTuning:
    """The options of fine-tuning.

    Args:
        rate_decay: Factor between the rates of a part and the part below it.
        rate_ratio: Factor between the highest and the lowest rate of a part.
        unfreeze_epochs: Epochs between the moments when a part and the part below it begin to be trained.
    """

    rate_decay: float = 2.6
    rate_ratio: float = 32.0
    unfreeze_epochs: float = 1.0


def slanted_triangular(update: int, updates: int, peak: float, share: float, ratio: float) -> float:
    """Return the rate η_t of an update (t, from 0) of all *updates* (T); the other arguments as in the equations."""
    cut = math.floor(updates * share)
    p = update / cut if update < cut else 1 - (update - cut) / (updates - cut)
    return peak * (1 + p * (ratio - 1)) / ratio


class Rates:
    """The learning rates of a training, and which parts are trained at an update; a function of its number alone.

    Args:
        network: Its parts are `network.groups()`.
        training: Optimiser, rate, and without *tuning* the schedule.
        updates: In the whole training.
        per_epoch: Updates of an epoch.
        tuning: None: all parts are trained with the same rate, by the schedule of *training*.
    """

    def __init__(
        self, network: LabellingNetwork, training: TrainingSpec, updates: int, per_epoch: int, tuning: FineTuning | None
    ) -> None:
        self.training, self.updates, self.per_epoch, self.tuning = training, updates, per_epoch, tuning
        parts = list(reversed(network.groups())) if tuning else [network]
        self.parts = [[weight for weight in part.parameters() if weight.requires_grad] for part in parts]
        groups: list[dict[str, Any]] = []
        for depth, parameters in enumerate(self.parts):
            for matrices, decay in ((True, training.weight_decay), (False, 0.0)):
                chosen = [parameter for parameter in parameters if (parameter.ndim >= 2) == matrices]
                if chosen:
                    groups.append({"params": chosen, "weight_decay": decay, "depth": depth})
        self.optimizer: torch.optim.Optimizer = make_rule(groups, training)

    def set(self, update: int, factor: float = 1.0) -> float:
        """Set the rates of an update (from 0), and freeze the parts that are not trained; return the head's rate.

        Args:
            update: Its number.
            factor: Multiplies all rates.
        """
        peak = self.rate(update) * factor
        for group in self.optimizer.param_groups:
            group["lr"] = peak / (self.tuning.rate_decay ** group["depth"] if self.tuning else 1.0)
        for depth, parameters in enumerate(self.parts):
            trained = update >= self.begin(depth)
            for parameter in parameters:
                parameter.requires_grad_(trained)
        return peak

    def rate(self, update: int) -> float:
        """Return the highest rate of all parts at an update."""
        if self.tuning is None:
            return learning_rate(self.training, update, self.updates)
        training = self.training
        return slanted_triangular(update, self.updates, training.learning_rate, training.warmup, self.tuning.rate_ratio)

    def begin(self, depth: int) -> int:
        """Return the first update that trains the part *depth* below the head."""
        return math.ceil(depth * self.tuning.unfreeze_epochs * self.per_epoch) if self.tuning else 0
