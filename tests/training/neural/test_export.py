"""An exported network gives the model's own numbers and texts, in torch alone; what differs is not written."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from reviewlm.models.base import ModelError
from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.mixture.parts import Part
from reviewlm.models.specs import NPLMSpec, ObjectiveSpec, RecurrentSpec, model_class
from reviewlm.training.neural import export as module
from reviewlm.training.neural.export import StepGraph, compare, exportable, load_graph, write_export
from tests.marked_cases import long_but
from tests.models.small_vocabularies import TRAIN, train
from tests.models.table_lm import TableLM, TableSpec

LEVELS = ObjectiveSpec(head=20)
SPECS = {
    "lstm": RecurrentSpec(
        kind="lstm",
        hidden=9,
        embedding=6,
        objective=LEVELS,
    ),
    "lstm of two layers": RecurrentSpec(
        kind="lstm",
        hidden=9,
        embedding=9,
        layers=2,
    ),
    "lstm without stars": RecurrentSpec(
        kind="lstm",
        hidden=9,
        embedding=6,
        condition_on_stars=False,
    ),
    "normalised lstm": RecurrentSpec(
        kind="lstm",
        hidden=9,
        embedding=6,
        cells="reference",
        layer_norm=True,
    ),
    "gru": RecurrentSpec(
        kind="gru",
        hidden=9,
        embedding=6,
        objective=LEVELS,
    ),
    "gru of two layers": RecurrentSpec(
        kind="gru",
        hidden=9,
        embedding=6,
        layers=2,
        cells="reference",
        form="cho",
    ),
    "rnn": RecurrentSpec(
        kind="rnn",
        hidden=9,
        embedding=6,
        objective=ObjectiveSpec(output="softmax"),
    ),
    "relu rnn": RecurrentSpec(
        kind="rnn",
        hidden=9,
        embedding=6,
        nonlinearity="relu",
    ),
    "adaptive": RecurrentSpec(
        kind="gru",
        hidden=9,
        embedding=8,
        objective=ObjectiveSpec(
            output="adaptive",
            head=20,
            cutoffs=(40,),
            shrink=2,
        ),
    ),
    "hierarchical": RecurrentSpec(
        kind="gru",
        hidden=9,
        embedding=8,
        tied=False,
        objective=ObjectiveSpec(output="hierarchical"),
    ),
    "nplm": NPLMSpec(
        context=3,
        embedding=5,
        hidden=7,
        objective=LEVELS,
    ),
    "nplm of one word": NPLMSpec(
        context=1,
        embedding=5,
        hidden=7,
    ),
}
PROBES = [("The food was great.", 5), ("", 0)]
VOCABULARY = train("word")


@pytest.fixture(autouse=True)
def _short_texts(monkeypatch):
    monkeypatch.setattr(module, "MOST_TOKENS", 10)


def bundle_of(name):
    """An untrained network whose weights are large enough for its predictions to depend on the text."""
    torch.manual_seed(1)
    spec, V = SPECS[name], VOCABULARY.size
    kind = model_class(spec.kind)
    network = kind.build(spec, torch.randperm(V) * 10)
    with torch.no_grad():
        for parameter_name, parameter in network.named_parameters():
            recurrent = "weight_hh" in parameter_name
            parameter.add_(torch.randn_like(parameter) * (0.03 if recurrent else 0.3))
            if recurrent:
                parameter.mul_(0.7)  # the states of the relu network would grow without limit
    return Bundle(spec, VOCABULARY, kind(spec, network, V), digest="0" * 64)


@pytest.mark.parametrize("name", long_but(SPECS, {"lstm", "hierarchical"}))
def test_the_graph_gives_the_numbers_of_the_model(name):
    bundle = bundle_of(name)
    found = compare(bundle, StepGraph(bundle.model.network), [(TRAIN[0], 3), *PROBES])
    assert found.largest_difference <= 1e-4
    assert len(found.probes) == 3


@pytest.mark.long
@pytest.mark.parametrize("name", SPECS)
def test_an_exported_network_gives_the_numbers_of_the_model(
    name,
    tmp_path,
    monkeypatch,
):
    monkeypatch.setattr(module, "MOST_TOKENS", 60)
    bundle = bundle_of(name)
    found = write_export(
        tmp_path / "out", bundle, [(TRAIN[0], 3), *PROBES], {"model": "reviewlm", "version": 1}
    )
    assert found.largest_difference <= 1e-4
    assert found.positions > 100
    graph = load_graph(tmp_path / "out" / "model.pt2")
    ids_BT = np.random.default_rng(0).integers(9, VOCABULARY.size, (5, 20))
    ours, theirs = bundle.model.start(5), bundle.model.network.start(5, "cpu")
    for ids_B in ids_BT.T:
        logp_BV, ours = bundle.model.step(ids_B, ours)
        found_BV, *theirs = graph(torch.from_numpy(ids_B.copy()), *theirs)
        torch.testing.assert_close(found_BV, logp_BV, atol=1e-4, rtol=0)


@pytest.fixture
def exports(monkeypatch):
    """Let an export write no graph and open the model itself, with changed log-probabilities."""

    def set_change(change=lambda logp_BV: logp_BV):
        networks = []

        def graph(ids_B, *state):
            logp_BV, *after = StepGraph(networks[-1])(ids_B, *state)
            return change(logp_BV), *after

        monkeypatch.setattr(module, "export_step", lambda network, file: networks.append(network))
        monkeypatch.setattr(module, "load_graph", lambda file: graph)

    return set_change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda logp_BV: logp_BV * 1.001, "differ by up to 0"),
        (lambda logp_BV: logp_BV.nan_to_num(neginf=-1e3), "differ by up to inf"),
        (lambda logp_BV: logp_BV * torch.nan, "differ by up to inf"),
    ],
)
def test_a_graph_that_differs_is_not_written(
    change,
    said,
    tmp_path,
    exports,
):
    exports(change)
    with pytest.raises(ModelError, match=said) as caught:
        write_export(tmp_path / "out", bundle_of("lstm"), PROBES, {})
    assert caught.value.kind == "bundle"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_is_not_replaced(tmp_path, exports):
    exports()
    (tmp_path / "notes").mkdir()
    with pytest.raises(ModelError, match="notes exists"):
        write_export(tmp_path / "notes", bundle_of("lstm"), PROBES, {})
    assert list((tmp_path / "notes").iterdir()) == []


class Combined:
    """A model of several."""

    def __init__(self, *parts):
        self.parts = parts


def test_a_model_without_a_network_of_its_own_says_what_can_be_exported():
    lstm = bundle_of("lstm")
    table = Part("kn5", TableSpec(), TableLM.random(VOCABULARY.size))
    mixture = replace(
        lstm,
        spec=replace(TableSpec(), kind="mixture", name="kn5+lstm"),
        model=Combined(table, Part("words", lstm.spec, lstm.model)),
    )
    with pytest.raises(
        ModelError, match=r"'kn5\+lstm' is of kind 'mixture'.*with --part: words"
    ) as caught:
        exportable(mixture)
    assert caught.value.kind == "input"
    assert exportable(mixture, "words").model is lstm.model
    assert exportable(lstm) is lstm
    with pytest.raises(ModelError, match=r"'kn5' is none of it.*words"):
        exportable(mixture, "kn5")
    with pytest.raises(ModelError, match=r"only a network \(rnn, gru, lstm, nplm\)"):
        exportable(replace(lstm, spec=TableSpec(), model=table.model))
    with pytest.raises(ModelError, match="it has no network"):
        exportable(replace(lstm, spec=TableSpec(), model=table.model), "lstm")
