"""The language-model protocol over every neural kind: scoring, stepping, states, saving and loading."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from reviewlm.models.base import ModelError
from reviewlm.models.specs import NPLMSpec, ObjectiveSpec, RecurrentSpec, model_class

V, BOS, EOS, STAR, B, T = 40, 1, 2, 8, 4, 13
CONTEXT_IDS = [1, 3, 4, 5, 6, 7, 8]
OUTPUTS = {"softmax": ObjectiveSpec(output="softmax"), "one tail": ObjectiveSpec(head=6, chunk=5)}
SPECS = {
    "rnn": RecurrentSpec(
        kind="rnn",
        hidden=9,
        embedding=6,
    ),
    "rnn-relu": RecurrentSpec(
        kind="rnn",
        hidden=9,
        embedding=6,
        nonlinearity="relu",
    ),
    "gru-own": RecurrentSpec(
        kind="gru",
        hidden=9,
        embedding=6,
        layers=2,
        cells="reference",
    ),
    "gru-cho": RecurrentSpec(
        kind="gru",
        hidden=9,
        embedding=6,
        cells="reference",
        form="cho",
    ),
    "lstm": RecurrentSpec(
        kind="lstm",
        hidden=9,
        embedding=6,
        layers=2,
    ),
    "lstm-normed": RecurrentSpec(
        kind="lstm",
        hidden=9,
        embedding=6,
        cells="reference",
        layer_norm=True,
    ),
    "lstm-untied": RecurrentSpec(
        kind="lstm",
        hidden=9,
        embedding=6,
        tied=False,
        objective=OUTPUTS["softmax"],
    ),
    "lstm-two-level": RecurrentSpec(
        kind="lstm",
        hidden=9,
        embedding=6,
        objective=OUTPUTS["one tail"],
    ),
    "nplm": NPLMSpec(
        context=3,
        embedding=5,
        hidden=7,
        objective=OUTPUTS["one tail"],
    ),
    "nplm-context-1": NPLMSpec(
        context=1,
        embedding=5,
        hidden=7,
        direct=False,
    ),
}


def make(name, seed=1):
    """An untrained model whose weights are large enough for its predictions to depend on the text."""
    torch.manual_seed(seed)
    kind, spec = model_class(SPECS[name].kind), SPECS[name]
    network = kind.build(spec, torch.randperm(V, generator=torch.Generator().manual_seed(7)) * 10)
    with torch.no_grad():
        for parameter_name, parameter in network.named_parameters():
            # Recurrent matrices much larger than this make relu states grow without limit.
            parameter.add_(
                torch.randn_like(parameter) * (0.03 if "weight_hh" in parameter_name else 0.3)
            )
    return kind(spec, network, V)


@pytest.fixture(params=SPECS)
def model(request):
    return make(request.param)


def documents(
    seed=0,
    batch=B,
    length=T,
):
    ids = np.random.default_rng(seed).integers(9, V, (batch, length))
    ids[:, 0], ids[:, 1], ids[:, -1] = BOS, STAR, EOS
    return ids


def score(model, ids):
    return model.score(ids, model.start(len(ids)))[0]


def test_a_step_gives_log_probabilities_that_sum_to_one(model):
    logp, _ = model.step(documents()[:, 0], model.start(B))
    assert logp.shape == (B, V)
    assert logp.dtype == torch.float32
    torch.testing.assert_close(logp.exp().sum(1), torch.ones(B))


def test_only_given_tokens_are_impossible(model):
    logp, _ = model.step(documents()[:, 0], model.start(B))
    assert (logp[:, CONTEXT_IDS] == -torch.inf).all()
    assert torch.isfinite(logp[:, [i for i in range(V) if i not in CONTEXT_IDS]]).all()


@pytest.mark.parametrize("cuts", [(1,), (5,), (12,), (1, 2, 3), (4, 4, 9)])
def test_chunks_cut_anywhere_give_the_numbers_of_one_go(model, cuts):
    ids, state, parts = documents(), model.start(B), []
    for chunk in np.split(ids, cuts, axis=1):
        nats, state = model.score(chunk, state)
        parts.append(nats)
    np.testing.assert_allclose(np.concatenate(parts, 1), score(model, ids), atol=1e-5)


def test_a_model_is_saved_as_one_file(model, tmp_path):
    model.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]


def test_a_loaded_model_gives_the_bits_of_the_saved_one(model, tmp_path):
    model.save(tmp_path)
    again = type(model).load(tmp_path, model.spec, SimpleNamespace(size=V), "cpu")
    np.testing.assert_array_equal(score(again, documents()), score(model, documents()))
    step = [lm.step(documents()[:, 0], lm.start(B))[0] for lm in (model, again)]
    assert torch.equal(*step)


def test_loading_a_model_draws_nothing_from_the_random_stream_of_the_program(model, tmp_path):
    model.save(tmp_path)
    random = torch.get_rng_state()
    type(model).load(tmp_path, model.spec, SimpleNamespace(size=V), "cpu")
    assert torch.equal(random, torch.get_rng_state())


def test_missing_damaged_or_foreign_weights_are_refused(tmp_path):
    model, vocabulary = make("lstm"), SimpleNamespace(size=V)
    with pytest.raises(ModelError, match="cannot be read") as refusal:
        type(model).load(tmp_path, model.spec, vocabulary)
    assert refusal.value.kind == "bundle"
    model.save(tmp_path)
    weights = load_file(tmp_path / "weights.safetensors")
    wider = RecurrentSpec(
        kind="lstm",
        hidden=10,
        embedding=6,
        layers=2,
    )
    for spec, size in ((wider, V), (model.spec, V + 1)):
        with pytest.raises(ModelError, match="do not fit") as refusal:
            type(model).load(tmp_path, spec, SimpleNamespace(size=size))
        assert refusal.value.kind == "bundle"
    weights.pop("layers.1.bias_hh_l0")
    save_file(weights, tmp_path / "weights.safetensors")
    with pytest.raises(ModelError, match=r"layers\.1\.bias_hh_l0 is absent"):
        type(model).load(tmp_path, model.spec, vocabulary)
    content = (tmp_path / "weights.safetensors").read_bytes()
    (tmp_path / "weights.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match="cannot be read"):
        type(model).load(tmp_path, model.spec, vocabulary)


@pytest.mark.parametrize("wrong", [-1, V])
def test_ids_outside_the_vocabulary_are_refused(wrong):
    model, ids = make("lstm"), documents()
    ids[1, 3] = wrong
    for read in (
        lambda: model.score(ids, model.start(B)),
        lambda: model.step(ids[:, 3], model.start(B)),
    ):
        with pytest.raises(ModelError, match="0 to 39") as refusal:
            read()
        assert refusal.value.kind == "input"


def test_scores_of_steps_are_those_of_their_distributions_in_any_batch_and_cut(model):
    if not model.scores_steps:
        pytest.skip("this kind takes its scores from whole distributions")
    ids_BT = np.random.default_rng(3).integers(9, V, (B, T))
    ids_BT[0, 5] = BOS
    whole_BT, after = model.score_steps(ids_BT, model.start(B))
    _, state = model.score_steps(ids_BT[:, :1], model.start(B))
    for position in range(1, T):
        expected_B = -model.next_logp(state).numpy()[np.arange(B), ids_BT[:, position]]
        np.testing.assert_allclose(whole_BT[:, position], expected_B, rtol=0, atol=1e-5)
        _, state = model.score_steps(ids_BT[:, position : position + 1], state)

    assert np.isinf(whole_BT[0, 5])
    assert torch.equal(model.next_logp(state), model.next_logp(after))
    for row in range(B):
        alone_1T, _ = model.score_steps(ids_BT[row : row + 1], model.start(1))
        assert np.array_equal(alone_1T[0], whole_BT[row])
