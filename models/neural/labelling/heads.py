"""Map features to scores, a loss and an answer; the same head serves a classifier and a tagger.

    probability     s = W h + b        p = softmax(s)          answer argmax s      cross-entropy
    margin          s = W h + b        not normalised          answer argmax s      hinge, hinge_sum, ranking
    number          f = w h + b                                answer f             squared error

The classifier's features are the trunk's summary of a sequence, the tagger's those of each position.
A margin head for two labels has one row, s = (0, f): then the multiclass hinge losses equal the binary one, and
f ranks too. Shapes: N examples, F features, K labels.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from ...base import ModelError
from ..network import EMBEDDING_STD
from . import losses
from .spec import LabellerSpec

MULTICLASS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"hinge": losses.hinge, "hinge_sum": losses.hinge_sum}


class Head(nn.Module):
    """Base class of all heads.

    Args:
        features: F.
        rows: Of the weight, one per score.

    Attributes:
        linear: W and b; rows start so small that the first answers are nearly those of b alone.
    """

    def __init__(self, features: int, rows: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, rows)
        nn.init.normal_(self.linear.weight, 0.0, EMBEDDING_STD)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features_NF: Tensor) -> Tensor:
        """Return the scores (N, K); for a number head (N, 1)."""
        scores_NK: Tensor = self.linear(features_NF.to(self.linear.weight.dtype))
        return scores_NK

    @abstractmethod
    def loss(self, scores_NK: Tensor, targets_N: Tensor) -> Tensor:
        """Return the loss of each example (N), 0 or more, from the scores and the targets.

        Raises:
            ModelError: kind "input": the targets' shape or values do not fit.
        """
        raise NotImplementedError

    @abstractmethod
    def answers(self, scores_NK: Tensor) -> Tensor:
        """Return the answer of each row of scores: a label (int64), or a number."""
        raise NotImplementedError


class ProbabilityHead(Head):
    """The head softmax(W h + b), trained by maximum likelihood.

    Args:
        features: F.
        counts_K: How often each label is the target in training. b starts at the logarithm of these frequencies (0.5
            added to each count), so that training starts from the share of each label.
    """

    def __init__(self, features: int, counts_K: Tensor) -> None:
        super().__init__(features, len(counts_K))
        share_K = (counts_K.double() + 0.5) / (counts_K.double() + 0.5).sum()
        with torch.no_grad():
            self.linear.bias.copy_(share_K.log())

    def loss(self, scores_NK: Tensor, targets_N: Tensor) -> Tensor:
        """See `Head.loss`."""
        return losses.cross_entropy(scores_NK, targets_N)

    def answers(self, scores_NK: Tensor) -> Tensor:
        """Return argmax s (N); of equal scores the first."""
        return scores_NK.argmax(1)


class MarginHead(Head):
    """A head with scores that are not normalised, trained by the margin of the target's score.

    Args:
        features: F.
        labels: K; 2 labels have one row (see above), and so has 1, which only ranks.
        loss: "hinge" or "hinge_sum".
    """

    def __init__(self, features: int, labels: int = 1, loss: str = "hinge") -> None:
        super().__init__(features, 1 if labels <= 2 else labels)
        self.labels, self.minimised = labels, MULTICLASS[loss]

    def forward(self, features_NF: Tensor) -> Tensor:
        """Return the scores (N, K): (0, f) for two labels, (f) for ranking."""
        scores_NK = super().forward(features_NF)
        return torch.cat([torch.zeros_like(scores_NK), scores_NK], 1) if self.labels == 2 else scores_NK

    def loss(self, scores_NK: Tensor, targets_N: Tensor) -> Tensor:
        """See `Head.loss`."""
        return self.minimised(scores_NK, targets_N)

    def ranking(self, real_NF: Tensor, corrupted_NF: Tensor) -> Tensor:
        """Return max(0, 1 + f(corrupted) − f(real)) of each pair (N), from the features of both.

        Raises:
            ModelError: kind "input": the head has several rows, so no single f; or shapes do not agree.
        """
        if self.labels > 2:
            raise ModelError(f"a head of {self.labels} labels has {self.labels} scores; ranking needs one", "input")
        return losses.ranking(self(real_NF)[:, -1], self(corrupted_NF)[:, -1])

    def answers(self, scores_NK: Tensor) -> Tensor:
        """Return argmax s (N); of equal scores the first; for two labels the second where f > 0."""
        return scores_NK.argmax(1)


class NumberHead(Head):
    """The head f = w h + b, trained by squared error.

    Args:
        features: F.
        mean: Of the targets in training: the first value of b, the best constant answer.
    """

    def __init__(self, features: int, mean: float) -> None:
        super().__init__(features, 1)
        nn.init.constant_(self.linear.bias, mean)

    def loss(self, scores_NK: Tensor, targets_N: Tensor) -> Tensor:
        """See `Head.loss`."""
        return losses.squared_error(scores_NK[:, 0], targets_N)

    def answers(self, scores_NK: Tensor) -> Tensor:
        """Return f (N)."""
        return scores_NK[:, 0]


def make_head(spec: LabellerSpec, features: int, targets_N: np.ndarray) -> Head:
    """Return the head of a spec; equal specs give equal shapes for any targets.

    Args:
        spec: Loss and labels.
        features: F.
        targets_N: Targets in training (without `NOT_SCORED`), for the first bias.
    """
    if spec.numbers:
        return NumberHead(features, float(targets_N.mean()) if len(targets_N) else 0.0)
    if spec.loss == "cross_entropy":
        counts_K = np.bincount(targets_N, minlength=len(spec.labels))
        return ProbabilityHead(features, torch.from_numpy(counts_K))
    return MarginHead(features, len(spec.labels), spec.loss)
