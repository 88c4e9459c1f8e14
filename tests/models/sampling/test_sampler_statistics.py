"""The sampler, proved against the model: over many seeds, every setting draws from the distribution that it defines.

For each seed a text is drawn. Each of its tokens k becomes a number that is uniform in [0, 1) if k was drawn from the
distribution that the definitions give at that place: the probability of all more probable tokens, plus v p(k) with an
independent uniform v. A chi-square test gives one p-value per seed; the p-values of all seeds must themselves be
uniform (Kolmogorov-Smirnov). The same test over the numbers of all seeds together notices small differences.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
import pytest
from scipy.stats import chisquare, kstest

from reviewlm.models.sampling import Sampling
from reviewlm.models.sampling.batch import NOT_WRITTEN, SampledText, TextBatch, uniforms_of
from reviewlm.models.tokens.special import EOS
from tests.marked_cases import slow_but
from tests.models.sampling.test_sampling_options import oracle
from tests.models.table_lm import TableLM, TableState

SIZE, BINS = 34, 8
SETTINGS = {
    "plain": Sampling(),
    "cold": Sampling(0.5),
    "hot": Sampling(1.7),
    "top_k": Sampling(top_k=7),
    "top_p": Sampling(top_p=0.83),
    "min_p": Sampling(min_p=0.07),
    "typical_p": Sampling(typical_p=0.61),
    "defaults of the command line": Sampling(0.8, 0, 0.95),
    "repetition_penalty": Sampling(repetition_penalty=1.4),
    "rewarded repetition": Sampling(repetition_penalty=0.8),
    "no_repeat_ngram_size": Sampling(no_repeat_ngram_size=2),
    "all": Sampling(
        0.9,
        20,
        0.97,
        0.01,
        0.9,
        1.2,
        3,
    ),
}


def table(size=SIZE):
    """A table of pairs without an end, so that all texts have the same length."""
    model = TableLM.random(size, seed=4)
    weights = model.p_VV.copy()
    weights[:, EOS] = 0
    return TableLM.normalised(weights)


@dataclass
class Drawn:
    last: int
    text: list[int]
    token: int


def texts(
    model,
    sampling,
    seeds,
    tokens,
):
    """Return what was drawn: every token with the one before it and the text before it, by seed."""
    batch = TextBatch(model.step)
    written = [SampledText(sampling, uniforms_of(seed, 0, 3, ""), []) for seed in range(seeds)]
    batch.join(written, *model.step(np.full(seeds, 6), TableState(np.full(seeds, 1))))
    drawn = {id(text): [] for text in written}
    for text, token in batch.write(tokens):
        drawn[id(text)].append(Drawn(text.ids[-1] if text.ids else 6, list(text.ids), token))
    return list(drawn.values())


def defined(
    p_V,
    text,
    sampling,
):
    """Return the distribution that the definitions give after a text; written without the code that is tested."""
    p_V = p_V.copy()
    p_V[sorted(NOT_WRITTEN)] = 0
    with np.errstate(divide="ignore"):
        log_V = np.log(p_V)
    for token in set(text):
        log_V[token] *= sampling.repetition_penalty
    size = sampling.no_repeat_ngram_size
    if size:
        seen = {tuple(text[i : i + size]) for i in range(len(text) - size + 1)}
        for token in range(len(log_V)):
            if len(text) >= size - 1 and (*text[len(text) - size + 1 :], token) in seen:
                log_V[token] = -np.inf
    if np.isneginf(log_V).all():
        log_V[EOS] = 0.0
    p_V = np.exp(log_V - log_V.max())
    return oracle(p_V / p_V.sum(), sampling)


def p_value_of_all(
    model,
    sampling,
    seeds,
    tokens,
    wrong=None,
):
    """Return the smaller p-value of both tests; *wrong*: another setting that the draws are held against."""
    noise, known, found, together = np.random.default_rng(9), {}, [], np.zeros(BINS)
    static = sampling.repetition_penalty == 1 and not sampling.no_repeat_ngram_size
    for text in texts(model, sampling, seeds, tokens):
        counts = np.zeros(BINS)
        for at in text:
            p_V = known.get(at.last) if static else None
            if p_V is None:
                p_V = known[at.last] = defined(model.p_VV[at.last], at.text, wrong or sampling)
            own = p_V[at.token]
            before_V = (p_V > own) | ((p_V == own) & (np.arange(len(p_V)) < at.token))
            place = p_V[before_V].sum() + noise.random() * own
            counts[min(int(place * BINS), BINS - 1)] += 1
        found.append(chisquare(counts).pvalue)
        together += counts
    return min(kstest(found, "uniform").pvalue, chisquare(together).pvalue)


@pytest.mark.parametrize(
    "name", slow_but(SETTINGS, {"plain", "cold", "top_k", "top_p", "min_p", "typical_p"})
)
def test_every_setting_draws_from_the_distribution_that_it_defines(name):
    # The same distribution at every visit of a word.
    static = SETTINGS[name] == Sampling(*astuple(SETTINGS[name])[:5])
    assert p_value_of_all(table(), SETTINGS[name], 200, 64 if static else 40) > 1e-3
