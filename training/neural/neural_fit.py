"""Fit a neural language model: build its network, train it on one stream, choose the best state on another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from models.base import LanguageModel
from models.bundles.bundle import in_int8
from models.neural.device import limited_threads, out_of_memory, require_device
from models.neural.lm import NeuralLM, NeuralSpec
from models.neural.network import fill_from
from models.specs import model_class
from models.streams import unigram_counts
from models.tokens.special import CONTEXT_IDS, EOS
from training.context import FitContext, FitResult
from training.neural.fused.chosen_layers import train_with_own_layers
from training.neural.sampled_output import training_output
from training.neural.trainer import train as train_network
from training.vectors.stored_rows import start_embedding

if TYPE_CHECKING:
    from models.streams import TokenStream
    from models.tokens.vocabulary import Vocabulary


def fit_network(
    spec: NeuralSpec, vocabulary: Vocabulary, train: TokenStream, validation: TokenStream, context: FitContext
) -> FitResult:
    """Train on one stream and choose the best state on the other.

    Returns:
        The model, and numbers: parameters, and the summary of `trainer.train` (tokens, seconds, best perplexity …).

    Raises:
        ModelError: kind "diverged" or "memory"; "input" where the streams belong to another vocabulary, the device
            does not exist, or the word vectors do not fit; "bundle" where `context.init_weights` cannot be read or
            does not fit.
    """
    require_device(context.device)
    for stream in (train, validation):
        stream.require(vocabulary)
    counts_V = torch.from_numpy(np.asarray(unigram_counts(train, vocabulary.size), dtype=np.int64))
    lm_class: type[NeuralLM] = model_class(spec.kind)
    # Beside a GPU the processor has little to do, and several threads would wait for each other.
    threads = context.threads if context.device == "cpu" else 1
    with limited_threads(threads), out_of_memory(spec.name, context.device), torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.training.seed)
        network = lm_class.build(spec, counts_V)
        network.output = training_output(network.output, spec.objective, counts_V)
        if spec.vectors:
            start_embedding(network.embedding, spec, context.vectors)
        if context.init_weights is not None:
            fill_from(network, context.init_weights)
        network = network.to(context.device)
        train_with_own_layers(network)
        result = train_network(network, train, validation, spec.training, context)
    summary = {"parameters": sum(parameter.numel() for parameter in network.parameters()), **result}
    return FitResult(lm_class(spec, network, vocabulary.size), summary)


REVIEWS, TOKENS = 64, 64
"""Reviews, and tokens of each, on which the loss is measured."""


def loss_of_int8(model: LanguageModel, stream: TokenStream) -> float | None:
    """Return by which share int8 raises the perplexity of reviews that the model was not fitted on.

    With `REVIEWS` reviews of `TOKENS` tokens it is known to some 0.03 %. None: the model has no form in int8.

    Args:
        model: The exact model, on the CPU.
        stream: The reviews; of the first ones, the first tokens are read.
    """
    if (quick := in_int8(model)) is None:
        return None
    reviews = [stream.document(row)[:TOKENS] for row in range(min(REVIEWS, len(stream)))]
    ids_BT = np.full((len(reviews), TOKENS), EOS, np.int64)
    scored_BT = np.zeros(ids_BT.shape, bool)
    for row, ids in enumerate(reviews):
        ids_BT[row, : len(ids)] = ids
        scored_BT[row, : len(ids)] = ~np.isin(ids, list(CONTEXT_IDS))
    exact_N, quick_N = (_nats(each, ids_BT, scored_BT) for each in (model, quick))
    possible_N = torch.isfinite(exact_N)  # a model may rule out a word
    rise_N = (quick_N - exact_N)[possible_N]
    return round(float(torch.expm1(rise_N.mean())), 6) if len(rise_N) else None


def _nats(model: LanguageModel, ids_BT: np.ndarray, scored_BT: np.ndarray) -> Tensor:
    """Return −log p of the scored tokens, by steps: by place, then by text."""
    state, nats = model.start(len(ids_BT)), [torch.zeros(0, dtype=torch.float64)]
    for ids_B, next_B, scored_B in zip(ids_BT.T[:-1], ids_BT.T[1:], scored_BT.T[1:], strict=True):
        logp_BV, state = model.step(ids_B, state)
        rows_N = np.flatnonzero(scored_B)
        nats.append(-torch.log_softmax(logp_BV.double()[rows_N], 1)[range(len(rows_N)), next_B[rows_N]])
    return torch.cat(nats)
