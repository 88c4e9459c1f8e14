"""Most tokens are drawn from the first entries of a distribution alone, and they are those of the whole one."""


import numpy as np
import pytest
import torch

from models.base import FirstEntries
from models.sampling import Sampling, generate
from models.sampling.filters import allowed, draw_unchanged, pick, sampled_logp
from models.tokens.special import CONTEXT_IDS, UNK
from tests.serving.engine.small_models import bundle_of

NEVER = torch.tensor(sorted({UNK, *CONTEXT_IDS}))
KINDS = ("lstm", "mixture", "gated")


def distributions(rows: int, entries: int, seed: int) -> torch.Tensor:
    logits_NV = np.random.default_rng(seed).normal(0, 3, (rows, entries))
    logits_NV[:, list(CONTEXT_IDS)] = -np.inf
    return torch.log_softmax(torch.from_numpy(logits_NV), 1).float()


def only(logp_NV: torch.Tensor, count: int, asked: list[int]) -> FirstEntries:
    """The first entries; the rows whose whole distributions are looked up are noted in *asked*."""

    def whole(rows_M: np.ndarray) -> torch.Tensor:
        asked.extend(rows_M.tolist())
        return logp_NV[rows_M]

    return FirstEntries(logp_NV[:, :count].contiguous(), whole)


@pytest.mark.parametrize("count", [9, 10, 128, 129, 500, 700])
def test_the_draw_is_that_of_the_whole_distribution_by_inversion(count):
    logp_NV, uniforms_N = distributions(400, 700, 1), np.random.default_rng(2).random(400)
    expected = pick(sampled_logp(allowed(logp_NV.double(), NEVER, Sampling()), Sampling()), uniforms_N)
    asked: list[int] = []
    ids_N = draw_unchanged(only(logp_NV, count, asked), NEVER, uniforms_N)
    assert ids_N.tolist() == expected.tolist()
    assert asked == np.flatnonzero(expected >= count).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_those_drawn_from_whole_distributions(kind, monkeypatch):
    bundle = bundle_of(kind)
    texts = generate(bundle, 40, max_tokens=60, seed=3)
    assert len({len(text) for text in texts}) > 10
    monkeypatch.setattr("models.sampling.generation.BATCH_BY_FIRST", 7)
    assert generate(bundle, 40, max_tokens=60, seed=3) == texts
    monkeypatch.setattr("models.sampling.generation.first_step", lambda model: None)
    assert generate(bundle, 40, max_tokens=60, seed=3) == texts
