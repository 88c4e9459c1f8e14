"""Build the networks of language models: the recurrent ones, and the feed-forward one.

**Recurrent** (Mikolov et al. 2010): embedding, L recurrent layers, softmax tied to the embedding.

    x_t = C[w_t]                              look-up, the same as the one-hot vector times C
    x_t = C[w_t] + C[s]                       with `condition_on_stars`: s is the star token read last
    h_t^1 = cell(x_t, h_{t−1}^1), h_t^l = cell(h_t^{l−1}, h_{t−1}^l)
    y_t = P h_t^L                             only where H differs from E and the output is tied
    p(w_{t+1} | w_1 … w_t) = softmax(C y_t + b)

So s is the star token at the beginning of the review. Where a stream holds several reviews, s at the `<bos>` before
that token is still the star token of the previous review. No scored token is predicted there, but s enters the memory.
Training that is not `stateful` resets s there.

**Feed-forward**, the neural probabilistic language model (Bengio, Ducharme, Vincent & Jauvin 2003, equation 1).

    x_t = (C[w_t], C[w_{t−1}], …, C[w_{t−n+1}])         features of the last n words, the nearest first
    y = b + W x_t + U tanh(d + H x_t)                   W x is the optional direct connection
    p(w_{t+1} | w_{t−n+1} … w_t) = softmax(y)

The output layer holds [W U] as one matrix and reads the features (x_t, tanh(d + H x_t)), or only the second part
without direct connections. So any output layer of this package works. A context never reaches back past `<bos>`:
words before it are replaced by `<bos>`. Shape legend: see `models/base.py`; n = words of context.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from ..specs import NPLMSpec, RecurrentSpec
from ..tokens.special import BOS, STARS
from .layers.cells import CELLS, Weights
from .layers.dropout import Dropout, drop_weights, word_mask
from .layers.recurrent_layers import RepeatedInputs, make_layer, run_layer
from .network import EMBEDDING_STD, Network, NetworkState
from .output import build_output


class RecurrentNetwork(Network):
    """Embedding, L recurrent layers with dropout around each, projection where needed, output layer.

    The layers have parameters of the same names and shapes for `spec.cells` "reference" and "fused". So weights trained
    with one load into the other and give the same numbers.

    Args:
        spec: Architecture, objective and number format.
        unigram_counts_V: How often each entry is predicted in the training text: sets the initial output bias and head.

    Attributes:
        layers: L modules, each with weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0 (and more with `layer_norm`).
        project: Linear H → E, or the identity.
    """

    def __init__(self, spec: RecurrentSpec, unigram_counts_V: Tensor) -> None:
        super().__init__()
        self.precision = spec.training.precision
        self.kind = spec.kind
        self.hidden = spec.hidden
        self.embedding = nn.Embedding(len(unigram_counts_V), spec.embedding)
        nn.init.normal_(self.embedding.weight, 0.0, EMBEDDING_STD)
        sizes = [spec.embedding] + [spec.hidden] * (spec.layers - 1)
        self.layers = nn.ModuleList(_make_layer(spec, size) for size in sizes)
        self.condition_on_stars = spec.condition_on_stars
        self.forgets = not spec.training.stateful
        self.input_dropout = _make_dropout(spec, spec.input_dropout)
        self.dropout = _make_dropout(spec, spec.dropout)
        self.output_dropout = _make_dropout(spec, spec.output_dropout)
        self.embedding_dropout = spec.embedding_dropout
        self.weight_drop = spec.weight_drop
        self.penalised = spec.training.penalises_activations
        self.project: nn.Module = nn.Identity()
        if spec.tied and spec.hidden != spec.embedding:
            self.project = nn.Linear(spec.hidden, spec.embedding, bias=False)

        self.output = build_output(
            spec.objective, self._output_weight(spec), unigram_counts_V, spec.tied
        )

    def _output_weight(self, spec: RecurrentSpec) -> nn.Parameter:
        """Return the embedding itself, or separate rows (V, H) that need no projection."""
        if spec.tied:
            return cast(nn.Parameter, self.embedding.weight)
        rows_VH = torch.empty(self.embedding.num_embeddings, spec.hidden)
        return nn.Parameter(nn.init.normal_(rows_VH, 0.0, EMBEDDING_STD))

    def start(self, batch: int, device: torch.device | str) -> NetworkState:
        """Return zeros: h_LBH, c_LBH for the LSTM, and the star token of each stream (1, B), 0 for none yet."""
        shape = len(self.layers), batch, self.hidden
        zeros = torch.zeros(shape, dtype=self.embedding.weight.dtype, device=device)
        stars_1B = torch.zeros(1, batch, dtype=torch.int64, device=device)
        return *(zeros,) * CELLS[self.kind].states, stars_1B

    def forward(self, ids_BT: Tensor, state: NetworkState) -> tuple[Tensor, NetworkState]:
        """Read T tokens of each stream; see `Network.forward`.

        Under "bf16" the layers and the projection run in bfloat16 while training. With `training.stateful` false, a
        stream that reads `<bos>` while training is reset to the zero state. In evaluation the state goes on, as the
        contract of `LanguageModel` says; reviews are scored from fresh states.
        """
        bf16 = self.products == "bf16"
        *memory, stars_1B = state
        keep_BT = self._keep_mask(ids_BT)
        stars_BT = stars_so_far(ids_BT, stars_1B[0], keep_BT)
        inputs = self._layer_inputs(ids_BT, stars_BT, bf16)
        after = []
        with torch.autocast(ids_BT.device.type, torch.bfloat16, enabled=bf16):
            for index, layer in enumerate(self.layers):
                before = tuple(tensor[index] for tensor in memory)
                h_BTH, last = run_layer(
                    layer,
                    self._weights(layer),
                    inputs,
                    before,
                    keep_BT,
                )
                inputs = x_BTE = (
                    self.dropout if index + 1 < len(self.layers) else self.output_dropout
                )(h_BTH)
                after.append(last)
            features_BTE = self.project(x_BTE)

        dtype = self.embedding.weight.dtype
        self.last_layer = None
        if self.training and self.penalised:
            self.last_layer = (x_BTE.to(dtype), h_BTH.to(dtype))

        of_layers = [torch.stack(tensors).to(dtype) for tensors in zip(*after, strict=True)]
        state = (*of_layers, stars_BT[:, -1][None])
        return features_BTE if bf16 and features_BTE.is_cuda else features_BTE.to(dtype), state

    def _weights(self, layer: nn.Module) -> Weights:
        """Return the weights a layer uses in this call; while training, some recurrent weights may be dropped."""
        weights = dict(layer.named_parameters())
        if self.training:
            return drop_weights(weights, self.weight_drop)
        return weights

    def _keep_mask(self, ids_BT: Tensor) -> Tensor | None:
        """Return a mask, False where a stream is reset before it reads a position; None if no stream is."""
        if not (self.training and self.forgets):
            return None
        keep_BT = ids_BT != BOS
        if keep_BT.is_cuda:  # to find out whether a stream is reset, the host would have to wait
            return keep_BT
        return None if bool(keep_BT.all()) else keep_BT

    def inputs(self, ids_BT: Tensor, stars_BT: Tensor) -> Tensor:
        """Return the embeddings of the words, plus the stars' with `condition_on_stars`; some words may be dropped."""
        # One look-up for both: its backward pass writes a gradient matrix of all V rows.
        if self.condition_on_stars and ids_BT.is_cuda:
            return self._inputs_on_gpu(ids_BT, stars_BT)

        if self.condition_on_stars:
            ids_2BT = torch.stack([ids_BT, stars_BT])
        else:
            ids_2BT = ids_BT[None]

        x_2BTE = self.embedding(ids_2BT)
        mask_V1 = None
        if self.training:
            mask_V1 = word_mask(self.embedding.weight, self.embedding_dropout)

        if mask_V1 is not None:
            x_2BTE = x_2BTE * mask_V1[ids_2BT]

        if self.condition_on_stars:
            return x_2BTE[0] + x_2BTE[1] * (stars_BT > STARS[0])[..., None]
        return x_2BTE[0]

    def _layer_inputs(
        self,
        ids_BT: Tensor,
        stars_BT: Tensor,
        bf16: bool,
    ) -> Tensor | RepeatedInputs:
        """Return the inputs after dropout; in training on the CPU equal ones once, where dropout lets them."""
        if ids_BT.is_cuda or not self.training or self.input_dropout.p > 0:
            x_BTE = self.inputs(ids_BT, stars_BT)
            # On a GPU half the memory to read and write; the first layer would round them anyway.
            return self.input_dropout(x_BTE.bfloat16() if bf16 and ids_BT.is_cuda else x_BTE)

        pairs_BT = ids_BT
        if self.condition_on_stars:
            pairs_BT = stars_BT * len(self.embedding.weight) + ids_BT

        pairs_U, rows_BT = torch.unique(pairs_BT, return_inverse=True)
        stars_U = pairs_U // len(self.embedding.weight)
        ids_U = pairs_U % len(self.embedding.weight)
        return RepeatedInputs(self.inputs(ids_U[None], stars_U[None])[0], rows_BT)

    def _inputs_on_gpu(self, ids_BT: Tensor, stars_BT: Tensor) -> Tensor:
        """Return `inputs` with stars for a GPU: a product with one-hot vectors chooses among the few star tokens.

        A GPU sorts the looked-up rows before it adds up their gradients, so they should not be twice as many.
        """
        stars_S = torch.arange(STARS[0] + 1, STARS[-1] + 1, device=ids_BT.device)
        ids_N = torch.cat([ids_BT.flatten(), stars_S])
        x_NE = self.embedding(ids_N)
        mask_V1 = None
        if self.training:
            mask_V1 = word_mask(self.embedding.weight, self.embedding_dropout)

        if mask_V1 is not None:
            x_NE = x_NE * mask_V1[ids_N]

        words_NE, stars_SE = x_NE.split([ids_BT.numel(), len(stars_S)])
        chosen_NS = (stars_BT.flatten()[:, None] == stars_S).to(x_NE.dtype)
        return torch.addmm(words_NE, chosen_NS, stars_SE).unflatten(0, ids_BT.shape)


def stars_so_far(
    ids_BT: Tensor,
    before_B: Tensor,
    keep_BT: Tensor | None = None,
) -> Tensor:
    """Return at each position the star token that the stream has read last, 0 for none.

    At a `<bos>` that is the star token of the review before it, unless the stream is reset there.

    Args:
        before_B: The star token read before them, 0 for none.
        keep_BT: False where a stream is reset before the position; None: no stream is.
    """
    is_star_BT = (ids_BT >= STARS[0]) & (ids_BT <= STARS[-1])
    decides_BT = is_star_BT if keep_BT is None else is_star_BT | ~keep_BT
    if ids_BT.shape[1] == 1:  # a step: the same, without operations that ONNX lacks
        return torch.where(decides_BT, ids_BT * is_star_BT, before_B[:, None])
    position_T = torch.arange(ids_BT.shape[1], device=ids_BT.device)
    last_BT = torch.where(decides_BT, position_T, -1).cummax(1).values
    stars_BT = (ids_BT * is_star_BT).gather(1, last_BT.clamp(min=0))
    return torch.where(last_BT >= 0, stars_BT, before_B[:, None])


def _make_layer(spec: RecurrentSpec, inputs: int) -> nn.Module:
    """Return a recurrent layer of the spec with this number of inputs."""
    return make_layer(
        spec.kind,
        inputs,
        spec.hidden,
        spec.cells,
        spec.nonlinearity,
        form=spec.form,
        forget_bias=spec.forget_bias,
        layer_norm=spec.layer_norm,
        start=spec.recurrent_start,
    )


def _make_dropout(spec: RecurrentSpec, share: float | None) -> Dropout:
    """Return a dropout layer with this share; None: the share of the spec."""
    if share is None:
        share = spec.dropout
    return Dropout(share, spec.variational)


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
        self.precision = spec.training.precision
        self.context = spec.context
        self.direct = spec.direct
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
