"""Characters, NumPy and hand-derived gradients: equal to autograd's, and it learns."""

import itertools
import math

import numpy as np
import pytest
import torch

from course import bptt, min_char_rnn
from course.min_char_rnn import Adagrad, CharacterModel, clip_entries, train
from models.base import ModelError
from tests.marked_cases import long_but

VERSE = "the owl and the pussycat went to sea in a beautiful pea-green boat. "
TEXTS = {"verse": VERSE * 3, "digits": "31415926535897932384626433832795028841971" * 3, "signs": "★☆ é→ü ★★ →☆ " * 8}


def autograd_of(parameters, ids):
    """torch.nn's layer on one-hot vectors, softmax and cross-entropy, differentiated by autograd."""
    leaves = {name: torch.tensor(getattr(parameters, name), requires_grad=True) for name in min_char_rnn.TRAINED}
    hidden, count = parameters.W.shape
    weights = {
        "weight_ih_l0": leaves["W"], "weight_hh_l0": leaves["U"], "bias_ih_l0": leaves["b"],
        "bias_hh_l0": torch.zeros(hidden, dtype=torch.float64),
    }  # fmt: skip
    one_hot = torch.nn.functional.one_hot(torch.tensor(ids[:-1]), count).double()
    h, _ = torch.func.functional_call(torch.nn.RNN(count, hidden, dtype=torch.float64), weights, (one_hot,))
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
        np.testing.assert_allclose(getattr(gradients, name), value, rtol=1e-10, atol=1e-10, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("text", long_but(TEXTS.values(), [next(iter(TEXTS.values()))]), ids=TEXTS)
def test_the_smoothed_loss_begins_at_that_of_guessing_and_falls_on_any_text(text):
    model = CharacterModel(text, hidden=30)
    nats = [progress.nats for progress in itertools.islice(train(model, text), 1_000)]
    assert nats[0] == pytest.approx(math.log(len(set(text))), rel=0.01)
    assert nats[999] < nats[499] < nats[99] < nats[0]
    assert nats[999] < 0.8 * nats[0]


def test_an_update_is_clipped_adagrad_on_the_gradient_of_a_window_and_the_state_goes_on():
    """Two windows by hand, against two of `train`."""
    text, limit, rate = VERSE, 0.05, 0.1
    model, own = CharacterModel(text, 10), CharacterModel(text, 10)
    ids, h = own.encode(text), np.zeros(10)
    squares = {name: 0.0 for name in min_char_rnn.TRAINED}
    for begin in (0, 25):
        words, targets = ids[begin : begin + 25], ids[begin + 1 : begin + 26]
        _, memory = bptt.forward(own.parameters, words, targets, h)
        gradients, _ = bptt.backward(own.parameters, words, targets, memory)
        h = memory.h[-1]
        for name in squares:
            g = getattr(gradients, name).clip(-limit, limit)
            squares[name] = squares[name] + g**2
            value = getattr(own.parameters, name)
            value -= rate * g / np.sqrt(squares[name] + 1e-8)
    *_, progress = itertools.islice(train(model, text, clip=limit, rate=rate), 2)
    np.testing.assert_array_equal(progress.h, h)
    assert progress.updates == 2
    assert progress.following == ids[50]
    for name in squares:
        np.testing.assert_allclose(getattr(model.parameters, name), getattr(own.parameters, name), rtol=1e-12)
    np.testing.assert_array_equal(model.parameters.C, np.eye(len(model.characters)))


def test_at_the_end_of_the_text_training_begins_anew_with_a_state_of_zero():
    text = VERSE[:60]  # windows of 25, 25 and 9
    model = CharacterModel(text, 10)
    updates = train(model, text)
    third = list(itertools.islice(updates, 3))[-1]
    assert third.following == model.index[text[59]]
    first = bptt.forward(model.parameters, model.encode(text[:25]), model.encode(text[1:26]), np.zeros(10))[1].h[-1]
    np.testing.assert_array_equal(next(updates).h, first)


def test_clipping_bounds_every_entry_and_leaves_small_ones_alone():
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


@pytest.mark.long
def test_a_trained_model_goes_on_with_what_it_has_learnt():
    text = "one two three " * 20
    model = CharacterModel(text, 40)
    *_, progress = itertools.islice(train(model, text), 1_000)
    sample = model.sample(progress.following, progress.h, 56, np.random.default_rng(1))
    assert sample in text * 2


def test_the_same_seed_gives_the_same_model_and_sample():
    models = [CharacterModel(VERSE, 10, seed=seed) for seed in (3, 3, 4)]
    for model in models:
        list(itertools.islice(train(model, VERSE), 5))
    assert np.array_equal(models[0].parameters.U, models[1].parameters.U)
    assert not np.array_equal(models[0].parameters.U, models[2].parameters.U)


@pytest.mark.parametrize("text", ["", "a", "aaaa"])
def test_a_text_with_nothing_to_predict_is_refused(text):
    with pytest.raises(ModelError, match="at least 2"):
        CharacterModel(text)


def test_unknown_characters_are_refused_by_name():
    with pytest.raises(ModelError, match="'z'"):
        next(train(CharacterModel("ab"), "abz"))


def test_the_command_shows_loss_and_samples(tmp_path, capsys):
    (tmp_path / "verse.txt").write_text(VERSE, encoding="utf-8")
    options = ["--updates", "5", "--every", "2", "--hidden", "8", "--sample", "30"]
    min_char_rnn.main([str(tmp_path / "verse.txt"), *options])
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines() if "nats per character" in line] == ["2", "4", "5"]
    samples = [block.split("\n", 2)[1] for block in shown.split("\n\n")[1:]]
    assert all(len(sample.rstrip("\n")) <= 30 and set(sample) <= set(VERSE) for sample in samples)


@pytest.mark.parametrize("updates", ["1", "50"])
def test_the_command_ends_with_a_sentence_where_training_diverges(updates, tmp_path, capsys):
    (tmp_path / "verse.txt").write_text(VERSE, encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        min_char_rnn.main([str(tmp_path / "verse.txt"), "--rate", "1e308", "--updates", updates, "--hidden", "8"])
    assert stopped.value.code == 2
    assert "--rate 1e+308: " in (said := capsys.readouterr().err)
    assert "a smaller learning rate is needed" in said


@pytest.mark.parametrize(
    "arguments", [["absent.txt"], ["binary"], ["text", "--hidden", "0"], ["text", "--rate", "nan"]]
)
def test_the_command_refuses_bad_input_with_a_sentence(arguments, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "text").write_text(VERSE, encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        min_char_rnn.main(arguments)
    assert stopped.value.code == 2
    assert arguments[-2 if len(arguments) > 1 else 0] in capsys.readouterr().err
