"""Predict next words with a model of lines, and generate whole lines by sampling.

A model with probabilities is sampled from its probabilities. Stupid back-off has scores: they rank the next words too,
and lines are sampled in proportion to the scores of each step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.options import Count
from models.sampling_options import require_allowed
from training.ngram.lines.line_lm import LineLM
from training.ngram.lines.text_corpus import BEGIN, END, UNK, LineCorpus

if TYPE_CHECKING:
    import torch

    from models.ngram.lm import NGramState


def next_words(model: LineLM, prompt: str, k: int = 5) -> list[tuple[str, float]]:
    """Return the k words (or `</s>`, the end of the line) that the model ranks first after *prompt*, best first.

    Each word has its probability, or with stupid back-off its score (scores do not sum to 1). `<unk>` and words with
    probability 0 are left out.

    Raises:
        ModelError: k is below 1, or `<s>` or `</s>` is in the prompt; kind "input".
    """
    require_allowed("k", k, Count)
    logs_V = _read(model, prompt, 1)[0][0].numpy().astype(np.float64)
    logs_V[[UNK, BEGIN]] = -np.inf
    best = np.argsort(-logs_V, kind="stable")[:k]
    return [(model.words[token], float(np.exp(logs_V[token]))) for token in best if logs_V[token] > -np.inf]


def write_lines(
    model: LineLM,
    n: int = 1,
    prompt: str = "",
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    max_tokens: int = 100,
    seed: int = 0,
) -> list[str]:
    """Return n lines that begin with *prompt*, each up to its end or *max_tokens* words; see `models/sampling`.

    Raises:
        ModelError: A parameter is out of its range, or `<s>` or `</s>` is in the prompt; kind "input".
    """
    from models.sampling.batch import SampledText, TextBatch, draws_of
    from models.sampling_options import Sampling

    require_allowed("n", n, Count)
    require_allowed("max_tokens", max_tokens, Count)
    sampling = Sampling(temperature, top_k, top_p)
    uniforms_BT = draws_of(seed).random((max_tokens, n)).T
    batch: TextBatch[SampledText] = TextBatch(model.step, (UNK, BEGIN), model.normalised)
    texts = [SampledText(sampling, iter(uniforms_T.tolist()), []) for uniforms_T in uniforms_BT]
    batch.join(texts, *_read(model, prompt, n))
    lines = {id(text): prompt.split() for text in texts}
    for text, token in batch.write(max_tokens):
        if token != END:
            lines[id(text)].append(model.words[token])
    return [" ".join(words) for words in lines.values()]


def _read(model: LineLM, prompt: str, streams: int) -> tuple[torch.Tensor, NGramState]:
    """Return the log-probabilities (or log scores) after `<s>` and the prompt, and the state, for *streams* streams."""
    ids_T = LineCorpus.read([prompt], model.words, marks="unknown").ids[:-1]
    ids_BT = np.tile(ids_T.astype(np.int64), (streams, 1))
    state = model.read(ids_BT[:, :-1], model.start(streams))
    return model.step(ids_BT[:, -1], state)
