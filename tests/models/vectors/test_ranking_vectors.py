"""Vectors by ranking windows: the network's score, corrupted windows, sparse steps, and the accuracy it reaches."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from models.vectors.fitting import fit_vectors
from models.vectors.ranking import CentredWords, RankingNetwork, corrupted, ranking_accuracy, train_ranking, update
from models.vectors.spec import EmbeddingSpec
from models.vectors.training import select
from models.vectors.word_vectors import WordVectors
from tests.models.vectors.vector_streams import FIRST, planted_synonyms, stream_of

SPEC = EmbeddingSpec(kind="ranking", dimensions=6, window=1, hidden=5, min_count=1, subsample=0.0, epochs=2)


def test_windows_are_padded_at_the_borders_of_reviews():
    stream = stream_of([[9, 10, 11], [10], [9, 9]])
    text = CentredWords.of(stream, select(stream, 1), window=1)
    assert (text.words_T.tolist(), text.padding) == ([0, 1, 2, 1, 0, 0], 3)
    expected = [[3, 0, 1], [0, 1, 2], [1, 2, 3], [3, 1, 3], [3, 0, 0], [0, 0, 3]]
    assert text.windows(np.arange(6)).tolist() == expected


def test_only_the_centre_is_corrupted_with_the_frequency_of_the_noise():
    windows, noise = np.tile([3, 0, 1], (40_000, 1)), np.array([0.5, 0.3, 0.2])
    found = corrupted(windows, noise, np.random.default_rng(1))
    assert (found[:, [0, 2]] == [3, 1]).all()
    np.testing.assert_allclose(np.bincount(found[:, 1]) / len(found), noise, atol=0.01)


def test_the_score_is_that_of_the_paper():
    network = RankingNetwork(4, SPEC).double()
    v, M, b, a = (each.detach().numpy() for each in (
        network.vectors.weight, network.hidden.weight, network.hidden.bias, network.score.weight))  # fmt: skip
    expected = a[0] @ np.tanh(M @ np.concatenate([v[4], v[1], v[3]]) + b)
    assert network(torch.tensor([[4, 1, 3]])).item() == pytest.approx(expected)


def test_a_step_is_sgd_on_the_summed_ranking_loss_and_moves_only_the_rows_of_the_windows():
    network, dense = (RankingNetwork(9, SPEC).double() for _ in range(2))
    real, other = np.array([[0, 1, 2], [2, 3, 9]]), np.array([[0, 4, 2], [2, 5, 9]])
    scores = [dense(torch.from_numpy(windows)) for windows in (real, other)]
    (1 + scores[1] - scores[0]).clamp_min(0).sum().backward()
    expected = {name: weight - 0.3 * weight.grad.to_dense() for name, weight in dense.named_parameters()}
    update(network, real, other, 0.3)
    for name, weight in network.named_parameters():
        torch.testing.assert_close(weight, expected[name])
    moved = (network.vectors.weight != dense.vectors.weight).any(1)
    assert moved.nonzero().flatten().tolist() == [0, 1, 2, 3, 4, 5, 9]


def test_the_network_passes_gradcheck():
    network, windows = RankingNetwork(4, SPEC).double(), torch.tensor([[4, 1, 3], [0, 1, 1]])
    network.vectors.sparse = False  # gradcheck compares dense gradients
    names, weights = zip(*network.named_parameters(), strict=True)

    def scores(*values):
        return torch.func.functional_call(network, dict(zip(names, values, strict=True)), (windows,))

    assert len(weights) == 4
    assert torch.autograd.gradcheck(scores, [weight.detach().clone().requires_grad_() for weight in weights])


def test_an_untrained_network_guesses_and_a_constant_one_ranks_half():
    stream = planted_synonyms(100)
    text = CentredWords.of(stream, select(stream, 1), window=1)
    network, noise = RankingNetwork(30, SPEC), np.full(30, 1 / 30)
    assert ranking_accuracy(network, text, noise) == pytest.approx(0.5, abs=0.1)
    with torch.no_grad():
        network.score.weight.zero_()
    assert ranking_accuracy(network, text, noise) == 0.5


@pytest.mark.slow
def test_training_ranks_held_out_windows_and_finds_planted_synonyms(tmp_path):
    sizes = {"dimensions": 12, "window": 1, "hidden": 24, "min_count": 1}
    spec = EmbeddingSpec(kind="ranking", **sizes, subsample=0.0, epochs=10, learning_rate=0.03)
    selection, network, reached = train_ranking(spec, planted_synonyms(600), planted_synonyms(650), work=tmp_path)
    assert reached[-1] > 0.85
    assert reached[-1] > reached[0] + 0.2
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["validation/ranking_accuracy"] for line in lines] == reached[1:]
    vectors = WordVectors([str(i) for i in selection.ids_N], network.vectors.weight.detach().numpy()[:-1])
    right = sum(vectors.neighbours(str(i), 1)[0].word == str(FIRST + ((i - FIRST) ^ 1)) for i in selection.ids_N)
    assert right >= 0.8 * len(selection.ids_N)


def test_the_same_seed_gives_the_same_bytes():
    one, again, other = (
        train_ranking(EmbeddingSpec(kind="ranking", dimensions=6, hidden=5, min_count=1, epochs=1, seed=seed),
                      planted_synonyms(40), planted_synonyms(10))[1].vectors.weight.detach().numpy().tobytes()
        for seed in (1, 1, 2)
    )  # fmt: skip
    assert one == again
    assert one != other


def test_matrix_products_have_the_threads_that_were_asked_for(tmp_path, monkeypatch):
    seen, before = set(), torch.get_num_threads()

    def noted(*windows):
        seen.add(torch.get_num_threads())
        return update(*windows)

    monkeypatch.setattr("models.vectors.ranking.update", noted)
    vocabulary = SimpleNamespace(digest="made", boundary_policy="made", size=13, token=lambda word: f"w{word}")
    stream = stream_of([[9, 10, 11, 12]] * 9)
    fit_vectors(SPEC, vocabulary, stream, stream, tmp_path, threads=before + 2)
    assert seen == {before + 2}
    assert torch.get_num_threads() == before
