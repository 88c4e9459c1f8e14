"""Give a recurrent network an external memory: a matrix that it writes to and reads from at every step.

The controller is a cell of the project (`models/neural/layers/cells.py`). It reads the word and what it read from the
memory before, and its state says what to store and what to look for (the functions below have M's equations):

    h_t = cell([x_t, r_{t−1}], h_{t−1})
    k_t = tanh(K h_t),  β_t = 1 + log(1 + exp(b·h_t + d))   key and sharpness
    row = [k_{t−1}, tanh(A h_t)]                            address, content
    M_t = M_{t−1} with the least used slot replaced by the row
    w_t = softmax_i(β_t cos(k_t, address of M_t(i)))
    r_t = Σ_i w_t(i) M_t(i)
    p   = softmax(V [h_t, r_t] + c)

Three choices make it learn within seconds on one core. Others were tried and often stayed where they guess among the
values that were shown.

* The address of a row is the key of the step before, so a key looks for what followed when it was like now. That is how
  the neural cache stores words (Grave, Joulin & Usunier 2017), and Santoro et al. 2016 also write the key that they
  read with (equation 8). Only the address is compared (Csordás & Schmidhuber 2019, "Improving differentiable neural
  computers": masking); otherwise the content disturbs the search. With a row A h_t that is compared as a whole, the
  network must first learn to write what it will look for.
* Where to write is a rule and not learned: the slot used least, emptied before, as in Santoro et al. Their equation 7
  lets the network choose between it and the slot read last. A learned gate for writing was open at every step.
* The controller starts with weights of 0 for h_{t−1} and r_{t−1}, so that a word has the same key wherever it comes; of
  three seeds, one stayed at guessing without that. Embeddings start with standard deviation 1 and the sharpness near 6:
  with small ones all keys are alike and every slot gets the same weight.

The number of parameters does not depend on the number of slots. With fewer slots than steps, old rows are lost.
Every operation is differentiable in what is written and read, so a network learns by back-propagation what to store and
what to look for (Graves, Wayne & Danihelka 2014, "Neural Turing Machines", equations 1 to 6; Santoro et al. 2016,
"Meta-learning with memory-augmented neural networks", equations 5 to 8).

Shapes: see `models/base.py`; S slots, W numbers in a slot, A ≤ W numbers that are compared, G = number of gates × H.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from reviewlm.models.base import ModelError
from reviewlm.models.neural.layers.cells import CELLS, cell_name
from reviewlm.models.neural.layers.own_layer import OwnLayer
from reviewlm.models.neural.layers.recurrent_layers import make_layer
from reviewlm.models.neural.network import EMBEDDING_STD, Network, NetworkState
from reviewlm.models.neural.output import build_output
from reviewlm.models.specs import RecurrentSpec

SMALL = 1e-6
"""Added to squared norms, so that an empty slot has the similarity 0 and a finite gradient."""
USAGE_DECAY = 0.99
"""γ of equation 5: after 69 steps a use counts half."""
INITIAL_SHARPNESS = 5.0
"""Bias of β before the softplus: the most similar of 64 slots can get most of the weight from the start."""


def cosine_similarity(key_BA: Tensor, rows_BSA: Tensor) -> Tensor:
    """Return K[u, v] = u·v / (‖u‖ ‖v‖) of the key and each row (B, S); Graves et al., equation 6."""
    norms_BS = (rows_BSA.square().sum(-1) + SMALL).sqrt() * (
        key_BA.square().sum(-1, keepdim=True) + SMALL
    ).sqrt()
    return (rows_BSA @ key_BA[..., None]).squeeze(-1) / norms_BS


def content_weights(
    key_BA: Tensor,
    sharpness_B1: Tensor,
    rows_BSA: Tensor,
) -> Tensor:
    """Return w(i) = exp(β K[k, M(i)]) / Σ_j exp(β K[k, M(j)]) (B, S); Graves et al., equation 5.

    The weights are 0 or more and sum to 1 (equation 1).

    Args:
        key_BA: k, what to look for.
        sharpness_B1: β: at 0 all slots get the same weight, the larger it is the more the most similar slot gets.
        rows_BSA: The part of the memory that is compared.
    """
    return torch.softmax(sharpness_B1 * cosine_similarity(key_BA, rows_BSA), -1)


def read(weights_BS: Tensor, memory_BSW: Tensor) -> Tensor:
    """Return r = Σ_i w(i) M(i) (B, W); Graves et al., equation 2."""
    return (weights_BS[:, None] @ memory_BSW).squeeze(1)


def write(
    memory_BSW: Tensor,
    weights_BS: Tensor,
    erase_BW: Tensor,
    add_BW: Tensor,
) -> Tensor:
    """Return M_t(i) = M_{t−1}(i) ∘ [1 − w(i) e] + w(i) a (B, S, W); Graves et al., equations 3 and 4.

    Args:
        memory_BSW: M_{t−1}.
        weights_BS: w, where to write.
        erase_BW: e, from 0 (keep) to 1 (erase).
        add_BW: a.
    """
    w_BS1 = weights_BS[..., None]
    return memory_BSW * (1 - w_BS1 * erase_BW[:, None]) + w_BS1 * add_BW[:, None]


def least_used(usage_BS: Tensor) -> Tensor:
    """Return 1 for the slot with the smallest usage and 0 for the others (B, S); Santoro et al., equation 6 for n = 1.

    Of equal ones the first is taken. There is no gradient: where to write is not learned.
    """
    return torch.nn.functional.one_hot(usage_BS.argmin(1), usage_BS.shape[1]).to(usage_BS.dtype)


def updated_usage(
    usage_BS: Tensor,
    read_BS: Tensor,
    written_BS: Tensor,
) -> Tensor:
    """Return u_t = γ u_{t−1} + w^read + w^write (B, S), without a gradient; Santoro et al., equation 5."""
    return (USAGE_DECAY * usage_BS + read_BS + written_BS).detach()


class ExternalMemoryNetwork(Network):
    """Embedding, a controller cell, memory, output layer.

    Args:
        spec: Cell (kind, non-linearity, initial weights), sizes E and H, objective.
        counts_V: One number for each entry of the vocabulary.
        slots: S.
        width: W, even; half of a row is its address, A = W / 2.

    Raises:
        ModelError: kind "input": no slots, or an odd width.
    """

    def __init__(
        self,
        spec: RecurrentSpec,
        counts_V: Tensor,
        slots: int = 64,
        width: int = 24,
    ) -> None:
        super().__init__()
        if slots < 1 or width < 2 or width % 2:
            raise ModelError(
                f"{slots} slots of {width} numbers; at least 1, of an even number", "input"
            )

        self.slots = slots
        self.width = width
        self.hidden = spec.hidden
        self.cell = CELLS[cell_name(spec.kind, spec.form)]
        self.embedding = nn.Embedding(len(counts_V), spec.embedding)
        layer = make_layer(
            spec.kind,
            spec.embedding + width,
            spec.hidden,
            "reference",
            spec.nonlinearity,
            form=spec.form,
            forget_bias=spec.forget_bias,
            start=spec.recurrent_start,
        )
        self.controller = cast(OwnLayer, layer)
        with torch.no_grad():
            self.controller.weight_hh_l0.zero_()
            self.controller.weight_ih_l0[:, spec.embedding :].zero_()

        self.key = nn.Linear(spec.hidden, width // 2)
        self.content = nn.Linear(spec.hidden, width // 2)
        self.sharpness = nn.Linear(spec.hidden, 1)
        for head, bias in (
            (self.key, 0.0),
            (self.content, 0.0),
            (self.sharpness, INITIAL_SHARPNESS),
        ):
            nn.init.constant_(head.bias, bias)

        rows_VF = nn.init.normal_(
            torch.empty(len(counts_V), spec.hidden + width), 0.0, EMBEDDING_STD
        )
        self.output = build_output(spec.objective, nn.Parameter(rows_VF), counts_V, tied=False)

    def start(self, batch: int, device: torch.device | str) -> NetworkState:
        """Return zeros: the cell's state (1, B, H), k (1, B, A), r (1, B, W), usage (1, B, S), memory (1, B, S, W)."""
        cell = ((self.hidden,),) * self.cell.states
        memory = ((self.slots,), (self.slots, self.width))
        shapes = *cell, (self.width // 2,), (self.width,), *memory
        return tuple(
            torch.zeros(
                1,
                batch,
                *shape,
                dtype=self.key.weight.dtype,
                device=device,
            )
            for shape in shapes
        )

    def forward(self, ids_BT: Tensor, state: NetworkState) -> tuple[Tensor, NetworkState]:
        """Read T tokens of each stream; see `Network.forward`. The features are [h_t, r_t] (B, T, H + W)."""
        W_GE, W_GW = self.controller.weight_ih_l0.split(
            [self.embedding.embedding_dim, self.width], 1
        )
        a_BTG = self.embedding(ids_BT) @ W_GE.T + self.controller.bias_ih_l0
        now = tuple(tensor[0] for tensor in state)
        features = []
        for a_BG in a_BTG.unbind(1):
            now = self.step(a_BG, W_GW, now)
            features.append(torch.cat([now[0], now[-3]], -1))

        return torch.stack(features, 1), tuple(tensor[None] for tensor in now)

    def step(
        self,
        a_BG: Tensor,
        W_GW: Tensor,
        state: NetworkState,
    ) -> NetworkState:
        """Take one step: the equations above.

        Args:
            a_BG: The word's part of all gates.
            W_GW: The controller's weights of r_{t−1}.
            state: That of `start`, without its first dimension.
        """
        *past, key_BA, r_BW, usage_BS, memory_BSW = state
        weights = self.controller.weight_hh_l0, self.controller.bias_hh_l0
        now = self.cell.step(a_BG + r_BW @ W_GW.T, tuple(past), *weights, **self.controller.options)
        h_BH = now[0]
        row_BW = torch.cat([key_BA, torch.tanh(self.content(h_BH))], -1)
        written_BS = least_used(usage_BS)
        memory_BSW = write(memory_BSW, written_BS, torch.ones_like(row_BW), row_BW)
        key_BA = torch.tanh(self.key(h_BH))
        sharpness_B1 = 1 + nn.functional.softplus(self.sharpness(h_BH))
        read_BS = content_weights(key_BA, sharpness_B1, memory_BSW[..., : self.width // 2])
        return (
            *now,
            key_BA,
            read(read_BS, memory_BSW),
            updated_usage(usage_BS, read_BS, written_BS),
            memory_BSW,
        )
