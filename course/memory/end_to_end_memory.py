"""Answer a question from a list of facts in several hops: the end-to-end memory network.

Sukhbaatar et al. 2015, "End-to-end memory networks", equations 1 to 4 with the weights of section 2.2, "layer-wise":
every hop has the same matrices. Fact i is a bag of words x_i1 … x_iJ, the question a word q.

    m_i = Σ_j A_j[x_ij],   c_i = Σ_j C_j[x_ij],   u_1 = B[q]      memory, its output, state
    p_i = softmax_i(u_k · m_i)                                    (1)
    o_k = Σ_i p_i c_i                                             (2)
    u_{k+1} = H u_k + o_k                                         (4)
    p(answer) = softmax(V u_{K+1} + b)                            (3), where u_{K+1} has H u_K in place of u_K

One hop finds the fact about q and takes from it what q implies; the next hop looks for a fact about that. So a chain of
k facts needs k hops. Each place j of a fact has its own matrix, since "a implies b" is not "b implies a".

All facts are in the memory at once: nothing is read in order, so this network is no language model.
Shapes: B stories, F facts of J words, D numbers in a state, V entries.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reviewlm.models.base import ModelError
from reviewlm.models.neural.network import Network, NetworkState
from reviewlm.models.neural.output import build_output
from reviewlm.models.specs import RecurrentSpec

INITIAL_STD = 0.1
"""Standard deviation of all initial weights but H, which starts as the identity (section 4.2 of the paper)."""
WORDS = 2
"""J."""


class EndToEndMemoryNetwork(Network):
    """Facts and a question in, features of the answer out.

    Args:
        spec: `hidden` is D; objective.
        counts_V: One number for each entry of the vocabulary.
        hops: K.

    Raises:
        ModelError: kind "input": no hops.
    """

    def __init__(
        self,
        spec: RecurrentSpec,
        counts_V: Tensor,
        hops: int,
    ) -> None:
        super().__init__()
        if hops < 1:
            raise ModelError(f"{hops} hops; at least 1", "input")

        entries = len(counts_V)
        size = spec.hidden
        self.hops = hops
        self.entries = entries
        # Place j has the rows from j V on.
        self.A, self.C = (nn.Embedding(WORDS * entries, size) for _ in range(2))
        self.B = nn.Embedding(entries, size)
        for table in (self.A, self.C, self.B):
            nn.init.normal_(table.weight, 0.0, INITIAL_STD)

        self.H = nn.Parameter(torch.eye(size))
        rows_VD = nn.init.normal_(torch.empty(entries, size), 0.0, INITIAL_STD)
        self.output = build_output(spec.objective, nn.Parameter(rows_VD), counts_V, tied=False)

    def start(self, batch: int, device: torch.device | str) -> NetworkState:
        """Return an empty state: nothing is kept from one story to the next."""
        return (torch.zeros(1, batch, 0, device=device),)

    def forward(self, ids_BT: Tensor, state: NetworkState) -> tuple[Tensor, NetworkState]:
        """Read whole stories: the words of all facts one after another, then the question.

        Returns:
            features_BTD: u_{K+1} at the question, 0 at all other places; and the state as it was.
        """
        u_BD = self.hop(ids_BT)[0][-1]
        return nn.functional.pad(u_BD[:, None], (0, 0, ids_BT.shape[1] - 1, 0)), state

    def hop(self, ids_BT: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return the states u_1 … u_{K+1} (B, D) and the weights p of each hop (B, F)."""
        places_J = self.entries * torch.arange(WORDS, device=ids_BT.device)
        words_BFJ = ids_BT[:, :-1].unflatten(1, (-1, WORDS)) + places_J
        m_BFD = self.A(words_BFJ).sum(2)
        c_BFD = self.C(words_BFJ).sum(2)
        states = [self.B(ids_BT[:, -1])]
        weights = []
        for _ in range(self.hops):
            p_BF = torch.softmax((m_BFD @ states[-1][..., None]).squeeze(-1), -1)  # (1)
            o_BD = (p_BF[:, None] @ c_BFD).squeeze(1)  # (2)
            states.append(states[-1] @ self.H.T + o_BD)  # (4)
            weights.append(p_BF)

        return states, weights
