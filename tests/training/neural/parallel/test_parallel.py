"""Two processes that train one network: the course of one process with the same batch, whatever happens to one."""

import json
import math
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models.base import ModelError
from tests.marked_cases import long_but
from tests.models.neural.made_trainings import TRAINING, V, curve, journal, network_of
from tests.training.neural.parallel.trained_by_ranks import KILLED_AT, LOPSIDED, PLAIN, RECIPES, run_case
from training.context import FitContext
from training.neural.batches import make_batches
from training.neural.callbacks.checkpointing import Checkpointing
from training.neural.checkpoint import Checkpoints, Journal
from training.neural.parallel import data_parallel
from training.neural.parallel import data_parallel as shared_sum
from training.neural.parallel.data_parallel import Group, Ranks, joined, own_device
from training.neural.state import TrainingState
from training.neural.trainer import CHECKPOINTS
from training.neural.training_metrics import MEASURED

ROOT = Path(__file__).resolve().parents[4]
pytestmark = pytest.mark.slow
SAME = ["even", "through sockets", "uneven", "unscored", "nan", "memory"]
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
    script, environment = Path(__file__).with_name("trained_by_ranks.py"), {**os.environ, "PYTHONPATH": str(ROOT)}
    environment |= {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    ranks = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), "2", str(folder), *trained], env=environment, cwd=ROOT,
            stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    said = [rank.communicate(timeout=300)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(said)
    return folder


@pytest.fixture(scope="module")
def by_one(tmp_path_factory, cases):
    folder = tmp_path_factory.mktemp("one")
    return folder, {case: run_case(case, folder) for case in cases}


def found(folder, case, rank=0):
    return json.loads((folder / f"{case}.{rank}.json").read_text())


@pytest.mark.parametrize("case", long_but(SAME, FAST))
def test_the_curves_are_those_of_one_process_with_the_same_batch(by_one, by_two, case):
    folder, summaries = by_one
    for name in CURVES:
        expected = curve(folder / case, name)
        assert len(expected) > 3
        np.testing.assert_allclose(curve(by_two / case, name), expected, rtol=1e-5, atol=1e-5, err_msg=name)
    expected, summary = summaries[case]["summary"], found(by_two, case)["summary"]
    assert [line["step"] for line in journal(by_two / case)][-1] == expected["tokens"] == summary["tokens"]
    assert summary["validation_nats"] == pytest.approx(expected["validation_nats"], abs=1e-5)
    assert summary["validation_tokens"] == expected["validation_tokens"]
    assert summary["divergences"] == expected["divergences"] == (case == "nan")


@pytest.mark.parametrize("case", long_but(RECIPES, FAST))
def test_all_ranks_end_with_the_very_same_weights_and_figures(by_two, case):
    one, two = (found(by_two, case, rank) for rank in range(2))
    if "killed" in one:
        assert one == two
        return
    assert one["weights"] == two["weights"]
    clocks = {"seconds", "cpu_seconds", *MEASURED}
    differing = {name for name in one["summary"] if one["summary"][name] != two["summary"][name]}
    assert differing <= clocks


def test_one_rank_really_has_windows_without_a_scored_token():
    windows = list(make_batches(LOPSIDED, RECIPES["unscored"]).epoch(0))
    assert any((window.y_BT[rank] < 0).all() for window in windows for rank in range(2))
    assert all((window.y_BT >= 0).any() for window in windows)


@pytest.mark.long
def test_memory_that_does_not_suffice_on_one_rank_makes_all_read_fewer_streams_at_a_time(by_two):
    assert curve(by_two / "memory", "micro_batch") == [2, 1]  # of the four streams that a rank has
    assert found(by_two, "memory")["summary"]["micro_batch"] == 1


@pytest.mark.long
def test_killed_trainings_go_on_with_every_ranks_lanes_and_draws_of_dropout(by_two):
    """The bits of an undisturbed training by as many ranks: rows, moments and both random streams came back."""
    assert found(by_two, "killed") == {"killed": True}
    undisturbed, taken_up = found(by_two, "dropout"), found(by_two, "taken up")
    assert taken_up["weights"] == undisturbed["weights"]
    for name in CURVES:
        assert curve(by_two / "killed", name) == curve(by_two / "dropout", name)


@pytest.mark.long
def test_each_rank_draws_dropout_of_its_own_and_the_checkpoint_has_both_streams(by_two):
    """Both have two rows: streams that began alike would stand at the same place."""
    latest = Checkpoints(by_two / "dropout" / CHECKPOINTS).load()
    assert latest is not None
    assert not torch.equal(latest.tensors["random/cpu"], latest.tensors["random.1/cpu"])
    assert len(latest.tensors["memory/past"]) == RECIPES["dropout"].batch


@pytest.mark.long
def test_what_two_ranks_began_one_can_end(by_one, by_two, caplog):
    """Without dropout it is the same training; the lanes of both are in the checkpoint."""
    assert found(by_two, "left to one") == {"killed": True}
    begun = len(curve(by_two / "left to one", "train/nats"))
    assert begun == KILLED_AT - 1
    run_case("left to one", by_two)
    for name in CURVES:
        expected = curve(by_one[0] / "even", name)
        np.testing.assert_allclose(curve(by_two / "left to one", name), expected, rtol=1e-5, atol=1e-5, err_msg=name)
    assert "ranks 2" in caplog.text


def test_only_the_first_rank_writes(by_two):
    assert {path.name for path in (by_two / "even").iterdir()} == {"metrics.jsonl", "checkpoints"}
    assert len(curve(by_two / "even", "validation/nats")) == RECIPES["even"].evaluations


# --- one rank by itself


@pytest.mark.parametrize(("batch", "size"), [(4, 2), (5, 2), (7, 3), (3, 3), (20, 6)])
def test_rows_are_shared_out_without_gap_or_overlap(batch, size):
    shares = []
    for rank in range(size):
        ranks = Ranks()
        ranks.rank, ranks.size = rank, size
        shares.append(list(range(batch))[ranks.rows(batch)])
    assert [row for share in shares for row in share] == list(range(batch))
    assert {len(share) for share in shares} <= {batch // size, math.ceil(batch / size)}
    assert max(map(len, shares)) == ranks.most_rows(batch)


def test_the_first_rank_draws_as_a_process_by_itself_and_the_others_otherwise():
    seeds = []
    for rank in range(4):
        ranks = Ranks()
        ranks.rank, ranks.size = rank, 4
        seeds.append(ranks.seed(5))
        torch.manual_seed(ranks.seed(5))  # is a legal seed
    assert seeds[0] == 5
    assert len(set(seeds)) == 4


def test_more_ranks_than_rows_are_refused():
    context = FitContext(Path(), ranks=3)
    with pytest.raises(ModelError, match=r"training\.batch is 2; 3 ranks") as refusal, joined(context, [], 2):
        pass
    assert refusal.value.kind == "input"


def test_each_rank_on_gpus_has_one_of_its_own_and_too_few_are_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [own_device("cuda", rank, 2) for rank in range(2)] == ["cuda:0", "cuda:1"]
    assert own_device("cuda", 0, 1) == "cuda"
    assert own_device("cpu", 1, 2) == "cpu"
    with pytest.raises(ModelError, match="ranks is 3, but 2 GPUs") as refusal:
        own_device("cuda", 2, 3)
    assert refusal.value.kind == "input"


@pytest.fixture
def group_of_one(tmp_path):
    """A process group of this process alone: collectives without others."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("group_of_one")
def test_a_rank_whose_memory_does_not_suffice_says_so_and_does_not_blame_another(monkeypatch):
    group = Group([nn.Parameter(torch.ones(3))])
    said = ["NCCL error, unhandled cuda error\nCuda failure 2 'out of memory'", "Connection closed by peer"]

    def refuse(*arguments):
        raise RuntimeError(said[0])

    monkeypatch.setattr(torch.distributed, "all_reduce", refuse)
    with pytest.raises(RuntimeError, match="out of memory"):
        group.total([1.0])
    said.pop(0)
    with pytest.raises(ModelError, match="lost another rank: Connection closed") as failure:
        group.total([1.0])
    assert failure.value.kind == "peer"


@pytest.mark.usefixtures("group_of_one")
def test_what_no_rank_has_a_gradient_of_stays_without_one():
    parameters = [nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(V)), nn.Parameter(torch.ones(()))]
    group = Group(parameters)
    for gradient in (torch.full((2, 3), 2.0), torch.full((2, 3), 4.0)):
        parameters[0].grad, parameters[1].grad, parameters[2].grad = gradient, None, torch.tensor(0.0)
        assert group.add_up(parameters, False, 2.5, 3) == (False, 2.5, 3)
        assert parameters[1].grad is None
        assert torch.equal(parameters[0].grad, gradient)
        assert parameters[2].grad == 0


@pytest.mark.usefixtures("group_of_one")
def test_a_rank_that_has_failed_says_so_in_the_same_exchange():
    parameters = [nn.Parameter(torch.ones(3))]
    group = Group(parameters)
    assert group.add_up(parameters, True, 0.0, 0) == (True, 0.0, 0)
    assert group.add_up(parameters, False, math.inf, 1 << 24) == (False, math.inf, 1 << 24)
    assert Ranks().add_up(parameters, True, 2.5, 3) == (True, 2.5, 3)


@pytest.mark.usefixtures("group_of_one")
def test_the_clock_of_the_first_rank_comes_with_the_sums(monkeypatch):
    now, parameters = [100.0], [nn.Parameter(torch.ones(3))]
    monkeypatch.setattr(data_parallel, "monotonic", lambda: now[0])
    group = Group(parameters)
    now[0] = 107.5
    assert group.clock() == 0.0
    group.add_up(parameters, False, 1.0, 1)
    now[0] = 120.0
    assert group.clock() == 7.5
    group.rank = 1  # of the others' clocks, nothing is added
    group.add_up(parameters, False, 1.0, 1)
    assert group.clock() == 0.0
    assert Ranks().clock() == 120.0


@pytest.mark.usefixtures("group_of_one")
def test_all_ranks_know_whether_a_checkpoint_is_due_without_asking_each_other(monkeypatch, tmp_path):
    """An update is one exchange: that of the gradients."""
    network = network_of(PLAIN).train()
    state = TrainingState(network, TRAINING, 100, Group(list(network.parameters())))
    checkpointing, saved, now = Checkpointing(state, Checkpoints(tmp_path), Journal(tmp_path), {}), [], [60.0]
    monkeypatch.setattr(Group, "_do", lambda *given: pytest.fail("they talk to each other"))
    monkeypatch.setattr(Group, "clock", lambda group: now[0])
    monkeypatch.setattr(Checkpointing, "save", lambda checkpointing, good: saved.append(good))
    checkpointing.on_window_end()
    assert saved == []
    now[0] = 60.5
    checkpointing.on_window_end()
    assert saved == [False]


def test_shared_memory_is_reserved_whole_or_not_at_all_and_not_left_behind(monkeypatch, tmp_path):
    """A process that writes where there is no room behind the file would be killed by a signal."""
    monkeypatch.setattr(shared_sum, "MEMORY", tmp_path)
    path = Path(shared_sum.reserve(2, 1000))
    assert path.stat().st_size == 3 * 1000 * 4
    assert path.stat().st_blocks * 512 >= path.stat().st_size
    path.unlink()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert shared_sum.reserve(2, 1000) == ""
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(shared_sum, "MEMORY", tmp_path / "nowhere")
    assert shared_sum.reserve(2, 1000) == ""


@pytest.mark.usefixtures("group_of_one")
def test_the_file_of_the_shared_memory_is_gone_once_all_are_there(monkeypatch, tmp_path):
    folder = tmp_path / "memory"
    folder.mkdir()
    monkeypatch.setattr(shared_sum, "MEMORY", folder)
    group = Group([nn.Parameter(torch.ones(3))])
    assert group.shared is not None
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_every_row_becomes_the_sum_of_all(tmp_path, size):
    """Ranks as threads, that meet at a barrier; more ranks than parts can be equal."""
    path, init_method = tmp_path / "memory", threading.Barrier(size)
    views = [shared_sum.SharedSum(str(path), rank, size, 7, init_method.wait) for rank in range(size)]
    for turn in range(2):
        for rank, view in enumerate(views):
            view.own_N.copy_(torch.arange(7.0) * (rank + 1) + turn)
        ranks = [threading.Thread(target=view.add_up) for view in views]
        for rank in ranks:
            rank.start()
        for rank in ranks:
            rank.join()
        expected = torch.arange(7.0) * (size * (size + 1) // 2) + turn * size
        assert all(torch.equal(view.own_N, expected) for view in views)
        views[0].own_N.zero_()  # its own to change
        assert all(torch.equal(view.own_N, expected) for view in views[1:])


@pytest.mark.gpu
@pytest.mark.needs_real_gpu
def test_gradients_on_a_gpu_are_added_up_over_nccl_and_objects_over_gloo(tmp_path):
    """NCCL has one rank per device, so on a machine with one the group has one rank."""
    parameters = [nn.Parameter(torch.ones(5, device="cuda"))]
    torch.distributed.init_process_group(
        "cpu:gloo,cuda:nccl", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1
    )
    try:
        group = Group(parameters)
        parameters[0].grad = torch.arange(5.0, device="cuda")
        failed, nats, tokens = group.add_up(parameters, False, torch.tensor(7.5, device="cuda").double(), 5)
        assert parameters[0].grad.tolist() == [0, 1, 2, 3, 4]
        assert (failed, nats.device.type, float(nats), tokens) == (False, "cuda", 7.5, 5)
        assert group.total([1.5]) == [1.5]
        assert group.same({"a": torch.ones(2)})["a"].tolist() == [1, 1]
        assert len(group.gather("x")) == 1
    finally:
        torch.distributed.destroy_process_group()
