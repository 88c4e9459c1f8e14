"""Gradients that are too large: cut entry by entry, shortened as a whole, counted and logged."""

import pytest
import torch

from reviewlm.training.neural.gradient_clipping import scale_and_clip, scale_and_clip_on_gpu


def parameters_of(*shapes, size=1):
    """Parameters of these shapes with random gradients."""
    generator = torch.Generator().manual_seed(0)
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in shapes]
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator) * size
    return parameters


SCALES = pytest.mark.parametrize("scale", [1.0, 0.01])
LIMITS = pytest.mark.parametrize("limit", [0.5, 1.0, 100.0, None])


def clip(scale, limit):
    """Return the scaled gradient before clipping, that after it, and what clipping reports."""
    parameters = parameters_of((7, 3), (5,), (2, 2, 2), size=3)
    parameters.append(torch.nn.Parameter(torch.zeros(3)))  # not part of this loss
    before = torch.cat([p.grad.flatten() for p in parameters[:3]]) * scale
    clipped = scale_and_clip(parameters, scale, limit)
    return before, torch.cat([p.grad.flatten() for p in parameters[:3]]), clipped


@LIMITS
@SCALES
def test_clipping_reports_the_norm_before_it(limit, scale):
    before, _, clipped = clip(scale, limit)
    assert clipped.norm == pytest.approx(before.norm().item(), rel=1e-6)
    assert clipped.by_norm == (limit is not None and clipped.norm > limit)
    assert not clipped.by_value


@LIMITS
@SCALES
def test_clipping_bounds_the_norm(limit, scale):
    before, after, clipped = clip(scale, limit)
    if limit is None or clipped.norm <= limit:
        torch.testing.assert_close(after, before)
    else:
        assert after.norm().item() <= limit
        assert after.norm().item() == pytest.approx(limit, rel=1e-4)


@LIMITS
@SCALES
def test_clipping_keeps_the_direction(limit, scale):
    before, after, _ = clip(scale, limit)
    cosine = torch.nn.functional.cosine_similarity(after, before, dim=0).item()
    assert cosine == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("value", [0.05, 100.0, None])
@pytest.mark.parametrize("norm", [0.4, 100.0, None])
def test_clipping_without_a_wait_for_the_gpu_gives_the_same(value, norm):
    found = parameters_of((7, 3), (5,)), parameters_of((7, 3), (5,))
    clipped = scale_and_clip(found[0], 0.5, norm, value)
    length, by_value, by_norm = scale_and_clip_on_gpu(found[1], 0.5, norm, value)
    assert (bool(by_value), bool(by_norm)) == (clipped.by_value, clipped.by_norm)
    assert length.item() == pytest.approx(clipped.norm, rel=1e-6)
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.parametrize("value", [0.05, 0.6, 100.0])
@pytest.mark.parametrize("norm", [0.4, None])
def test_entries_are_cut_before_the_whole_is_shortened(value, norm):
    parameters = parameters_of((7, 3), (5,))
    before = torch.cat([p.grad.flatten() for p in parameters]) * 0.5
    clipped = scale_and_clip(parameters, 0.5, norm, value)
    expected = before.clamp(-value, value)
    assert clipped.norm == pytest.approx(before.norm().item(), rel=1e-6)
    assert clipped.by_value == bool((before.abs() > value).any())
    assert clipped.by_norm == (norm is not None and expected.norm().item() > norm)
    if clipped.by_norm:
        expected = expected * (norm / expected.norm())
    torch.testing.assert_close(
        torch.cat([p.grad.flatten() for p in parameters]), expected, rtol=1e-5, atol=1e-6
    )
