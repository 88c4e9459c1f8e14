"""Two processes that train one network: the course of one process with the same batch, whatever happens to one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from reviewlm.training.neural.data_parallel import Group
from reviewlm.training.neural.training_metrics import MEASURED
from tests.marked_cases import long_but
from tests.models.neural.made_trainings import curve, journal
from tests.training.neural.trained_by_ranks import RECIPES, run_case

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.slow
SAME = ["even", "uneven", "unscored", "nan", "memory"]
FAST = ["even"]
CURVES = ["train/nats", "gradient_norm", "validation/nats", "learning_rate"]


@pytest.fixture(scope="module")
def cases(request):
    """All cases, or those of the fast run where only its tests are selected."""
    here = [item for item in request.session.items if item.path == request.path]
    return SAME if any(item.get_closest_marker("long") for item in here) else FAST


@pytest.fixture(scope="module")
def by_two(tmp_path_factory, cases):
    """The folder of the cases, trained by the same two processes one after another."""
    folder = tmp_path_factory.mktemp("two")
    trained = RECIPES if cases == SAME else cases
    script, environment = (
        Path(__file__).with_name("trained_by_ranks.py"),
        {**os.environ, "PYTHONPATH": str(ROOT)},
    )
    environment |= {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    ranks = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), "2", str(folder), *trained],
            env=environment,
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [rank.communicate(timeout=300)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(said)
    return folder


@pytest.fixture(scope="module")
def by_one(tmp_path_factory, cases):
    folder = tmp_path_factory.mktemp("one")
    return folder, {case: run_case(case, folder) for case in cases}


def found(
    folder,
    case,
    rank=0,
):
    return json.loads((folder / f"{case}.{rank}.json").read_text())


@pytest.mark.parametrize("case", long_but(SAME, FAST))
def test_the_curves_are_those_of_one_process_with_the_same_batch(
    by_one,
    by_two,
    case,
):
    folder, summaries = by_one
    for name in CURVES:
        expected = curve(folder / case, name)
        assert len(expected) > 3
        np.testing.assert_allclose(
            curve(by_two / case, name),
            expected,
            rtol=1e-5,
            atol=1e-5,
            err_msg=name,
        )
    expected, summary = summaries[case]["summary"], found(by_two, case)["summary"]
    assert (
        [line["step"] for line in journal(by_two / case)][-1]
        == expected["tokens"]
        == summary["tokens"]
    )
    assert summary["validation_nats"] == pytest.approx(expected["validation_nats"], abs=1e-5)
    assert summary["validation_tokens"] == expected["validation_tokens"]
    assert summary["divergences"] == expected["divergences"] == (case == "nan")


@pytest.mark.parametrize("case", long_but(RECIPES, FAST))
def test_all_ranks_end_with_the_very_same_training(by_two, case):
    one, two = (found(by_two, case, rank) for rank in range(2))
    if "killed" in one:
        assert one == two
        return
    assert one["weights"] == two["weights"]
    clocks = {"seconds", "cpu_seconds", *MEASURED}
    differing = {name for name in one["summary"] if one["summary"][name] != two["summary"][name]}
    assert differing <= clocks


@pytest.mark.long
def test_killed_trainings_go_on_as_if_undisturbed(by_two):
    """The bits of an undisturbed training by as many ranks: rows, moments and both random streams came back."""
    assert found(by_two, "killed") == {"killed": True}
    undisturbed, taken_up = found(by_two, "dropout"), found(by_two, "taken up")
    assert taken_up["weights"] == undisturbed["weights"]
    for name in CURVES:
        assert curve(by_two / "killed", name) == curve(by_two / "dropout", name)


@pytest.mark.gpu
@pytest.mark.needs_real_gpu
def test_a_group_on_a_gpu_takes_nccl_for_gradients_beside_gloo(tmp_path):
    """NCCL has one rank per device, so on a machine with one the group has one rank."""
    parameters = [nn.Parameter(torch.ones(5, device="cuda"))]
    torch.distributed.init_process_group(
        "cpu:gloo,cuda:nccl",
        init_method=f"file://{tmp_path}/meeting",
        rank=0,
        world_size=1,
    )
    try:
        group = Group(parameters)
        parameters[0].grad = torch.arange(5.0, device="cuda")
        failed, nats, tokens = group.add_up(
            parameters, False, torch.tensor(7.5, device="cuda").double(), 5
        )
        assert parameters[0].grad.tolist() == [0, 1, 2, 3, 4]
        assert (failed, nats.device.type, float(nats), tokens) == (False, "cuda", 7.5, 5)
        assert group.total([1.5]) == [1.5]
        assert group.same({"a": torch.ones(2)})["a"].tolist() == [1, 1]
        assert len(group.gather("x")) == 1
    finally:
        torch.distributed.destroy_process_group()
