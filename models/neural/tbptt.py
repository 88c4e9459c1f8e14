"""Truncated back-propagation through time with carried state (Williams & Peng 1990, BPTT(h; h')).

Every k1 tokens there is one update, whose gradient flows back through the last k2 ≥ k1 tokens. The state is carried
from window to window, its gradient is not. With k2 = k1 a window starts where the last one ended. With k2 > k1 the
last k2 − k1 tokens are read again, from the state that was saved in front of them, without being scored again.

Shapes: B streams, T = k1 positions of a window, H positions of the past that are read again.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from .network import Network, NetworkState, detach


class Lanes:
    """The streams that are trained side by side, and what the network remembers of them between updates.

    Args:
        network: Reads the tokens.
        batch: B.
        past: k2 − k1, tokens that the gradient flows back through beyond the window itself.
    """

    def __init__(self, network: Network, batch: int, past: int, device: torch.device) -> None:
        self.network, self.batch, self.past, self.device = network, batch, past, device
        self.restart()

    def restart(self) -> None:
        """Forget everything: the start of an epoch."""
        self.state: NetworkState = self.network.start(self.batch, self.device)
        self.ids_BH = torch.zeros(self.batch, 0, dtype=torch.int64, device=self.device)
        self.resets: dict[int, Tensor] = {}

    def read(self, ids_BT: Tensor, keep_B: Tensor | None = None) -> Tensor:
        """Return the features of the next window (B, T, E), with their gradient through k2 tokens.

        Args:
            ids_BT: The tokens that follow those of the last call, stream by stream.
            keep_B: False for streams that forget all before this window; None where all remember.
        """
        past = self.ids_BH.shape[1]
        ids_BS = torch.cat([self.ids_BH, ids_BT], 1) if past else ids_BT
        resets = self.resets if keep_B is None else self.resets | {past: keep_B}
        features_BSE = self._through(ids_BS, resets)
        return features_BSE[:, past:]

    def _through(self, ids_BS: Tensor, resets: dict[int, Tensor]) -> Tensor:
        """Read all, stopping where a stream forgets and where the next call's past begins; remember the state there."""
        length = ids_BS.shape[1]
        begin = max(0, length - self.past)
        state, pieces = self.state, []
        for left, right in pairwise(sorted({0, begin, length, *resets})):
            if left in resets:
                state = self.network.reset(state, resets[left])
            if left == begin:
                self.state = detach(state)
            features_BTE, state = self.network(ids_BS[:, left:right], state)
            pieces.append(features_BTE)
        if begin == length:
            self.state = detach(state)
        self.ids_BH = ids_BS[:, begin:]
        self.resets = {at - begin: keep_B for at, keep_B in resets.items() if at > begin}
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, 1)

    def tensors(self) -> dict[str, Tensor]:
        """Return all that is remembered, by name: for a checkpoint."""
        states = {f"state.{index}": tensor for index, tensor in enumerate(self.state)}
        return {"past": self.ids_BH, **states, **{f"reset.{at}": keep_B for at, keep_B in self.resets.items()}}

    def fill(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `tensors` returned."""
        own = {name: tensor.to(self.device) for name, tensor in tensors.items()}
        self.ids_BH = own["past"]
        self.state = tuple(own[f"state.{index}"] for index in range(len(self.state)))
        self.resets = {int(name[6:]): keep_B for name, keep_B in own.items() if name.startswith("reset.")}
