"""Encode texts as vectors: average the features of a language model over the positions of each text.

    1/(n + 1) Σ_t h_t,  t = 0 … n

h_0 … h_n are the features that predict the n tokens of a text and its end: h_t has read `<bos> <stars_0> w_1 … w_t`.
They are what enters the output layer: the top layer's states, after the projection where the network has one. A text
is read without a rating, so that its vector says only what the text says. Texts of similar length are read side by
side, in float32. The vector of a text does not depend on the others beyond rounding.
Shapes: see `models/base.py`; D texts, F features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from ..base import ModelError
from ..bundles.bundle import Bundle
from ..text.given import given_texts
from ..tokens.vocabulary import batch_texts
from .labelling.rows import PaddedBatch, Sequences
from .lm import NeuralLM, networks_in

POSITIONS = 16_384
"""Positions, padding included, that are read at a time; does not change the result beyond rounding."""
CHARACTERS = 8
"""Characters that are made into tokens at a time, for each position that is read at a time; this takes less long."""
FRAME = 3
"""Tokens of a review's stream that are not of its text: `<bos>`, `<stars_0>`, `<eos>`."""


class EncodedTexts(NamedTuple):
    """Vectors of some texts: their numbers rows_B, vectors_BF (float32), and how many tokens each has (tokens_B)."""

    rows_B: np.ndarray
    vectors_BF: np.ndarray
    tokens_B: np.ndarray


class Encoder:
    """Turn texts into vectors with the network of a language model.

    Args:
        bundle: A neural model, or one with a neural part: its first network is used.

    Attributes:
        features: F.

    Raises:
        ModelError: kind "input": there is no network.
    """

    def __init__(self, bundle: Bundle) -> None:
        model = network_in(bundle.model)
        if model is None:
            raise ModelError(
                f"the model '{bundle.spec.name}' is of kind '{bundle.spec.kind}' and has no network, so texts have no "
                "vectors; choose a neural model (rnn, gru, lstm, nplm) or a mixture with one",
                "input",
            )

        self.vocabulary = bundle.vocabulary
        self.network = model.network
        self.device = model.device
        self.features = int(self.network.output.weight.shape[1])

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return the vector of each text (D, F; float32); texts are first brought into normal form.

        Raises:
            ModelError: kind "input": *texts* is no list of texts, see `given_texts`.
        """
        texts = given_texts(texts)
        vectors_DF = np.zeros((len(texts), self.features), np.float32)
        some_texts = batch_texts(texts, characters=CHARACTERS * POSITIONS)
        for step in self.read([ids for some in some_texts for ids in self.tokens(some)]):
            vectors_DF[step.rows_B] = step.vectors_BF
        return vectors_DF

    def tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the tokens of texts in any form, without the network."""
        clean = [self.vocabulary.normal_form.apply(text) for text in texts]
        encoded = self.vocabulary.encode_documents(clean, [0] * len(clean), whole=False)
        return np.split(encoded.ids, encoded.offsets[1:-1])

    def read(self, ids: Sequence[np.ndarray], positions: int = POSITIONS) -> Iterator[EncodedTexts]:
        """Yield the vectors of some texts at a time, the longest first.

        Args:
            ids: Their tokens, from `tokens`.
            positions: Padded positions that are read between two yields, at least 2. A longer text takes several
                yields, which are empty until its last one.
        """
        for batch in Sequences.of(ids).by_length(positions) if ids else ():
            yield from self._read(batch, max(2, positions // len(batch.rows_B)))

    @torch.no_grad()
    def _read(self, batch: PaddedBatch, width: int) -> Iterator[EncodedTexts]:
        """Read *width* positions at a time; all yields but the last one are empty."""
        ids_BT = torch.from_numpy(batch.ids_BT[:, :-1]).to(self.device)
        last_B = torch.from_numpy(batch.lengths_B - 2).to(self.device)
        state = self.network.start(len(last_B), self.device)
        total_BF = torch.zeros(len(last_B), self.features, device=self.device)
        for begin in range(0, ids_BT.shape[1], width):
            h_BTF, state = self.network(ids_BT[:, begin : begin + width], state)
            at_T = begin + torch.arange(h_BTF.shape[1], device=self.device)
            # `<bos>` predicts nothing, `<eos>` is not of the text
            inside_BT = (at_T >= 1) & (at_T <= last_B[:, None])
            total_BF += torch.where(inside_BT[..., None], h_BTF, 0.0).sum(1)
            if begin + width < ids_BT.shape[1]:
                yield EncodedTexts(
                    batch.rows_B[:0], np.zeros((0, self.features), np.float32), batch.rows_B[:0]
                )

        yield EncodedTexts(
            batch.rows_B,
            (total_BF / last_B[:, None]).float().cpu().numpy(),
            batch.lengths_B - FRAME,
        )


def network_in(model: Any) -> NeuralLM | None:
    """Return the neural model that a model is, or has as its first neural part; None if it has none."""
    return next((network for *_, network in networks_in(model)), None)
