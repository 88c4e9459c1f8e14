"""Losses of labels, rankings and numbers: by hand, by brute force, beside torch's; gradients; what always holds."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.course.networks import label_losses as losses
from reviewlm.models.base import ModelError

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


def value(
    loss,
    scores,
    label,
):
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
    assert losses.cross_entropy(SCORES, LABELS).tolist() == near(
        [math.log(total) - s for s in (1.0, 2.5, 0.2)]
    )
    assert losses.zero_one(SCORES, LABELS).tolist() == near([1.0, 0.0, 1.0])
    assert losses.squared_error(
        torch.tensor([3.5, 4.0]).double(), torch.tensor([5, 4])
    ).tolist() == near([2.25, 0.0])
    real = torch.tensor([2.0, 0.5, 0.0], dtype=torch.float64)
    corrupted = torch.tensor([0.5, 0.2, 1.0], dtype=torch.float64)
    assert losses.ranking(real, corrupted).tolist() == near([0.0, 0.7, 2.0])


@given(scored())
def test_hinges_equal_the_formulas_term_by_term(example):
    scores, label = example
    short = [1 + scores[k] - scores[label] for k in range(len(scores)) if k != label]
    assert value(losses.hinge, scores, label) == max(0.0, max(short))
    assert value(losses.hinge_sum, scores, label) == sum(max(0.0, term) for term in short)


@given(quarters, quarters)
def test_losses_of_two_scores_are_zero_only_where_there_is_nothing_to_learn(first, second):
    one, other = (
        torch.tensor([first], dtype=torch.float64),
        torch.tensor([second], dtype=torch.float64),
    )
    assert losses.ranking(one, other).item() == max(0.0, 1 + second - first)
    assert (losses.squared_error(one, other).item() == 0) == (first == second)


def random_scores(count=40, labels=4):
    draw = torch.Generator().manual_seed(1)
    scores = 2 * torch.randn(count, labels, dtype=torch.float64, generator=draw)
    return scores, torch.randint(0, labels, (count,), generator=draw)


@pytest.mark.parametrize("loss", OF_LABELS)
def test_gradients_equal_numeric_differences(loss):
    scores, labels = random_scores(8)
    assert torch.autograd.gradcheck(lambda s: loss(s, labels), scores.requires_grad_())


@pytest.mark.parametrize("loss", [*OF_LABELS, losses.zero_one, losses.margins])
@pytest.mark.parametrize(
    ("scores", "labels", "complaint"),
    [
        (
            torch.zeros(2, 3),
            torch.tensor([0, 3]),
            "labels go from 0 to 3; there are 3, numbered from 0",
        ),
        (torch.zeros(2, 3), torch.tensor([-1, 0]), "labels go from -1 to 0"),
        (
            torch.zeros(2, 3),
            torch.tensor([0]),
            r"labels are \(1,\) of torch.int64; one int64 for each of 2",
        ),
        (torch.zeros(2, 3), torch.tensor([0.0, 1.0]), "of torch.float32; one int64"),
        (torch.zeros(2, 1), torch.tensor([0, 0]), "2 or more labels"),
        (torch.zeros(3), torch.tensor([0, 0]), "2 or more labels"),
    ],
)
def test_wrong_input_is_refused(
    loss,
    scores,
    labels,
    complaint,
):
    with pytest.raises(ModelError, match=complaint):
        loss(scores, labels)
