"""Build the neural probabilistic language model (Bengio, Ducharme, Vincent & Jauvin 2003, equation 1).

    x_t = (C[w_t], C[w_{t−1}], …, C[w_{t−n+1}])         features of the last n words, the nearest first
    y = b + W x_t + U tanh(d + H x_t)                   W x is the optional direct connection
    p(w_{t+1} | w_{t−n+1} … w_t) = softmax(y)

The output layer holds [W U] as one matrix and reads the features (x_t, tanh(d + H x_t)), or only the second part
without direct connections. So any output layer of this package works. A context never reaches back past `<bos>`:
words before it are replaced by `<bos>`. Shape legend: see `models/base.py`; n = words of context.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..specs import NPLMSpec
from ..tokens.special import BOS
from .layers.dropout import Dropout
from .network import EMBEDDING_STD, Network, NetworkState
from .output import build_output


class NPLMNetwork(Network):
    """A feed-forward network over the last n words.

    Args:
        spec: Architecture, objective and number format.
        unigram_counts_V: How often each entry is predicted in the training text: sets the initial output bias and head.

    Attributes:
        embedding: C.
        hidden: H and its bias d.
        output: b and [W U] (or U alone).
    """

    def __init__(self, spec: NPLMSpec, unigram_counts_V: Tensor) -> None:
        super().__init__()
        self.precision, self.context, self.direct = spec.training.precision, spec.context, spec.direct
        inputs = spec.context * spec.embedding
        self.embedding = nn.Embedding(len(unigram_counts_V), spec.embedding)
        nn.init.normal_(self.embedding.weight, 0.0, EMBEDDING_STD)
        self.hidden = nn.Linear(inputs, spec.hidden)
        self.dropout = Dropout(spec.dropout)
        weight_VF = torch.empty(len(unigram_counts_V), (inputs if spec.direct else 0) + spec.hidden)
        rows = nn.Parameter(nn.init.normal_(weight_VF, 0.0, EMBEDDING_STD))
        self.output = build_output(spec.objective, rows, unigram_counts_V, tied=False)

    def start(self, batch: int, device: torch.device | str) -> NetworkState:
        """Return n − 1 words `<bos>` for each stream, the latest last: ids of shape (n − 1, B)."""
        return (torch.full((self.context - 1, batch), BOS, dtype=torch.int64, device=device),)

    def forward(self, ids_BT: Tensor, state: NetworkState) -> tuple[Tensor, NetworkState]:
        """Read T tokens of each stream; see `Network.forward`.

        Under "bf16" the hidden layer runs in bfloat16 while training.
        """
        x_BTF, after = self.inputs(ids_BT, state)
        bf16 = self.products == "bf16"
        with torch.autocast(ids_BT.device.type, torch.bfloat16, enabled=bf16):
            h_BTH = self.dropout(torch.tanh(self.hidden(x_BTF))).to(x_BTF.dtype)
        return torch.cat([x_BTF, h_BTH], -1) if self.direct else h_BTH, after

    def inputs(self, ids_BT: Tensor, state: NetworkState) -> tuple[Tensor, NetworkState]:
        """Return the features of the last n words at each position (B, T, n E), and the state after the last one."""
        past_BS = torch.cat([state[0].T, ids_BT], 1)
        words_BTn = past_BS.unfold(1, self.context, 1).flip(-1)
        seen_BTn = (words_BTn == BOS).cumsum(-1) > 0
        x_BTF = self.embedding(words_BTn.masked_fill(seen_BTn, BOS)).flatten(2)
        oldest = past_BS.shape[1] - (self.context - 1)
        return x_BTF, (past_BS[:, oldest:].T.contiguous(),)
