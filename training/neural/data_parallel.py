"""Train one network data-parallel: several processes ("ranks") share each batch.

Each rank reads its rows of every window of the batch, `Ranks.rows`. The ranks add up their gradients (of sums over
tokens), nats and scored tokens before these are divided, clipped and used for a step. So the course of the training is
that of one process with the same batch, to rounding. All ranks hold the same weights and moments. Each has its own rows
of the streams' memory, and its own random stream for dropout and samples.

Synchronous data parallelism with averaged gradients: Goyal et al. 2017, "Accurate, large minibatch SGD", section 2.3.
All gradients are sent in one flat buffer: Li et al. 2020, "PyTorch Distributed", section 3.2.3, with a single bucket.
The few other numbers of an update are at its end, so that an update is one exchange.
It is sent over gloo or NCCL.

Only the leading rank, number 0, reads and writes files. It sends the content to the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed, nn

from reviewlm.models.base import ModelError, is_out_of_memory
from reviewlm.models.neural.device import to_device
from reviewlm.training.context import FitContext

PEER = "peer"
"""Error kind of a rank that works itself but cannot go on without another one."""
RANK_STREAM = 13
"""Part of the ranks' seeds, so that they differ from other uses of the same seed."""
Thing = TypeVar("Thing")


class Ranks:
    """A single process without others.

    Attributes:
        rank: Number of this process, from 0.
        size: Number of processes.
    """

    rank = 0
    size = 1

    @property
    def leads(self) -> bool:
        """Whether the process of this rank reads and writes files and reports progress."""
        return self.rank == 0

    def rows(self, batch: int) -> slice:
        """Return the rows of a batch that belong to a rank: as many as each other rank's, or one more."""
        return slice(batch * self.rank // self.size, batch * (self.rank + 1) // self.size)

    def most_rows(self, batch: int) -> int:
        """Return the largest number of rows of a rank."""
        return -(-batch // self.size)

    def seed(self, seed: int) -> int:
        """Return the seed of this rank's random stream; for the first rank it is *seed* itself."""
        if self.leads:
            return seed
        return int(
            np.random.SeedSequence([seed, RANK_STREAM, self.rank]).generate_state(1, np.uint64)[0]
            >> 1
        )

    def total(self, numbers: Sequence[float]) -> list[float]:
        """Return the sums over all ranks (float64): the same bits on every rank."""
        return list(numbers)

    def add_up(
        self,
        parameters: Sequence[nn.Parameter],
        failed: bool,
        nats: float | Tensor,
        tokens: int,
    ) -> tuple[bool, float | Tensor, int]:
        """Replace all gradients by their sums over the ranks; a gradient that no rank has stays None.

        Returns:
            Whether a rank has failed, and the sums of nats and tokens; of several ranks, the nats are in float32.
        """
        return failed, nats, tokens

    def clock(self) -> float:
        """Return the leading rank's seconds since any moment, on every rank: those of the latest `add_up`."""
        return monotonic()

    def decide(self, yes: bool) -> bool:
        """Return the leading rank's *yes*, on every rank."""
        return bool(self.total([float(yes and self.leads)])[0])

    def same(self, thing: Thing) -> Thing:
        """Return the leading rank's *thing*, on every rank."""
        return thing

    def gather(self, thing: Thing) -> list[Thing]:
        """Return the *thing* of every rank, in rank order, on the leading rank; an empty list on the others."""
        return [thing]


class Group(Ranks):
    """The processes of an open process group.

    All ranks call every method in the same order. Each method raises ModelError of kind "peer" if another rank is gone.

    Args:
        parameters: The trained parameters; all ranks get the leading one's values.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.rank = distributed.get_rank()
        self.size = distributed.get_world_size()
        sizes = [parameter.numel() for parameter in parameters]
        # After the gradients, one number for each: how many ranks have it. Then: how many have failed, tokens, seconds
        # of the leading rank, nats.
        sizes_of_all = [*sizes, len(sizes) + 3, 1]
        self._began = monotonic()
        self._seconds = 0.0
        self.flat = torch.zeros(sum(sizes_of_all), device=parameters[0].device)
        *pieces, self.tail, self.nats = self.flat.split(sizes_of_all)
        self.pieces = [
            piece.view_as(parameter) for piece, parameter in zip(pieces, parameters, strict=True)
        ]
        with torch.no_grad():
            torch._foreach_copy_(self.pieces, list(parameters))
            self._do(distributed.broadcast, self.flat, 0)
            torch._foreach_copy_(list(parameters), self.pieces)

    def total(self, numbers: Sequence[float]) -> list[float]:
        """See `Ranks.total`."""
        sums = torch.tensor(numbers, dtype=torch.float64)
        self._do(distributed.all_reduce, sums)
        return [float(value) for value in sums]

    def clock(self) -> float:
        """See `Ranks.clock`: no exchange is needed, so it may be asked at every update."""
        return self._seconds

    @torch.no_grad()
    def add_up(
        self,
        parameters: Sequence[nn.Parameter],
        failed: bool,
        nats: float | Tensor,
        tokens: int,
    ) -> tuple[bool, float | Tensor, int]:
        """See `Ranks.add_up`. The gradients are in the flat buffer afterwards: valid until the next call.

        On a GPU the host waits once, and does not read the nats.
        """
        pairs = [
            (piece, p.grad)
            for piece, p in zip(self.pieces, parameters, strict=True)
            if p.grad is not None
        ]
        if len(pairs) < len(self.pieces):
            self.flat.zero_()

        if pairs:
            torch._foreach_copy_([piece for piece, _ in pairs], [grad for _, grad in pairs])

        numbers = [float(parameter.grad is not None) for parameter in parameters]
        numbers += [float(failed), float(tokens), monotonic() - self._began if self.leads else 0.0]
        self.tail.copy_(to_device(torch.tensor(numbers), self.tail.device))
        self.nats.fill_(nats)
        self._do(distributed.all_reduce, self.flat)
        *rank_counts, failures, all_tokens, self._seconds = self.tail.tolist()
        for piece, parameter, ranks in zip(self.pieces, parameters, rank_counts, strict=True):
            parameter.grad = piece if ranks else None

        return (
            bool(failures),
            self.nats[0] if self.nats.is_cuda else float(self.nats),
            round(all_tokens),
        )

    def same(self, thing: Thing) -> Thing:
        """See `Ranks.same`."""
        box = [thing if self.leads else None]
        self._do(distributed.broadcast_object_list, box, 0)
        return box[0]  # type: ignore[return-value]

    def gather(self, thing: Thing) -> list[Thing]:
        """See `Ranks.gather`."""
        boxes: list[Any] | None = [None] * self.size if self.leads else None
        self._do(distributed.gather_object, thing, boxes, 0)
        return boxes or []

    def _do(self, what: Callable[..., Any], *arguments: Any) -> None:
        try:
            what(*arguments)
        except RuntimeError as error:
            if is_out_of_memory(error):  # an error of this rank, not of another one
                raise
            raise ModelError(
                f"Rank {self.rank} of {self.size} lost another rank: {error}", PEER
            ) from error


@contextmanager
def join_ranks(
    context: FitContext,
    parameters: Sequence[nn.Parameter],
    batch: int,
) -> Iterator[Ranks]:
    """Yield the ranks of a fit; with more than one, the process group is open within the block.

    Data goes over gloo, and over NCCL if it is on GPUs.

    Args:
        context: `rank`, `ranks` and the address of the process group.
        parameters: The trained parameters, on this rank's device.
        batch: Rows to share out.

    Raises:
        ModelError: kind "input": fewer rows than ranks; "peer": the others did not connect.
    """
    if context.ranks == 1:
        yield Ranks()
        return
    if batch < context.ranks:
        raise ModelError(
            f"training.batch is {batch}; {context.ranks} ranks need at least one row each", "input"
        )

    device = parameters[0].device
    if device.type == "cuda":
        torch.cuda.set_device(device)

    try:
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
            init_method=context.init_method,
            rank=context.rank,
            world_size=context.ranks,
        )
    except RuntimeError as error:
        raise ModelError(
            f"Rank {context.rank} of {context.ranks} cannot reach the others: {error}", PEER
        ) from error

    try:
        yield Group(parameters)
    except BaseException:
        if device.type == "cpu":  # NCCL would wait for ranks that do not come
            distributed.destroy_process_group()
        raise

    distributed.destroy_process_group()


def own_device(
    device: str,
    local_rank: int,
    ranks: int,
) -> str:
    """Return the device of a rank: on GPUs, each of several ranks has its own.

    Args:
        device: "cpu" or "cuda".
        local_rank: Number of this process among those of this machine.
        ranks: Of the fit.

    Raises:
        ModelError: kind "input": there is no device of that number.
    """
    if device != "cuda" or ranks == 1:
        return device
    if local_rank >= torch.cuda.device_count():
        raise ModelError(
            f"execution.ranks is {ranks}, but {torch.cuda.device_count()} GPUs are visible; each rank needs its own",
            "input",
        )
    return f"cuda:{local_rank}"
