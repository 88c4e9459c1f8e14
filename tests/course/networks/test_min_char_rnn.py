"""Characters, NumPy and hand-derived gradients: equal to autograd's, and it learns."""

import math

import numpy as np
import pytest
import torch

from reviewlm.course.networks import bptt, min_char_rnn
from reviewlm.course.networks.min_char_rnn import Adagrad, CharacterModel, clip_entries

VERSE = "the owl and the pussycat went to sea in a beautiful pea-green boat. "
TEXTS = {
    "verse": VERSE * 3,
    "digits": "31415926535897932384626433832795028841971" * 3,
    "signs": "★☆ é→ü ★★ →☆ " * 8,
}


def autograd_of(parameters, ids):
    """torch.nn's layer on one-hot vectors, softmax and cross-entropy, differentiated by autograd."""
    leaves = {
        name: torch.tensor(getattr(parameters, name), requires_grad=True)
        for name in min_char_rnn.TRAINED
    }
    hidden, count = parameters.W.shape
    weights = {
        "weight_ih_l0": leaves["W"],
        "weight_hh_l0": leaves["U"],
        "bias_ih_l0": leaves["b"],
        "bias_hh_l0": torch.zeros(hidden, dtype=torch.float64),
    }
    one_hot = torch.nn.functional.one_hot(torch.tensor(ids[:-1]), count).double()
    h, _ = torch.func.functional_call(
        torch.nn.RNN(count, hidden, dtype=torch.float64), weights, (one_hot,)
    )
    logits = h @ leaves["V"].T + leaves["c"]
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="sum")
    loss.backward()
    return loss.item(), {name: leaf.grad.numpy() for name, leaf in leaves.items()}


def grown(text, hidden=20):
    """A model whose weights are large enough for the past to matter."""
    model = CharacterModel(text, hidden)
    for name in min_char_rnn.TRAINED:
        value = getattr(model.parameters, name)
        value += np.random.default_rng(2).normal(0, 0.3, value.shape)
    return model


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_gradients_over_a_window_of_25_equal_autograds(text):
    model, ids = grown(text), CharacterModel(text).encode(text[:26])
    loss, memory = bptt.forward(model.parameters, ids[:-1], ids[1:], np.zeros(20))
    gradients, _ = bptt.backward(model.parameters, ids[:-1], ids[1:], memory)
    expected_loss, expected = autograd_of(model.parameters, ids)
    assert loss == pytest.approx(expected_loss, rel=1e-12)
    for name, value in expected.items():
        np.testing.assert_allclose(
            getattr(gradients, name),
            value,
            rtol=1e-10,
            atol=1e-10,
            err_msg=name,
        )


def test_without_a_file_the_text_is_made_by_the_embedded_grammar(capsys) -> None:
    min_char_rnn.main(["--hidden", "4", "--updates", "2", "--every", "2", "--sample", "5"])
    first = capsys.readouterr().out.splitlines()[0]
    characters, different = (int(word) for word in first.split() if word.isdecimal())
    assert characters > 100 * min_char_rnn.MADE_REVIEWS
    assert different < 100


def test_clipping_bounds_only_entries_that_are_too_large():
    gradient = bptt.Elman(*(np.array([[-9.0, -5.0, 0.3, 4.9, 1e9]]) for _ in range(6)))
    clip_entries(gradient, 5.0)
    for name in min_char_rnn.TRAINED:
        np.testing.assert_array_equal(getattr(gradient, name), [[-5, -5, 0.3, 4.9, 5]])


def test_adagrads_steps_on_an_even_gradient_shrink_like_one_over_the_root_of_their_number():
    model = CharacterModel("ab", 3)
    before, optimizer = model.parameters.U.copy(), Adagrad(model.parameters, 0.5)
    even = bptt.Elman(*(np.full_like(value, -2.0) for value in vars(model.parameters).values()))
    for _ in range(9):
        optimizer.step(even)
    way = 0.5 * sum(1 / math.sqrt(i) for i in range(1, 10))
    np.testing.assert_allclose(model.parameters.U - before, way, rtol=1e-6)


@pytest.mark.slow
def test_samples_follow_the_models_distribution():
    """With V = 0 every character is drawn from softmax(c), whatever came before: a chi-square test of 20,000."""
    model = CharacterModel("abcd", 4)
    model.parameters.V[:], model.parameters.c[:] = 0, np.log([0.1, 0.2, 0.3, 0.4])
    drawn = model.sample(0, np.zeros(4), 20_000, np.random.default_rng(5))
    counts = np.array([drawn.count(character) for character in "abcd"])
    expected = 20_000 * np.array([0.1, 0.2, 0.3, 0.4])
    assert ((counts - expected) ** 2 / expected).sum() < 16.3, "99.9 % of three degrees of freedom"
