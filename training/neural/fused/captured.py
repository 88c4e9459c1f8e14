"""Capture how a network reads a window on a GPU as a CUDA graph, and replay it instead of launching every kernel.

A window of a recurrent network is thousands of kernels, forward and backward, many of them shorter than the time in
which the host launches one: a small network then keeps the host busy and the GPU idle. A graph is launched as a whole.

It computes the same, from the same memory addresses: parameters must be changed in place (as the optimisers and
checkpoints do), inputs are copied into its own tensors, and its results are overwritten by the next replay.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from contextvars import ContextVar
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from reviewlm.models.base import is_out_of_memory
from reviewlm.models.neural.device import first_line, free_cached_memory
from reviewlm.models.neural.network import Network, NetworkState, detach

log = logging.getLogger(__name__)

Read = Callable[[Tensor, NetworkState], tuple[Tensor, NetworkState]]
"""What `Network.__call__` does; afterwards `Network.last_layer` is set as it says."""
for_replays: ContextVar[bool] = ContextVar("for_replays", default=False)
"""Whether what runs now will be replayed, so that the number of its kernels does not matter."""


class CapturedReading:
    """Read windows of one shape with a network in training mode by replays; call it as the network.

    The gradients that it gives a parameter are overwritten by the next replay: no two windows may be added up.

    Args:
        network: In training mode, on a GPU, without gradients in its parameters.
        ids_BT: A window; others must have its shape.
        state: Before it, without gradient history.

    Raises:
        RuntimeError: The network's work cannot be captured, or memory does not suffice.
    """

    def __init__(
        self,
        network: Network,
        ids_BT: Tensor,
        state: NetworkState,
    ) -> None:
        self.network = network
        self.shape = ids_BT.shape
        sample = tuple(tensor.detach().clone() for tensor in (ids_BT, *state))
        self._replay: Callable[..., Any] = torch.cuda.make_graphed_callables(
            _Window(network), sample, allow_unused_input=True
        )
        network.last_layer = None
        self._require_own_gradients(ids_BT, state)

    def __call__(self, ids_BT: Tensor, state: NetworkState) -> tuple[Tensor, NetworkState]:
        """Read a window; see `Network.forward`. The new state has no gradient history."""
        if ids_BT.shape != self.shape:
            raise ValueError(
                f"the window is {tuple(ids_BT.shape)}, captured was {tuple(self.shape)}"
            )
        features_BTE, *others = self._replay(ids_BT, *state)
        after = others[: len(state)]
        last_layer = others[len(state) :]
        self.network.last_layer = (last_layer[0], last_layer[1]) if last_layer else None
        return features_BTE, tuple(tensor.detach().clone() for tensor in after)

    def _require_own_gradients(self, ids_BT: Tensor, state: NetworkState) -> None:
        """Refuse gradients that share memory: a replay hands them over without copies, then each is scaled in place."""
        self(ids_BT, state)[0].sum().backward()  # type: ignore[no-untyped-call]
        self.network.last_layer = None
        places = []
        for parameter in self.network.parameters():
            grad = parameter.grad
            if grad is not None:
                places.append(
                    (grad.data_ptr(), grad.data_ptr() + grad.numel() * grad.element_size())
                )
                parameter.grad = None

        if any(end > begin for (_, end), (begin, _) in pairwise(sorted(places))):
            raise RuntimeError("two parameters share the memory of their gradients")


class _Window(nn.Module):
    """A network as a function from tensors to tensors."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids_BT: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        features_BTE, after = self.network(ids_BT, state)
        return features_BTE, *detach(after), *(self.network.last_layer or ())


def capture_reading(
    network: Network,
    ids_BT: Tensor,
    state: NetworkState,
) -> CapturedReading | None:
    """Capture the reading of windows of this shape; return None where that is not possible, and log why.

    Torch's random streams are afterwards as before.

    Raises:
        RuntimeError: Memory does not suffice.
    """
    device = ids_BT.device
    random = torch.get_rng_state()
    of_gpu = torch.cuda.get_rng_state(device)
    stream = torch.cuda.current_stream(device)
    free_cached_memory()  # a graph takes memory from a pool of its own
    collects = gc.isenabled()
    token = for_replays.set(True)
    gc.disable()  # what the collector would free on the GPU in the middle of a capture would end it
    # Torch keeps that of the first GPU it captured on.
    torch.cuda.graph.default_capture_stream = None
    # Torch warns that a replay hands gradients over from another stream; it waits for that stream itself.
    torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
    try:
        with torch.cuda.device(device):
            return CapturedReading(network, ids_BT, state)
    except Exception as error:  # torch's and Triton's errors have no common type
        _end_failed_capture(device, stream)
        # The end of a capture that has failed is an error of its own.
        cause = error.__context__ or error
        if is_out_of_memory(cause):
            raise cause from None
        reason = first_line(cause)
    finally:
        for_replays.reset(token)
        if collects:
            gc.enable()
        torch.set_rng_state(random)
        torch.cuda.set_rng_state(of_gpu, device)

    log.warning(
        "the updates cannot be captured as a CUDA graph (%s): training goes on without it, more slowly",
        reason,
    )
    free_cached_memory()  # what the error and its frames held
    return None


def _end_failed_capture(device: torch.device, stream: torch.cuda.Stream) -> None:
    """Leave the stream of a capture that has failed, and give the GPU's random generator a state outside of it.

    Torch stays on that stream, and its generator refuses to draw ("Offset increment outside graph capture").
    """
    torch.cuda.set_stream(stream)
    fresh = torch.Generator(device)
    torch.cuda.default_generators[fresh.device.index].graphsafe_set_state(
        fresh.graphsafe_get_state()
    )
