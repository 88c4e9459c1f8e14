"""Skip-gram and CBOW: gradients, windows, borders of reviews, left-out words, determinism, and what is learnt."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from models.base import ModelError
from models.vectors import training
from models.vectors.kernels import add_rows, slopes, train_chunk
from models.vectors.objective import negative_sampling
from models.vectors.spec import EmbeddingSpec
from models.vectors.training import CHECKPOINT, keep_probability, select, train
from models.vectors.word_vectors import WordVectors
from tests.models.vectors.vector_streams import FIRST, planted_synonyms, stream_of

PLAIN = {"dimensions": 8, "subsample": 0.0, "min_count": 1, "epochs": 2}


def rising(h, u, y, rate=1.0):
    """The kernel's gradients of Σ log σ(±h·u), in the type of its arguments."""
    inputs, outputs, g = np.arange(len(h)), np.arange(len(u)), np.empty((len(h), len(u)))
    slopes(h, len(h), u, outputs, len(u), y, rate, g)
    dh, du = np.zeros_like(h), np.zeros_like(u)
    add_rows(dh, inputs, len(h), u, outputs, len(u), g, False)
    add_rows(du, outputs, len(u), h, inputs, len(h), g, True)
    return dh, du


class Objective(torch.autograd.Function):
    """Σ_mr log σ(±h_m · u_r) by torch, with the gradient of the kernel."""

    @staticmethod
    def forward(ctx, h, u, y):
        ctx.save_for_backward(h, u, y)
        return torch.nn.functional.logsigmoid((2 * y - 1) * (h @ u.T)).sum()

    @staticmethod
    def backward(ctx, out):
        h, u, y = (each.numpy() for each in ctx.saved_tensors)
        dh, du = rising(h, u, y)
        return out * torch.from_numpy(dh), out * torch.from_numpy(du), None


@pytest.mark.parametrize("outputs", [1, 4, 6, 11])
def test_the_kernels_gradient_passes_gradcheck(outputs):
    torch.manual_seed(3)
    h = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    u = torch.randn(outputs, 7, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([1.0] + [0.0] * (outputs - 1), dtype=torch.float64)
    assert torch.autograd.gradcheck(Objective.apply, (h, u, y))


def by_hand(words, starts, v, u, tree, table, spec, rate, seed):
    """Train one chunk word by word, straight from the definition, in float64 and by torch's autograd."""
    mask, state = (1 << 64) - 1, seed

    def bits():
        """SplitMix64, as its authors publish it."""
        nonlocal state
        state = z = (state + 0x9E3779B97F4A7C15) & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    for begin, end in pairwise(starts):
        review = [word for word in words[begin:end] if word >= 0]
        for t, centre in enumerate(review):
            reach = 1 + ((bits() >> 32) * spec.window >> 32)
            context = review[max(0, t - reach) : t] + review[t + 1 : t + reach + 1]
            if not context:
                continue
            if tree is not None:
                path = slice(tree.starts[centre], tree.starts[centre + 1])
                rows, signs = tree.nodes_P[path].tolist(), (2 * tree.first_P[path] - 1).tolist()
            else:
                rows, signs = [centre], [1.0]
                for _ in range(spec.negatives):
                    z = bits()
                    column = (z >> 32) * len(table.threshold_N) >> 32
                    noise = column if (z & 0xFFFFFFFF) < table.threshold_N[column] else int(table.alias_N[column])
                    if noise != centre:
                        rows, signs = [*rows, noise], [*signs, -1.0]
            v.grad = u.grad = None
            h = v[context].mean(0, keepdim=True) if spec.kind == "cbow" else v[context]
            total = torch.nn.functional.logsigmoid(torch.tensor(signs) * (h @ u[rows].T)).sum()
            total.backward()
            with torch.no_grad():
                v += rate * v.grad
                u += rate * u.grad
    return v.detach().numpy(), u.detach().numpy()


@pytest.mark.parametrize("output", ["negative_sampling", "hierarchical_softmax"])
@pytest.mark.parametrize("kind", ["skipgram", "cbow"])
def test_a_chunk_equals_the_definition_written_out(kind, output):
    spec = EmbeddingSpec(kind=kind, output=output, dimensions=6, window=3)
    rng = np.random.default_rng(5)
    counts = np.array([9, 7, 5, 3, 2, 1])
    words, starts = rng.integers(-1, 6, 40).astype(np.int32), np.array([0, 13, 14, 14, 40])
    tree = training.huffman_tree(counts) if output == "hierarchical_softmax" else None
    table = training.noise_table(counts)
    none = training.HuffmanTree(np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(1, np.int64))
    paths = tree or none
    v, u = rng.normal(size=(6, 6)), rng.normal(size=(5 if tree else 6, 6))
    expected = by_hand(
        words.tolist(), starts, torch.tensor(v, requires_grad=True), torch.tensor(u, requires_grad=True), tree, table,
        spec, 0.1, 11,
    )  # fmt: skip
    train_chunk(
        words, starts, np.ones(6, np.float32), table.threshold_N, table.alias_N, paths.nodes_P, paths.first_P,
        paths.starts, v, u, spec.window, spec.negatives, kind == "cbow", tree is not None, 0.1,
        np.array([11], np.uint64), np.zeros(4, np.int64),
    )  # fmt: skip
    np.testing.assert_allclose(v, expected[0], atol=1e-9)
    np.testing.assert_allclose(u, expected[1], atol=1e-9)


def test_the_objective_is_that_of_the_paper():
    h, u, noise = np.array([[1.0, 2.0]]), np.array([[0.5, -1.0]]), np.array([[[1.0, 0.0], [0.0, 1.0]]])
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    both = np.log(sigmoid(-1.5)) + np.log(sigmoid(-1.0)) + np.log(sigmoid(-2.0))
    assert negative_sampling(h, u, noise, np.array([[True, True]])) == pytest.approx([both])
    assert negative_sampling(h, u, noise, np.array([[True, False]])) == pytest.approx([both - np.log(sigmoid(-2.0))])


def test_a_window_never_reaches_over_the_border_of_a_review():
    found = train(EmbeddingSpec(**PLAIN), stream_of([[9], [10], [9], [10]]))
    assert found.work["pairs"] == 0, "reviews of one word have no pair"
    found = train(EmbeddingSpec(**PLAIN), stream_of([[9, 10]] * 50))
    assert found.work["pairs"] == found.work["words"] == 200, "each word of two has one neighbour"


def test_windows_are_drawn_uniformly_from_one_to_the_largest():
    """In the middle of a long review the mean number of context words is 2 × (1 + … + W) / W = W + 1."""
    spec = EmbeddingSpec(**{**PLAIN, "epochs": 1}, window=5)
    found = train(spec, stream_of([[9 + i % 7 for i in range(30_000)]]))
    assert found.work["pairs"] / found.work["kept"] == pytest.approx(6, rel=0.01)


def test_frequent_words_are_left_out_as_often_as_the_rule_says():
    counts = np.array([6_000, 3_000, 900, 100])
    keep = keep_probability(counts, 0.1)
    share = counts / counts.sum()
    np.testing.assert_allclose(keep, np.minimum(1, np.sqrt(0.1 / share) + 0.1 / share), rtol=1e-6)
    words = np.repeat(np.arange(9, 13), counts)
    stream = stream_of(np.random.default_rng(1).permutation(words).reshape(100, 100).tolist())
    found = train(EmbeddingSpec(dimensions=4, subsample=0.1, min_count=1, epochs=4), stream)
    assert found.work["kept"] / found.work["words"] == pytest.approx((share * keep).sum(), abs=0.01)


def test_rare_unknown_and_special_tokens_get_no_vectors():
    chosen = select(stream_of([[9, 9, 9, 0, 0, 0], [10, 10, 11]]), min_count=2)
    assert chosen.ids_N.tolist() == [9, 10]
    assert chosen.row_V.tolist() == [-1] * FIRST + [0, 1, -1]


def test_too_few_words_are_an_error():
    with pytest.raises(ModelError, match="1 words occur at least 3 times"):
        train(EmbeddingSpec(min_count=3), stream_of([[9, 9, 9, 10]]))


@pytest.mark.parametrize("output", ["negative_sampling", "hierarchical_softmax"])
@pytest.mark.parametrize("kind", ["skipgram", "cbow"])
def test_one_thread_gives_the_same_bytes_for_a_seed(kind, output):
    stream = planted_synonyms(60)
    one, again, other = (
        train(EmbeddingSpec(**PLAIN, kind=kind, output=output, seed=seed), stream).v_ND.tobytes() for seed in (1, 1, 2)
    )
    assert one == again
    assert one != other


def test_a_killed_training_continues_with_the_same_bytes(tmp_path):
    stream, spec = planted_synonyms(60), EmbeddingSpec(**{**PLAIN, "epochs": 3})
    whole = train(spec, stream)

    def stop_in_the_last_epoch(done, total):
        if done > total * 2 / 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(spec, stream, report=stop_in_the_last_epoch, work=tmp_path)
    assert (tmp_path / CHECKPOINT).exists()
    resumed = train(spec, stream, work=tmp_path)
    assert resumed.v_ND.tobytes() == whole.v_ND.tobytes()
    assert resumed.work == whole.work


def test_a_damaged_checkpoint_is_ignored(tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"no safetensors")
    stream, spec = planted_synonyms(40), EmbeddingSpec(**PLAIN)
    assert train(spec, stream, work=tmp_path).v_ND.tobytes() == train(spec, stream).v_ND.tobytes()


def test_a_word_costs_its_code_length_in_the_tree():
    """Output rows per pair are the expected code length: below log2 V + 1, not V."""
    rng = np.random.default_rng(2)
    words = 9 + np.minimum(rng.zipf(1.3, 60_000) - 1, 499)
    spec = EmbeddingSpec(**{**PLAIN, "epochs": 1}, output="hierarchical_softmax")
    found = train(spec, stream_of(words.reshape(-1, 100).tolist()))
    counted = found.work["output_rows"] / found.work["pairs"]
    length = np.average(found.tree.lengths_N, weights=found.selection.counts_N)
    assert counted == pytest.approx(length, rel=0.01)
    assert length < np.log2(len(found.selection.ids_N))


@pytest.mark.parametrize("output", ["negative_sampling", "hierarchical_softmax"])
@pytest.mark.parametrize("kind", ["skipgram", "cbow"])
def test_planted_synonyms_are_nearest_neighbours(kind, output):
    """Words 2k and 2k + 1 appear in the same places by chance; nothing else relates words."""
    stream = planted_synonyms(1_000)
    spec = EmbeddingSpec(kind=kind, output=output, dimensions=24, window=2, epochs=12, subsample=0.0, learning_rate=0.1)
    found = train(spec, stream)
    ids = found.selection.ids_N
    vectors = WordVectors([str(i) for i in ids], found.v_ND)
    right = sum(vectors.neighbours(str(i), 1)[0].word == str(FIRST + ((i - FIRST) ^ 1)) for i in ids)
    assert right >= 0.9 * len(ids)


def test_several_threads_read_every_word_once():
    stream = planted_synonyms(300)
    one, three = (train(EmbeddingSpec(**PLAIN), stream, threads=threads) for threads in (1, 3))
    assert one.work == three.work
