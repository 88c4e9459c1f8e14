"""The rules of models/base.py, checked for every registered kind of model and for a reference table."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

import reviewlm.models.bundles.bundle
from reviewlm.models.base import LanguageModel, State, distributions, predictions
from reviewlm.models.bundles.bundle import load_bundle, save_bundle
from reviewlm.models.sampling import pick
from reviewlm.models.specs import KINDS, CacheSpec, NeuralCacheSpec
from reviewlm.models.streams import stars_prior
from reviewlm.models.tokens.special import BOS, CONTEXT_IDS, EOS, STARS
from tests.contracts.small_fits import QUICK, SPECS, WINDOW, class_of, fit
from tests.marked_cases import long_but
from tests.models.table_lm import TableSpec


def test_every_registered_kind_is_in_the_suite():
    assert set(KINDS) <= {spec.kind for spec in SPECS.values()}


def test_a_model_keeps_the_protocol(model, data):
    assert isinstance(model, LanguageModel)
    assert isinstance(model.start(2), State)
    assert model.vocabulary_size == data[0].size


def steps_through(model, ids_BT):
    """Yield log p of the next token after each token of the streams."""
    state = model.start(len(ids_BT))
    for t in range(ids_BT.shape[1]):
        logp_BV, state = model.step(ids_BT[:, t], state)
        yield logp_BV


def test_the_next_token_sums_to_one(model, ids_BT):
    for logp_BV in steps_through(model, ids_BT):
        assert logp_BV.shape == (len(ids_BT), model.vocabulary_size)
        assert logp_BV.dtype == torch.float32
        total = logp_BV.double().exp().sum(1)
        assert total.tolist() == pytest.approx([1.0] * len(ids_BT), abs=2e-5)


def test_only_given_tokens_are_impossible(model, ids_BT):
    others = [token for token in range(model.vocabulary_size) if token not in CONTEXT_IDS]
    for logp_BV in steps_through(model, ids_BT):
        assert torch.isneginf(logp_BV[:, sorted(CONTEXT_IDS)]).all()
        assert torch.isfinite(logp_BV[:, others]).all()


def test_score_equals_repeated_step(model, ids_BT):
    nats_BT, _ = model.score(ids_BT, model.start(len(ids_BT)))
    assert nats_BT.dtype == np.float64
    assert nats_BT.shape == ids_BT.shape
    state = model.start(len(ids_BT))
    for t in range(ids_BT.shape[1] - 1):
        logp_BV, state = model.step(ids_BT[:, t], state)
        following = ids_BT[:, t + 1]
        expected = -logp_BV.numpy()[np.arange(len(following)), following]
        scored = ~np.isin(following, sorted(CONTEXT_IDS))
        assert nats_BT[scored, t + 1] == pytest.approx(expected[scored], rel=1e-4, abs=1e-5)


def test_distributions_of_many_positions_are_those_of_the_steps(model, ids_BT):
    wanted_BT = ~np.isin(ids_BT, sorted(CONTEXT_IDS))
    wanted_BT[0, 20:] = wanted_BT[1, 5] = False
    found = {}
    for part in predictions(model, ids_BT, wanted_BT):
        found |= {(b, t): logp_V for b, t, logp_V in zip(*part, strict=True)}
    assert set(found) == {(b, t) for b, t in zip(*np.nonzero(wanted_BT), strict=True)}
    state = model.start(len(ids_BT))
    for t in range(1, ids_BT.shape[1]):
        logp_BV, state = model.step(ids_BT[:, t - 1], state)
        for b in np.flatnonzero(wanted_BT[:, t]):
            assert found[b, t].dtype == np.float32
            np.testing.assert_allclose(found[b, t], logp_BV[b].numpy(), rtol=1e-5, atol=1e-6)


def test_distributions_after_many_tokens_are_those_of_the_steps(model, ids_BT):
    found_BTV, after = distributions(model, ids_BT, model.start(len(ids_BT)))
    state = model.start(len(ids_BT))
    for t, ids_B in enumerate(ids_BT.T):
        logp_BV, state = model.step(ids_B, state)
        assert_same(found_BTV[:, t], logp_BV)
    following = ids_BT[:, 3]
    assert_same(model.step(following, after)[0], model.step(following, state)[0])


def test_given_tokens_cost_nothing(model, ids_BT):
    nats_BT, _ = model.score(ids_BT, model.start(len(ids_BT)))
    given = np.isin(ids_BT, sorted(CONTEXT_IDS))
    assert (nats_BT[given] == 0).all()
    assert (nats_BT[~given] > 0).all()


@pytest.mark.parametrize("cuts", [(1,), (7,), (2, 3, 19), (29,)])
def test_score_in_chunks_equals_one_go(
    model,
    ids_BT,
    cuts,
):
    whole, end = model.score(ids_BT, model.start(len(ids_BT)))
    state, parts = model.start(len(ids_BT)), []
    for chunk in np.split(ids_BT, cuts, axis=1):
        nats, state = model.score(chunk, state)
        parts.append(nats)
    assert np.concatenate(parts, 1) == pytest.approx(whole, rel=1e-5, abs=1e-6)
    after = np.full(len(ids_BT), EOS)
    assert_same(model.step(after, state)[0], model.step(after, end)[0])


def test_step_goes_on_where_score_ended(model, ids_BT):
    _, state = model.score(ids_BT[:, :-1], model.start(len(ids_BT)))
    stepped = model.start(len(ids_BT))
    for t in range(ids_BT.shape[1] - 1):
        _, stepped = model.step(ids_BT[:, t], stepped)
    assert_same(model.step(ids_BT[:, -1], state)[0], model.step(ids_BT[:, -1], stepped)[0])


def test_scoring_nothing_changes_nothing(model, ids_BT):
    _, state = model.score(ids_BT, model.start(len(ids_BT)))
    nats_BT, after = model.score(ids_BT[:, :0], state)
    assert nats_BT.shape == (len(ids_BT), 0)
    assert_same(model.step(ids_BT[:, 0], after)[0], model.step(ids_BT[:, 0], state)[0])


def test_a_batch_of_one_equals_a_batch_of_many(model, ids_BT):
    together, _ = model.score(ids_BT, model.start(len(ids_BT)))
    for row, ids_T in enumerate(ids_BT):
        alone, _ = model.score(ids_T[None], model.start(1))
        assert alone[0] == pytest.approx(together[row], rel=1e-5, abs=1e-6)


@pytest.fixture
def read_states(model, ids_BT):
    """The state of three streams that stand at three different words, so that mixed-up rows show, and what follows."""
    t = next(t for t in range(2, 30) if len(set(ids_BT[:, t - 1])) == 3)
    _, state = model.score(ids_BT[:, :t], model.start(3))
    return state, np.tile(ids_BT[0, 2:6], (3, 1))


def test_states_are_taken_row_by_row(model, read_states):
    state, following = read_states
    expected, _ = model.score(following, state)
    taken, _ = model.score(following, state.take([2, 0, 2]))
    assert taken == pytest.approx(expected[[2, 0, 2]], rel=1e-5, abs=1e-6)


def test_states_are_joined_row_by_row(model, read_states):
    state, following = read_states
    expected, _ = model.score(following, state)
    joined = type(state).join([state.take([1]), state.take([0, 2])])
    found, _ = model.score(following, joined)
    assert found == pytest.approx(expected[[1, 0, 2]], rel=1e-5, abs=1e-6)
    stepped = model.step(following[:, 0], joined)[0]
    assert_same(stepped, model.step(following[:, 0], state)[0][[1, 0, 2]])


def test_fresh_states_that_are_joined_are_fresh(model, ids_BT):
    fresh = type(model.start(1)).join([model.start(2), model.start(1)])
    expected, _ = model.score(ids_BT, model.start(3))
    assert model.score(ids_BT, fresh)[0] == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_a_state_can_be_used_twice(model, ids_BT):
    """Prefix caches and beams go on from one state in several ways."""
    _, state = model.score(ids_BT[:, :10], model.start(3))
    first, _ = model.step(ids_BT[:, 10], state)
    model.step(ids_BT[:, 11], state)
    model.score(ids_BT, state)
    assert_same(model.step(ids_BT[:, 10], state)[0], first)


def test_a_later_token_never_changes_an_earlier_score(model, ids_BT):
    nats_BT, _ = model.score(ids_BT, model.start(3))
    for t in (5, 17, 29):
        changed = ids_BT.copy()
        changed[:, t] = np.where(changed[:, t] == EOS, 9, EOS)
        again, _ = model.score(changed, model.start(3))
        assert again[:, :t] == pytest.approx(nats_BT[:, :t], rel=1e-6, abs=1e-7)


def test_a_loaded_model_answers_as_the_saved_one(
    model,
    name,
    data,
    ids_BT,
    tmp_path,
):
    model.save(tmp_path)
    again = class_of(SPECS[name]).load(tmp_path, SPECS[name], data[0], "cpu")
    assert again.vocabulary_size == model.vocabulary_size
    assert_same(
        torch.as_tensor(again.score(ids_BT, again.start(3))[0]),
        torch.as_tensor(model.score(ids_BT, model.start(3))[0]),
    )
    assert not [
        path for path in tmp_path.rglob("*") if path.suffix in {".pkl", ".pt", ".pth", ".pickle"}
    ]


def test_a_bundle_answers_the_same(
    model,
    name,
    data,
    tmp_path,
    monkeypatch,
):
    monkeypatch.setitem(KINDS, "table", (TableSpec, "table_lm:TableLM"))
    monkeypatch.setattr(
        reviewlm.models.bundles.bundle, "model_class", lambda kind: class_of(SPECS[name])
    )
    probes = [("The soup was great.", 5), ("", 0), ("An unheard-of word!", 1)]
    save_bundle(
        tmp_path / "b",
        SPECS[name],
        data[0],
        model,
        probes,
        {"stars_prior": stars_prior(data[1])},
    )
    bundle = load_bundle(tmp_path / "b")
    assert bundle.spec == SPECS[name]
    text = "The staff was slow. I will be back"
    stream = [*data[0].prefix(2), *data[0].encode(text), EOS]
    nats, _ = model.score(np.array([stream]), model.start(1))
    assert bundle.score_text(text, 2).nats == pytest.approx(nats.sum(), rel=1e-6)


@pytest.mark.parametrize("name", long_but(SPECS, QUICK), indirect=True)
def test_fitting_twice_gives_the_same_model(
    model,
    name,
    data,
    ids_BT,
    tmp_path,
):
    again = fit(SPECS[name], data, tmp_path / "work")
    assert again.score(ids_BT, again.start(3))[0] == pytest.approx(
        model.score(ids_BT, model.start(3))[0], rel=1e-6
    )


def test_fitting_learns_something(model, data):
    stream = data[2]
    nats = [
        model.score(stream.document(i)[None].astype(np.int64), model.start(1))[0].sum()
        for i in range(len(stream))
    ]
    uniform = np.log(model.vocabulary_size - len(CONTEXT_IDS))
    assert sum(nats) / stream.tokens < 0.95 * uniform


@pytest.mark.parametrize("name", long_but(SPECS, QUICK), indirect=True)
def test_100_000_samples_have_the_frequencies_of_the_model(model):
    """The one sampler draws from a network as from a table of counts: chi-square against the model's own scores."""
    draw, samples = np.random.default_rng(11), 100_000
    before = [BOS, STARS[4]]
    expected = samples * next_token_shares(model, before)
    # Go on with the only likely token: drawing it would test nothing.
    while (expected >= 5).sum() < 2:
        before.append(int(expected.argmax()))
        expected = samples * next_token_shares(model, before)

    often = expected >= 5  # what the test's theory asks for
    state = model.score(np.array([before[:-1]]), model.start(1))[1].take([0] * samples)
    logp_BV, _ = model.step(np.full(samples, before[-1]), state)
    drawn = np.bincount(pick(logp_BV, draw.random(samples)), minlength=model.vocabulary_size)
    assert drawn[sorted(CONTEXT_IDS)].sum() == 0
    assert drawn[~often].sum() < 0.005 * samples
    assert chisquare(drawn[often], expected[often], sum_check=False).pvalue > 1e-3
    assert chisquare(drawn[often], np.roll(expected[often], 1), sum_check=False).pvalue < 1e-9


# B5: the independence assumption


def next_token_shares(model, before: list[int]) -> np.ndarray:
    """Return the probability of each token after others, 0 for those that are only given."""
    nats_V = [last_token_nats(model, before, token) for token in range(model.vocabulary_size)]
    shares_V = np.exp(-np.array(nats_V))
    shares_V[sorted(CONTEXT_IDS)] = 0
    return shares_V


def last_token_nats(
    model,
    before: list[int],
    token: int,
) -> float:
    return float(model.score(np.array([[*before, token]]), model.start(1))[0][0, -1])


def test_words_before_the_window_matter_only_to_models_without_one(
    model,
    name,
    data,
):
    if isinstance(SPECS[name], CacheSpec | NeuralCacheSpec):
        pytest.skip("a cache looks back without end, but for the very same words only")
    vocabulary = data[0]
    ids = vocabulary.encode("The soup was so great, and I will be back for the pizza").tolist()
    before, token = [BOS, STARS[5], *ids[:-1]], ids[-1]
    nats = last_token_nats(model, before, token)
    other = vocabulary.encode("menu").tolist()[0]
    for back in range(1, len(before) - 1):
        changed = before.copy()
        changed[-back] = other if changed[-back] != other else other + 1
        again = last_token_nats(model, changed, token)
        if back > WINDOW.get(name, len(before)):
            assert again == nats, f"{name} looks {back} tokens back"
        elif name not in WINDOW and back <= 4:
            assert again != nats, f"{name} does not look {back} tokens back"


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
