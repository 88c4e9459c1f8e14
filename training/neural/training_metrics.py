"""Collect the metrics of a training: progress, loss, gradient norms, time, memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from reviewlm.models.base import perplexity
from reviewlm.training.context import FitProgress
from reviewlm.training.neural.gradient_clipping import Clipped

SUMS = ("nats", "tokens", "clipped", "cut", "updates", "seconds")
HORIZON = 100
"""Updates in the running mean of the training loss."""
FINENESS = 1.02
"""Ratio of neighbouring bins in which the times of updates are counted."""
MEASURED = (
    "tokens_per_second",
    "step_seconds/p50",
    "step_seconds/p90",
    "step_seconds/p99",
    "peak_memory_megabytes",
    "peak_gpu_memory_megabytes",
)
"""Figures of the machine: they go on after a resume, and differ between otherwise equal trainings."""


@dataclass
class TrainingMetrics:
    """The metrics in a checkpoint (JSON values); tokens are scored tokens, nats are per token.

    If the training loss is an estimator's (`OutputLayer.reports_nats` is False), all training nats are that loss.

    Args:
        updates: Windows read so far; each is one update unless nothing in it is scored.
        tokens: Scored so far.
        seconds: Spent on updates, without evaluations.
        cpu_seconds: CPU time spent on updates, summed over all threads of this process.
        rate_factor: 0.5 to the power of divergences: multiplies the learning rate.
        divergences: Times that the training went back to a good state.
        clipped: Updates whose gradient was shortened to the largest norm.
        cut: Updates with a gradient entry clipped to the largest value.
        best_nats: Lowest on validation so far.
        best_tokens: Tokens seen when it was measured.
        validation_nats: Latest.
        train_nats: Mean over the last line of the journal.
        since: Sums since the last line of the journal.
        norm: Of the latest gradient, before clipping.
        running_nats: Running mean of the training loss.
        plateau: Factor on the rate after evaluations without improvement.
        micro_batch: Streams read at a time; halved when memory does not suffice.
        class_changes: Times that the training resumed under another class of determinism.
        times: Number of updates by duration; the key is the exponent, as text, of the nearest power of `FINENESS`.
        peaks: Peak memory so far by the name of the figure, also of processes that were killed since.
    """

    updates: int = 0
    tokens: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    rate_factor: float = 1.0
    divergences: int = 0
    clipped: int = 0
    cut: int = 0
    best_nats: float = math.inf
    best_tokens: int = 0
    validation_nats: float = math.inf
    train_nats: float = math.inf
    since: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SUMS, 0.0))
    norm: float = 0.0
    running_nats: float = math.inf
    plateau: float = 1.0
    micro_batch: int = 1
    class_changes: int = 0
    times: dict[str, int] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)

    def count(
        self,
        nats: float,
        tokens: int,
        clipped: Clipped,
        before: int | None = None,
    ) -> None:
        """Add one update: the sum of its nats, its scored tokens, its gradient's norm and clipping.

        Args:
            nats: Sum over the scored tokens.
            clipped: What became of its gradient.
            before: Number of updates before it, if more have been made since.
        """
        self.tokens += tokens
        self.clipped += clipped.by_norm
        self.cut += clipped.by_value
        self.norm = clipped.norm
        loss = nats / tokens
        finite = math.isfinite(self.running_nats)
        share = 1.0
        if finite:
            updates = self.updates if before is None else before
            share = 1 / min(updates + 1, HORIZON)

        if finite:
            self.running_nats = self.running_nats + share * (loss - self.running_nats)
        else:
            self.running_nats = loss

        sums = {
            "nats": nats,
            "tokens": tokens,
            "clipped": clipped.by_norm,
            "cut": clipped.by_value,
            "updates": 1,
        }
        for name, value in sums.items():
            self.since[name] += value

    def clock(self, seconds: float, cpu_seconds: float) -> None:
        """Add the wall-clock time and the CPU time of one update."""
        self.seconds += seconds
        self.cpu_seconds += cpu_seconds
        self.since["seconds"] += seconds
        power = str(round(math.log(max(seconds, 1e-9), FINENESS)))
        self.times[power] = self.times.get(power, 0) + 1

    def count_wait(self, seconds: float) -> None:
        """Add wall-clock time in which the host waited for the last update."""
        self.seconds += seconds
        self.since["seconds"] += seconds

    def step_seconds(self, share: float) -> float:
        """Return the time within which *share* of the updates so far finished, to 1 %; 0 before the first one."""
        remaining = share * sum(self.times.values())
        for power in sorted(map(int, self.times)):
            remaining -= self.times[str(power)]
            if remaining <= 0:
                return FINENESS**power
        return 0.0

    def keep_machine(self, before: TrainingMetrics) -> None:
        """Take over what describes this machine from the numbers before a divergence."""
        self.micro_batch = min(before.micro_batch, self.micro_batch)
        self.class_changes = before.class_changes
        self.peaks = before.peaks

    def machine_figures(self, peaks: Mapping[str, float]) -> dict[str, float]:
        """Return the figures of machine use so far (`MEASURED`), for journal and summary.

        Args:
            peaks: Peak memory of this process, by the name of the figure.
        """
        self.peaks |= {name: max(value, self.peaks.get(name, 0.0)) for name, value in peaks.items()}
        shares = {
            "p50": 0.5,
            "p90": 0.9,
            "p99": 0.99,
        }
        return {
            **{f"step_seconds/{name}": self.step_seconds(share) for name, share in shares.items()},
            **self.peaks,
        }

    def train_figures(
        self,
        rate: float,
        by_value: bool = False,
        nats: bool = True,
    ) -> dict[str, float]:
        """Return the means since the last call as figures of the journal (none if nothing was scored).

        Args:
            rate: The learning rate of the last update.
            by_value: Entries of the gradient are clipped: include the share of such updates.
            nats: False if the training loss is an estimator's, which has another name and no perplexity.
        """
        since = self.since
        self.since = dict.fromkeys(SUMS, 0.0)
        if since["tokens"] == 0:
            return {}

        self.train_nats = since["nats"] / since["tokens"]
        figures = {"train/estimator_loss": self.train_nats}
        if nats:
            figures = {
                "train/nats": self.train_nats,
                "train/perplexity": perplexity(self.train_nats),
            }

        figures["learning_rate"] = rate
        figures["gradient_norm"] = self.norm
        figures["clipped_share"] = since["clipped"] / since["updates"]
        speed = round(since["tokens"] / max(since["seconds"], 1e-9), 1)
        figures["tokens_per_second"] = speed
        if by_value:
            figures["value_clipped_share"] = since["cut"] / since["updates"]
        if self.divergences:
            figures["divergences"] = float(self.divergences)

        return figures

    def progress(
        self,
        updates: int,
        total_tokens: int,
        nats: bool = True,
    ) -> FitProgress:
        """Return one progress report; figures that are not known yet are left out, as is an estimator's loss."""
        left = self.seconds / max(1, self.updates) * (updates - self.updates)
        losses = {
            "perplexity": self._train_now() if nats else math.inf,
            "validation_perplexity": self.validation_nats,
            "best_perplexity": self.best_nats,
        }
        figures = {name: perplexity(nats) for name, nats in losses.items() if math.isfinite(nats)}
        figures["tokens_per_second"] = self.tokens / max(self.seconds, 1e-9)
        figures["seconds_left"] = left
        return FitProgress(min(self.tokens, total_tokens), total_tokens, figures)

    def _train_now(self) -> float:
        if math.isfinite(self.train_nats) or not self.since["tokens"]:
            return self.train_nats
        return self.since["nats"] / self.since["tokens"]

    def summary(self, nats: bool = True) -> Mapping[str, float]:
        """Return the numbers that describe a finished training; see `train_figures` for *nats*."""
        return {
            "updates": self.updates,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "tokens_per_second": self.tokens / max(self.seconds, 1e-9),
            "train_nats" if nats else "train_estimator_loss": self.train_nats,
            "best_validation_nats": self.best_nats,
            "best_validation_perplexity": perplexity(self.best_nats),
            "best_tokens": self.best_tokens,
            "clipped_share": self.clipped / max(1, self.updates),
            "value_clipped_share": self.cut / max(1, self.updates),
            "divergences": self.divergences,
            "micro_batch": self.micro_batch,
            "class_changes": self.class_changes,
        }
