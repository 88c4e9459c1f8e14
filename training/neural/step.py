"""Make one update: compute a window's gradient and take an optimiser step.

The two parts are separate. `TrainingStep.gradient` adds up sums over the scored tokens of a window's streams
(`tbptt.py`). `TrainingStep.apply` divides them by streams × positions, clips (`gradient_clipping.py`) and steps. The
division gives every token the same weight, also in a window that is partly padding.

On a GPU the host only queues work: it reads loss and norm of an update after it has queued the next one. So a
divergence is noticed one update later than on the processor. Nothing is lost: the training goes back to a checkpoint in
any case, and before anything is saved, measured or reported, the last update is read (`TrainingState.settle`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from reviewlm.models.base import is_out_of_memory
from reviewlm.models.neural.device import (
    first_line,
    free_cached_memory,
    to_device,
)
from reviewlm.training.neural.checkpoint import Unread, random_tensors, set_random
from reviewlm.training.neural.fused.captured import CapturedReading, Read, capture_reading
from reviewlm.training.neural.gradient_clipping import (
    Clipped,
    scale_and_clip,
    scale_and_clip_on_gpu,
)
from reviewlm.training.neural.state import TrainingState
from reviewlm.training.neural.tbptt import Memory, Sums, add_gradients

if TYPE_CHECKING:
    from reviewlm.training.neural.batches import Window

log = logging.getLogger(__name__)


class Divergence(Exception):
    """Divergence: loss or gradient is not finite."""


class UpdateStep:
    """Base class: one update of a training's state, from a gradient that a subclass adds up.

    Args:
        state: Changed in place.
        record: Writes figures to the journal.
    """

    def __init__(self, state: TrainingState, record: Callable[[Mapping[str, float]], None]) -> None:
        self.state = state
        self.training = state.training
        self.record = record

    def add_up(self, add: Callable[[], tuple[Sums, Memory]], rows: int) -> tuple[Sums, Memory]:
        """Add up the gradients of all ranks' rows; the returned sums are those of all ranks, too.

        If memory does not suffice (on one rank or more), repeat without replays, then with half as many rows at a time.
        The repetition starts from the same memory of the streams and the same random state.

        Args:
            add: Adds the gradient of some rows to that of the parameters, `metrics.micro_batch` rows at a time.
            rows: Their number.
        """
        state = self.state
        random = random_tensors(self.state.device)
        while True:
            state.optimizer.zero_grad(set_to_none=True)
            sums = Sums(0.0, 0)
            after = state.memory
            message = ""
            try:
                sums, after = add()
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error) or (
                    state.metrics.micro_batch == 1 and not self._may_replay(rows)
                ):
                    raise

                message = first_line(error)

            failed, nats, tokens = state.ranks.add_up(
                state.parameters, bool(message), sums.nats, sums.tokens
            )
            if not failed:
                return Sums(nats, tokens), after
            # The error keeps tensors in memory until the except block ends, so the cache is emptied here.
            message = message or "on another rank"
            if self._may_replay(rows):  # a graph needs more memory than the kernels one by one
                self._launch_from_now_on(message)
            else:
                self._halve_micro_batch(message)

            set_random(random, state.device)

    def _may_replay(self, rows: int) -> bool:
        """Return whether batches of so many rows may be replayed by a CUDA graph."""
        return False

    def _launch_from_now_on(self, message: str) -> None:
        """Give the CUDA graph up."""

    def _free_memory(self) -> None:
        self.state.network.last_layer = None  # it keeps the whole graph before it in memory
        if self.state.device.type == "cuda":
            free_cached_memory()

    def _halve_micro_batch(self, message: str) -> None:
        metrics = self.state.metrics
        self._free_memory()
        most = self.state.ranks.most_rows(self.training.batch)
        metrics.micro_batch = -(-min(metrics.micro_batch, most) // 2)
        self.record({"micro_batch": metrics.micro_batch})
        log.warning(
            "out of memory (%s): gradients are now accumulated over micro-batches of %d rows; results differ only by "
            "rounding and dropout draws. A smaller training.batch avoids this",
            message,
            metrics.micro_batch,
        )

    def apply(
        self,
        sums: Sums,
        count: int,
        share: float = 1.0,
    ) -> None:
        """Divide the summed gradient by *count*, clip the result and take a step.

        Args:
            sums: Of the batch whose gradient is in `.grad`.
            count: Positions of the batch.
            share: Length of the window as a share of the usual one; the rate is scaled with it (AWD-LSTM).

        Raises:
            Divergence: On the processor no step is taken. On a GPU it is about the update before: see above.
        """
        training = self.training
        state = self.state
        tokens = sums.tokens
        if isinstance(sums.nats, Tensor):
            clipped = scale_and_clip_on_gpu(
                state.parameters, 1 / count, training.clip, training.clip_value
            )
            read = Unread([sums.nats, *clipped]).read
            counted: Callable[[], None] = partial(
                self._count_unread, read, tokens, state.metrics.updates
            )
        else:
            norms = scale_and_clip(state.parameters, 1 / count, training.clip, training.clip_value)
            self._require_sound(sums.nats, tokens, norms)
            counted = partial(state.metrics.count, sums.nats, tokens, norms)

        state.set_rates(share)
        state.optimizer.step()
        state.after_step()
        if isinstance(sums.nats, Tensor):
            # Count the update before: the GPU may still compute the sums of this one.
            earlier = state.unread or _nothing
            state.unread = counted
            counted = earlier

        counted()

    def _count_unread(
        self,
        read: Callable[[], list[float]],
        tokens: int,
        before: int,
    ) -> None:
        """Read the figures of an update from a GPU, and count it."""
        nats, norm, by_value, by_norm = read()
        clipped = Clipped(norm, bool(by_value), bool(by_norm))
        self._require_sound(nats, tokens, clipped)
        self.state.metrics.count(nats, tokens, clipped, before)

    def _require_sound(
        self,
        nats: float,
        tokens: int,
        clipped: Clipped,
    ) -> None:
        """Raise Divergence if loss or gradient is not finite."""
        loss = f"loss {nats / tokens:.4g}{' nats' * self.state.reports_nats} per token"
        if not (math.isfinite(clipped.norm) and math.isfinite(nats)):
            raise Divergence(
                f"loss or gradient is not finite: {loss}, gradient norm {clipped.norm:.4g}"
            )


def _nothing() -> None:
    """Count nothing: there was no update before."""


class TrainingStep(UpdateStep):
    """One update of a language model's training by one window; arguments as those of `UpdateStep`."""

    def __init__(self, state: TrainingState, record: Callable[[Mapping[str, float]], None]) -> None:
        super().__init__(state, record)
        self._captured: CapturedReading | None = None
        on_gpu = state.device.type == "cuda"
        all_at_once = self.training.bptt_grad_len in (None, self.training.bptt_len)
        self._captures = on_gpu and all_at_once and not self.training.random_window

    def __call__(self, window: Window, keep_B: Tensor | None) -> None:
        """Read one window and take one step; a window without a scored token only updates the memory.

        Args:
            window: The next one.
            keep_B: False for streams that are reset before this window; None where none is.
        """
        rows = self.state.rows
        device = self.state.device
        x_BT = to_device(torch.from_numpy(window.x_BT[rows]), device)
        y_BT = torch.from_numpy(window.y_BT[rows])
        if keep_B is not None:
            keep_B = to_device(keep_B[rows], device)
        else:
            keep_B = None

        sums, self.state.memory = self.gradient(x_BT, y_BT, keep_B)
        if sums.tokens:
            self.apply(sums, window.y_BT.size, window.y_BT.shape[1] / self.training.bptt_len)

    def gradient(
        self,
        x_BT: Tensor,
        y_BT: Tensor,
        keep_B: Tensor | None,
    ) -> tuple[Sums, Memory]:
        """Add up the gradients of a window; see `add_up`."""
        state = self.state

        def add() -> tuple[Sums, Memory]:
            with tf32_in_layers(x_BT.is_cuda and state.network.products == "bf16"):
                return add_gradients(
                    state.network,
                    state.memory,
                    x_BT,
                    y_BT,
                    keep_B,
                    self.training,
                    state.metrics.micro_batch,
                    self._reading(x_BT),
                )

        return self.add_up(add, len(x_BT))

    def _reading(self, x_BT: Tensor) -> Read | None:
        """Return a reader of windows of the usual length by replays on a GPU; None for other windows."""
        if not self._may_replay(len(x_BT)) or x_BT.shape[1] != self.training.bptt_len:
            return None
        if self._captured is None:
            self._captured = capture_reading(self.state.network, x_BT, self.state.memory.state)
            self._captures = self._captured is not None
        return self._captured

    def _may_replay(self, rows: int) -> bool:
        """Return whether windows of all these streams may be replayed: in parts, their gradients are added up."""
        return self._captures and self.state.metrics.micro_batch >= rows

    def _launch_from_now_on(self, message: str) -> None:
        log.warning(
            "not enough GPU memory for a CUDA graph (%s): training goes on without it, more slowly",
            message,
        )
        self._captured = None
        self._captures = False
        self._free_memory()


@contextmanager
def tf32_in_layers(on: bool) -> Iterator[None]:
    """Within the block, if *on*, let cuDNN's layers in float32 round the factors of their products to TF32.

    It is for a training in bf16 on a GPU whose cuDNN has no such layers. TF32's mantissa is three bits longer than that
    of bf16. The switch is one of the process, so the threads of the backward pass see it.
    """
    if not on:
        yield
        return
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
