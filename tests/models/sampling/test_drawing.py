"""The draw in one pass gives the token of the filters; extreme options and broken models draw nothing arbitrary."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from reviewlm.models.base import ModelError
from reviewlm.models.completion.beam import beam_search
from reviewlm.models.sampling import Sampling
from reviewlm.models.sampling.filters import draw, filter_tokens, in_one_pass, pick, sampled_logp
from tests.examples import examples
from tests.models.sampling.small_bundles import bundle_of

CUTS = (
    Sampling(),
    Sampling(0.8, 0, 0.95),
    Sampling(1.3, 7),
    Sampling(0.7, 30, 0.6, 0.02),
    Sampling(1.0, min_p=0.1),
    Sampling(0.3, 10**6, 0.9999),
    Sampling(2.0, 2),
    Sampling(1.0, 0, 0.001),
)


@pytest.mark.parametrize("size", [9, 300, 1501])
@pytest.mark.parametrize("step", [0.0, 0.25], ids=["all different", "many equal"])
def test_drawing_cuts_what_the_filters_cut(size, step):
    draws, never = np.random.default_rng(size), torch.tensor([0, 3])
    for spread in (0.5, 4.0):
        logits_NV = torch.from_numpy(draws.normal(size=(150, size)).astype(np.float32)) * spread + 5
        logits_NV[:, 1] = -torch.inf
        if step:
            logits_NV = (logits_NV / step).round() * step
        for sampling in CUTS:
            uniforms_N = draws.random(150)
            possible_NV = filter_tokens(torch.log_softmax(logits_NV, 1), never, sampling)
            expected = pick(sampled_logp(possible_NV, sampling), uniforms_N)
            assert draw(logits_NV, never, sampling, uniforms_N).tolist() == expected.tolist()


def drawn(
    logp_NV,
    never,
    sampling,
    uniforms_N,
):
    """The ids by the draw in one pass where that is possible, else by the filters, as a batch of texts draws them."""
    if in_one_pass(logp_NV, sampling):
        return draw(logp_NV, never, sampling, uniforms_N).tolist()
    return pick(
        sampled_logp(filter_tokens(logp_NV, never, sampling), sampling), uniforms_N
    ).tolist()


@examples(300)
@example(
    temperature=5e-324,
    lead=100.0,
    top_p=1.0,
)
@example(
    temperature=1e-38,
    lead=0.0,
    top_p=0.9,
)
@given(
    temperature=st.floats(5e-324, 1e-6),
    lead=st.sampled_from([0.0, 1e-3, 100.0, 1e30]),
    top_p=st.sampled_from([1.0, 0.9]),
)
def test_a_temperature_near_zero_draws_as_zero_though_what_is_never_written_leads(
    temperature,
    lead,
    top_p,
):
    draws, never = np.random.default_rng(3), torch.tensor([1, 3])
    logp_NV = torch.log_softmax(torch.from_numpy(draws.normal(size=(8, 40)).astype(np.float32)), 1)
    best = filter_tokens(logp_NV, never, Sampling()).argmax(1).tolist()
    logp_NV[:, 3] += lead
    for sampling in (
        Sampling(temperature, 0, top_p),
        Sampling(temperature, 0, top_p, typical_p=0.999999),
    ):
        for numbers in (logp_NV, logp_NV.double()):
            for uniform in (0.0, 0.5, 1 - 2**-53):
                assert drawn(numbers, never, sampling, np.full(8, uniform)) == best


@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(0.5, 0, 0.9), Sampling(0), Sampling(typical_p=0.5)]
)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_model_without_numbers_draws_nothing(sampling, sign):
    """Both signs: the processor's own NaN is negative, which whole numbers sort below all others."""
    logp_NV = torch.full((2, 300), np.copysign(np.nan, sign))
    with pytest.raises(ModelError) as caught:
        drawn(logp_NV, torch.tensor([3]), sampling, np.array([0.2, 0.8]))
    assert caught.value.kind == "bundle"
    bundle = bundle_of()
    bundle.model.p_VV[:] = np.nan
    with pytest.raises(ModelError):
        beam_search(bundle, 3, 1, 3)
