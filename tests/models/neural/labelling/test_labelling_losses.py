"""Losses of labels, rankings and numbers: by hand, by brute force, beside torch's; gradients; what always holds."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from models.base import ModelError
from models.neural.labelling import losses
from models.neural.labelling.spec import LabellingSpec

SCORES = torch.tensor([[1.0, 2.5, 0.2]] * 3, dtype=torch.float64)
LABELS = torch.tensor([0, 1, 2])
OF_LABELS = [losses.cross_entropy, losses.hinge, losses.hinge_sum]

quarters = st.integers(-24, 24).map(lambda number: number / 4)
"""Scores whose sums are exact, so that "the margin holds" is no matter of rounding."""


@st.composite
def scored(draw, most=5):
    """Scores of one example and its label."""
    scores = draw(st.lists(quarters, min_size=2, max_size=most))
    return scores, draw(st.integers(0, len(scores) - 1))


def value(loss, scores, label):
    return loss(torch.tensor([scores], dtype=torch.float64), torch.tensor([label])).item()


def near(expected):
    return pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_multiclass_hinge_by_hand():
    """Scores 1, 2.5, 0.2. Label 0: rivals fall short by 1 + 2.5 − 1 = 2.5 and 1 + 0.2 − 1 = 0.2; label 1 leads by 1.5;
    label 2: 1 + 1 − 0.2 = 1.8 and 1 + 2.5 − 0.2 = 3.3."""
    assert losses.hinge(SCORES, LABELS).tolist() == near([2.5, 0.0, 3.3])
    assert losses.hinge_sum(SCORES, LABELS).tolist() == near([2.7, 0.0, 5.1])
    assert losses.margins(SCORES, LABELS).tolist() == near([-1.5, 1.5, -2.3])


def test_the_other_losses_by_hand():
    total = math.e + math.exp(2.5) + math.exp(0.2)
    assert losses.cross_entropy(SCORES, LABELS).tolist() == near([math.log(total) - s for s in (1.0, 2.5, 0.2)])
    assert losses.zero_one(SCORES, LABELS).tolist() == near([1.0, 0.0, 1.0])
    assert losses.squared_error(torch.tensor([3.5, 4.0]).double(), torch.tensor([5, 4])).tolist() == near([2.25, 0.0])
    real = torch.tensor([2.0, 0.5, 0.0], dtype=torch.float64)
    corrupted = torch.tensor([0.5, 0.2, 1.0], dtype=torch.float64)
    assert losses.ranking(real, corrupted).tolist() == near([0.0, 0.7, 2.0])


@given(scored())
def test_hinges_equal_the_formulas_term_by_term(example):
    scores, label = example
    short = [1 + scores[k] - scores[label] for k in range(len(scores)) if k != label]
    assert value(losses.hinge, scores, label) == max(0.0, max(short))
    assert value(losses.hinge_sum, scores, label) == sum(max(0.0, term) for term in short)


@given(scored())
def test_a_hinge_is_never_negative_and_zero_exactly_where_the_right_label_leads_by_one(example):
    scores, label = example
    leads = all(scores[label] - other >= 1 for k, other in enumerate(scores) if k != label)
    for loss in (losses.hinge, losses.hinge_sum):
        found = value(loss, scores, label)
        assert found >= 0
        assert (found == 0) == leads


@given(scored())
def test_what_can_be_trained_by_lies_above_the_zero_one_loss(example):
    scores, label = example
    wrong, hinge, summed = (value(loss, *example) for loss in (losses.zero_one, losses.hinge, losses.hinge_sum))
    assert wrong <= hinge <= summed <= (len(scores) - 1) * hinge
    assert wrong <= value(losses.cross_entropy, scores, label) / math.log(2) + 1e-12


@given(scored(), quarters)
def test_adding_a_constant_to_all_scores_changes_nothing(example, constant):
    scores, label = example
    moved = [score + constant for score in scores]
    for loss in (losses.hinge, losses.hinge_sum, losses.zero_one):
        assert value(loss, moved, label) == value(loss, scores, label)
    assert value(losses.cross_entropy, moved, label) == pytest.approx(value(losses.cross_entropy, scores, label))


@given(quarters, quarters)
def test_of_two_labels_both_hinges_are_the_binary_one_of_the_difference(first, second):
    f = torch.tensor([second - first] * 2, dtype=torch.float64)
    expected = (1 - torch.tensor([-1, 1]) * f).clamp_min(0).tolist()
    for loss in (losses.hinge, losses.hinge_sum):
        assert [value(loss, [first, second], label) for label in (0, 1)] == expected


@given(quarters, quarters)
def test_ranking_and_squared_error_are_never_negative_and_zero_only_where_there_is_nothing_to_learn(first, second):
    one, other = torch.tensor([first], dtype=torch.float64), torch.tensor([second], dtype=torch.float64)
    assert losses.ranking(one, other).item() == max(0.0, 1 + second - first)
    assert (losses.squared_error(one, other).item() == 0) == (first == second)


def random_scores(count=40, labels=4):
    draw = torch.Generator().manual_seed(1)
    scores = 2 * torch.randn(count, labels, dtype=torch.float64, generator=draw)
    return scores, torch.randint(0, labels, (count,), generator=draw)


def test_torchs_losses_where_they_coincide():
    scores, labels = random_scores()
    ours = losses.hinge_sum(scores, labels) / 4
    torch.testing.assert_close(ours, nn.MultiMarginLoss(reduction="none")(scores, labels))
    two, label = scores[:, :2], labels % 2
    torch.testing.assert_close(losses.hinge(two, label) / 2, nn.MultiMarginLoss(reduction="none")(two, label))
    torch.testing.assert_close(losses.cross_entropy(scores, labels), F.cross_entropy(scores, labels, reduction="none"))
    torchs = nn.MarginRankingLoss(margin=1.0, reduction="none")
    f, g = scores[:, 0], scores[:, 1]
    torch.testing.assert_close(losses.ranking(f, g), torchs(f, g, torch.ones(40)))
    torch.testing.assert_close(losses.squared_error(f, g), nn.MSELoss(reduction="none")(f, g))


def test_where_several_rivals_are_too_near_crammer_and_singers_loss_is_not_torchs():
    scores, labels = random_scores()
    assert not torch.allclose(losses.hinge(scores, labels) / 4, nn.MultiMarginLoss(reduction="none")(scores, labels))


@pytest.mark.parametrize("loss", OF_LABELS)
def test_gradients_equal_numeric_differences(loss):
    scores, labels = random_scores(8)
    assert torch.autograd.gradcheck(lambda s: loss(s, labels), scores.requires_grad_())


def test_gradients_of_single_scores_equal_numeric_differences():
    f, g = random_scores(8)[0][:, :2].T.clone().requires_grad_()
    signs = torch.tensor([1, -1] * 4)
    assert torch.autograd.gradcheck(losses.ranking, (f, g))
    assert torch.autograd.gradcheck(lambda f: losses.squared_error(f, signs), f)


def test_the_hinges_gradient_pulls_the_right_label_up_and_what_comes_too_near_down():
    """Scores 1, 2.5, 0.2, label 0: of the two rivals that come too near, hinge knows the first only."""
    for loss, expected in ((losses.hinge, [-1.0, 1.0, 0.0]), (losses.hinge_sum, [-2.0, 1.0, 1.0])):
        scores = SCORES[:1].clone().requires_grad_()
        loss(scores, LABELS[:1]).sum().backward()
        assert scores.grad.tolist() == [expected]


@given(scored(), quarters)
def test_the_zero_one_loss_has_no_gradient_to_train_by(example, direction):
    """Wherever no two scores are equal, a small step in any direction changes nothing."""
    scores, label = example
    if len(set(scores)) == len(scores):
        moved = [score + 1e-3 * direction * k for k, score in enumerate(scores)]
        assert value(losses.zero_one, moved, label) == value(losses.zero_one, scores, label)
    assert not losses.zero_one(SCORES.clone().requires_grad_(), LABELS).requires_grad


def test_training_by_the_zero_one_loss_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"loss is 'zero_one'.*'hinge'.*gradient is 0.*reported as error_rate"):
        LabellingSpec(loss="zero_one")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_huge_scores_stay_finite(dtype):
    scores = torch.tensor([[1e4, -1e4, 0.0]] * 3, dtype=dtype, requires_grad=True)
    for loss, expected in ((losses.cross_entropy, [0.0, 2e4, 1e4]), (losses.hinge, [0.0, 20_001.0, 10_001.0])):
        found = loss(scores, LABELS)
        assert found.tolist() == expected
        (gradient,) = torch.autograd.grad(found.sum(), scores)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("loss", [*OF_LABELS, losses.zero_one, losses.margins])
@pytest.mark.parametrize(
    ("scores", "labels", "complaint"),
    [
        (torch.zeros(2, 3), torch.tensor([0, 3]), "labels go from 0 to 3; there are 3, numbered from 0"),
        (torch.zeros(2, 3), torch.tensor([-1, 0]), "labels go from -1 to 0"),
        (torch.zeros(2, 3), torch.tensor([0]), r"labels are \(1,\) of torch.int64; one int64 for each of 2"),
        (torch.zeros(2, 3), torch.tensor([0.0, 1.0]), "of torch.float32; one int64"),
        (torch.zeros(2, 1), torch.tensor([0, 0]), "2 or more labels"),
        (torch.zeros(3), torch.tensor([0, 0]), "2 or more labels"),
    ],
)
def test_wrong_labels_and_shapes_are_refused(loss, scores, labels, complaint):
    with pytest.raises(ModelError, match=complaint):
        loss(scores, labels)


def test_shapes_that_torch_would_broadcast_are_refused():
    """(3, 1) beside (3) is 9 differences to torch: the commonest fault of a squared error."""
    with pytest.raises(ModelError, match=r"scores are \(3, 1\), targets \(3,\)"):
        losses.squared_error(torch.zeros(3, 1), torch.zeros(3))
    with pytest.raises(ModelError, match=r"corrupted scores \(1,\)"):
        losses.ranking(torch.zeros(3), torch.zeros(1))


@pytest.mark.parametrize("loss", OF_LABELS)
def test_no_examples_have_no_losses(loss):
    assert loss(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)).shape == (0,)
