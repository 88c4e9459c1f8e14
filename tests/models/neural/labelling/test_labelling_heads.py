"""Heads: what they score, where they start, what they answer; the margin head that labels, and the same that ranks."""

import math

import pytest
import torch

from models.base import ModelError
from models.neural.labelling import losses
from models.neural.labelling.heads import MarginHead, ProbabilityHead

F_ = 5


def features(count=7, seed=1):
    return torch.randn(count, F_, generator=torch.Generator().manual_seed(seed))


def test_a_margin_head_of_two_labels_is_one_row_whose_hinge_loss_is_the_binary_one():
    head, h = MarginHead(F_, 2), features()
    f = h @ head.linear.weight[0] + head.linear.bias[0]
    assert head.linear.weight.shape == (1, F_)
    assert torch.equal(head(h)[:, 0], torch.zeros(7))
    torch.testing.assert_close(head(h)[:, 1], f)
    labels = torch.tensor([0, 1, 0, 1, 1, 0, 1])
    torch.testing.assert_close(head.loss(head(h), labels), (1 - (2 * labels - 1) * f).clamp_min(0))
    assert torch.equal(head.answers(head(h)), (f > 0).long())


def test_the_row_that_labels_also_ranks():
    """A binary margin head and one that only ranks hold the same weights; f is the score of both."""
    labelling, ranking = MarginHead(F_, 2), MarginHead(F_)
    ranking.load_state_dict(labelling.state_dict())
    real, corrupted = features(), features(seed=2)
    expected = losses.ranking(ranking(real)[:, 0], ranking(corrupted)[:, 0])
    assert torch.equal(ranking.ranking(real, corrupted), expected)
    assert torch.equal(labelling.ranking(real, corrupted), expected)
    with pytest.raises(ModelError, match="3 labels has 3 scores; ranking needs one"):
        MarginHead(F_, 3).ranking(real, corrupted)


def test_a_probability_head_starts_at_the_share_of_each_label():
    """Counts 6, 3, 0 with 0.5 added: 6.5, 3.5 and 0.5 of 10.5."""
    head = ProbabilityHead(F_, torch.tensor([6, 3, 0]))
    start = torch.softmax(head(torch.zeros(1, F_)), 1)
    torch.testing.assert_close(start, torch.tensor([[6.5, 3.5, 0.5]]) / 10.5)
    h, labels = features(300), torch.tensor([0, 1] * 150)
    assert head.loss(head(h), labels).mean().item() == pytest.approx(-math.log(6.5 * 3.5 / 10.5**2) / 2, rel=0.05)
