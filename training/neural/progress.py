"""Report a training: curves into the journal, progress to the caller."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch

from reviewlm.models.threads import peak_resident
from reviewlm.training.context import FitProgress
from reviewlm.training.neural.checkpoint import SETTLED, Journal
from reviewlm.training.neural.state import TrainingState

if TYPE_CHECKING:
    from reviewlm.training.neural.batches import Window
from reviewlm.training.neural.callbacks import Callback, ValidationResult
from reviewlm.training.neural.pacing import Pacing

JOURNAL_LINES = 200
"""Points of each training curve, at most."""
REPORT_SECONDS = 0.5
MEGABYTE = 1e6


class Curves(Callback):
    """Write the curves of a training into its journal; only the leading rank writes."""

    def __init__(self, state: TrainingState, journal: Journal) -> None:
        super().__init__(state)
        self.journal = journal

    def write(self, figures: Mapping[str, float]) -> None:
        """Append one line unless there are no figures."""
        if figures and self.state.ranks.leads:
            self.journal.write(self.state.metrics.tokens, figures)

    def on_update(self, window: Window) -> None:
        """Write means of the training every few updates; use of the machine once an epoch."""
        metrics = self.state.metrics
        total = self.state.total_updates
        last = metrics.updates == total
        if last or metrics.updates % max(1, total // JOURNAL_LINES) == 0:
            self.state.settle()
            rate = self.state.rate(metrics.updates - 1)
            by_value = self.state.training.clip_value is not None
            self.write(metrics.train_figures(rate, by_value, self.state.reports_nats))

        if last or window.index + 1 == window.of:
            self.state.settle()
            self.write(self.machine_figures())

    def on_validation(self, measured: ValidationResult) -> None:
        """Write the measurement, and whether a divergence may still remove the lines before it."""
        figures = {f"validation/{name}": value for name, value in measured.figures.items()}
        self.write({**figures, SETTLED: measured.good})

    def machine_figures(self) -> dict[str, float]:
        """Return the figures of machine use so far: times of updates, peak memory of this process and of the GPU."""
        peaks = {"peak_memory_megabytes": peak_resident() / MEGABYTE}
        device = self.state.device
        if device.type == "cuda":
            peaks["peak_gpu_memory_megabytes"] = torch.cuda.max_memory_reserved(device) / MEGABYTE
        return self.state.metrics.machine_figures(peaks)


class ProgressReport(Callback):
    """Report progress to the caller after each evaluation, and every `REPORT_SECONDS`.

    The length of a paced training is an estimate.
    """

    def __init__(
        self,
        state: TrainingState,
        total_tokens: int,
        report: Callable[[FitProgress], None],
        pacing: Pacing | None,
    ) -> None:
        super().__init__(state)
        self.total_tokens = total_tokens
        self.report = report
        self.pacing = pacing
        self.reported = time.monotonic()
        self.due = False

    def on_validation(self, measured: ValidationResult) -> None:
        """Report at the end of this window."""
        self.due = True

    def on_window_end(self) -> None:
        """Report if it is due."""
        if self.state.ranks.leads and (
            self.due or time.monotonic() - self.reported > REPORT_SECONDS
        ):
            self.reported = time.monotonic()
            self.due = False
            state = self.state
            state.settle()
            if self.pacing:
                updates = self.pacing.expected_updates()
            else:
                updates = state.total_updates

            tokens = round(self.total_tokens * updates / state.total_updates)
            self.report(state.progress(updates, tokens))
