"""Fit a neural language model: build its network, train it on one stream, choose the best state on another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from reviewlm.models.neural.device import limited_threads, out_of_memory, require_device
from reviewlm.models.neural.lm import NeuralLM, NeuralSpec
from reviewlm.models.neural.network import fill_from
from reviewlm.models.specs import model_class
from reviewlm.models.streams import unigram_counts
from reviewlm.training.context import FitContext, FitResult
from reviewlm.training.neural.fused.chosen_layers import train_with_own_layers
from reviewlm.training.neural.sampled_output import training_output
from reviewlm.training.neural.trainer import train as train_network
from reviewlm.training.vectors.stored_rows import start_embedding

if TYPE_CHECKING:
    from reviewlm.models.streams import TokenStream
    from reviewlm.models.tokens.vocabulary import Vocabulary


def fit_network(
    spec: NeuralSpec,
    vocabulary: Vocabulary,
    train: TokenStream,
    validation: TokenStream,
    context: FitContext,
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
    with (
        limited_threads(threads),
        out_of_memory(spec.name, context.device),
        torch.random.fork_rng(devices=[]),
    ):
        torch.manual_seed(spec.training.seed)
        network = lm_class.build(spec, counts_V)
        network.output = training_output(network.output, spec.objective, counts_V)
        if spec.vectors:
            start_embedding(network.embedding, spec, context.vectors)
        if context.init_weights is not None:
            fill_from(network, context.init_weights)
        network = train_with_own_layers(network.to(context.device))
        result = train_network(
            network,
            train,
            validation,
            spec.training,
            context,
        )

    summary = {"parameters": sum(parameter.numel() for parameter in network.parameters()), **result}
    return FitResult(lm_class(spec, network, vocabulary.size), summary)
