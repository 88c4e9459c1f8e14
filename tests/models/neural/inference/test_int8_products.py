"""Products in int8: exact sums of rounded rows in every way to compute them, in little memory."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import Future

import numpy as np
import pytest
import torch

from reviewlm.models.neural.inference import int8, int8_products
from reviewlm.models.neural.inference.int8 import Int8Linear, int8_reader
from reviewlm.models.neural.lm import NeuralLM
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec
from tests.programs import command

ADAPTIVE = {
    "output": "adaptive",
    "head": 60,
    "cutoffs": (150,),
    "shrink": 1.0,
}
pytestmark = pytest.mark.skipif(
    not int8_products.AVAILABLE, reason="the processor has no instructions for int8"
)


def test_a_product_is_that_of_the_rounded_rows():
    draws = np.random.default_rng(1)
    x, w, b = (draws.normal(size=shape).astype(np.float32) for shape in ((5, 33), (21, 33), (21,)))
    quantised = [np.rint(m * (127 / abs(m).max(1, keepdims=True))) for m in (x, w)]
    scale = abs(x).max(1)[:, None] / 127 * (abs(w).max(1)[None] / 127)
    expected = quantised[0] @ quantised[1].T * scale + b
    found = Int8Linear(torch.from_numpy(w), torch.from_numpy(b))(torch.from_numpy(x)).numpy()
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert abs(found - (x @ w.T + b)).max() < 0.15


def whole(shape, seed):
    """Return whole numbers; each row of 127 at least, so that they are quantised to themselves."""
    numbers = torch.from_numpy(np.random.default_rng(seed).integers(-127, 128, shape, np.int8))
    numbers[:, -1] = 127
    return numbers


def sums(weight_GE, x_NE):
    return Int8Linear(weight_GE.float(), None).of(x_NE.float().numpy()).tolist()


@pytest.mark.parametrize("features", [70, 3, 4, 650, 1_100])
@pytest.mark.parametrize("features_out", [41, 48, 97])
def test_a_product_has_the_exact_sums_for_any_number_of_rows(features, features_out):
    x_NE, weight_GE = whole((21, features), 2), whole((features_out, features), 3)
    expected = (x_NE.long() @ weight_GE.long().t()).float().tolist()
    for rows in (1, 2, 4, 5, 8, 9, 16, 21):
        assert sums(weight_GE, x_NE[:rows]) == expected[:rows]


@pytest.mark.parametrize("begins", [True, False], ids=["at once", "never"])
def test_a_second_thread_computes_half_of_the_rows_unless_it_cannot_begin(begins, monkeypatch):
    x_NE, weight_GE = whole((21, 70), 2), whole((97, 70), 3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    expected = sums(weight_GE, x_NE)
    given = []

    class Beside:
        def submit(self, product, x_NE, *rest):
            given.append(len(x_NE))
            future = Future()
            if begins:
                product(x_NE, *rest)
                future.set_result(None)
            return future

    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(int8, "_beside", lambda process: Beside())
    assert sums(weight_GE, x_NE) == expected
    assert 0 < sum(given) < 21


@pytest.mark.parametrize(
    "objective",
    [{"output": "softmax"}, {"head": 90}, ADAPTIVE],
    ids=["softmax", "two levels", "adaptive"],
)
@pytest.mark.parametrize("tied", [True, False])
def test_embeddings_are_those_of_the_network_up_to_rounding(objective, tied):
    spec = RecurrentSpec(
        hidden=37,
        embedding=37,
        tied=tied,
        objective=ObjectiveSpec(**objective),
    )
    counts_V = torch.from_numpy(np.random.default_rng(8).integers(0, 50, 300))
    network = NeuralLM.build(spec, counts_V)
    rows_VE = network.embedding.weight.detach().numpy()
    found_VE = int8_reader(network).rows(np.arange(300))
    assert (abs(found_VE - rows_VE) <= abs(rows_VE).max(1, keepdims=True) / 254 + 1e-6).all()
    one_by_one = [
        int8_reader(network).rows(np.array([token]))[0].tolist() for token in (0, 1, 9, 299)
    ]
    assert one_by_one == found_VE[[0, 1, 9, 299]].tolist()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("output", ["softmax", "adaptive"])
def test_a_network_in_int8_takes_at_most_a_third_of_the_memory_of_its_weights_in_float32(output):
    """One process of its own for each: the memory that int8 adds."""
    done = subprocess.run(
        command("measure_int8_memory", output),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert 0.2 < float(done.stdout) <= 1 / 3
