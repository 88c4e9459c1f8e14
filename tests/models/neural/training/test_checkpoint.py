"""Exact resume: a training that is killed anywhere and started again ends with the same bits and the same journal."""

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from models.base import FitContext, ModelError
from models.neural.optimization.clipping import Clipped
from models.neural.optimization.never_compiled import AdamW
from models.neural.optimization.schedule import learning_rate
from models.neural.recurrent import RecurrentNetwork
from models.neural.training import checkpoint
from models.neural.training import step as training_step
from models.neural.training.callbacks import checkpointing
from models.neural.training.checkpoint import Checkpoints, Journal, fill_network, network_tensors
from models.neural.training.trainer import CHECKPOINTS, train
from models.neural.training.training_metrics import MEASURED
from models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
from models.streams import unigram_counts
from tests.marked_cases import long_but, slow_but
from tests.models.neural.made_streams import walks
from tests.models.neural.made_trainings import Killed, killed_at_rename

V = 30
TRAINING = TrainingSpec(
    epochs=2, batch=4, bptt_len=6, bptt_grad_len=15, learning_rate=2e-2, evaluations=3, state_reset_prob=0.2,
    precision="bf16", seed=5,
)
SPEC = RecurrentSpec(
    kind="lstm", hidden=10, embedding=8, dropout=0.2, objective=ObjectiveSpec(head=8, chunk=16), training=TRAINING
)
TRAIN, VALIDATION = walks(40, V, 1), walks(8, V, 2)
WALL_CLOCK = ("time", *MEASURED)
CLOCKS = ("seconds", "cpu_seconds", *MEASURED)


def network_of(kill_at=None):
    """A network that dies in the middle of its n-th training window."""
    torch.manual_seed(TRAINING.seed)
    network = RecurrentNetwork(SPEC, torch.from_numpy(unigram_counts(TRAIN, V)))
    windows, forward = [0], network.output.loss

    def loss(*arguments):
        windows[0] += 1
        if windows[0] == kill_at:
            raise Killed
        return forward(*arguments)

    network.output.loss = loss
    return network


def run(folder, network=None, training=TRAINING):
    folder.mkdir(exist_ok=True)
    network = network or network_of()
    summary = train(network, TRAIN, VALIDATION, training, FitContext(folder))
    return network, summary


def bits(network):
    return {name: parameter.detach().numpy().tobytes() for name, parameter in network.named_parameters()}


def journal(folder):
    """The journal's lines without what the clock says."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in WALL_CLOCK} for line in lines]


def without_clock(summary):
    return {name: value for name, value in summary.items() if name not in CLOCKS}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    network, summary = run(folder)
    return bits(network), without_clock(summary), journal(folder)


def assert_same_as(undisturbed, folder, network, summary):
    assert bits(network) == undisturbed[0]
    assert without_clock(summary) == undisturbed[1]
    assert journal(folder) == undisturbed[2]


def kill(folder, at):
    with pytest.raises(Killed):
        run(folder, network_of(at))


@pytest.mark.long
def test_two_undisturbed_trainings_are_equal(tmp_path, undisturbed):
    assert_same_as(undisturbed, tmp_path, *run(tmp_path))


@pytest.mark.parametrize(
    "seconds", slow_but([0.0, 1e9], {0.0}), ids=["checkpoint at every update", "at evaluations only"]
)
@pytest.mark.parametrize("seed", long_but(range(6), {0}))
def test_a_training_killed_several_times_ends_as_if_nothing_had_happened(
    tmp_path, undisturbed, monkeypatch, seed, seconds
):
    """Kill points are counted over two epochs of U/2 windows each, so that resumes cross the border between them."""
    monkeypatch.setattr(checkpointing, "CHECKPOINT_SECONDS", seconds)
    updates = undisturbed[1]["updates"]
    rng = np.random.default_rng(seed)
    for at in sorted(rng.integers(1, updates // 4, 4), reverse=True):
        kill(tmp_path, at)
    assert_same_as(undisturbed, tmp_path, *run(tmp_path))


@pytest.mark.long
def test_the_best_state_of_before_the_kill_is_not_forgotten(tmp_path, monkeypatch):
    """A training that over-fits: its best state is an early one, the kill comes late."""
    training = replace(TRAINING, epochs=30, evaluations=10, learning_rate=4e-2, warmup=0.0, final_rate=1.0)
    monkeypatch.setattr(sys.modules[__name__], "TRAIN", walks(6, V, 1))
    plain, summary = run(tmp_path / "plain", training=training)
    assert summary["best_tokens"] < 0.8 * summary["tokens"]
    (tmp_path / "killed").mkdir()
    with pytest.raises(Killed):
        run(tmp_path / "killed", network_of(int(summary["updates"]) - 2), training)
    resumed, other = run(tmp_path / "killed", training=training)
    assert bits(resumed) == bits(plain)
    assert without_clock(other) == without_clock(summary)


@pytest.mark.slow
def test_a_kill_right_at_the_border_of_two_epochs(tmp_path, undisturbed, monkeypatch):
    monkeypatch.setattr(checkpointing, "CHECKPOINT_SECONDS", 0.0)
    half = undisturbed[1]["updates"] // 2
    assert undisturbed[1]["updates"] == 2 * half
    kill(tmp_path, half + 1)
    kill(tmp_path, 2)
    assert_same_as(undisturbed, tmp_path, *run(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("rename", long_but(range(1, 10), {6}))
def test_a_kill_while_a_checkpoint_is_written(tmp_path, undisturbed, monkeypatch, rename):
    """Between any two renames of files, so also with tensors but without their description."""
    monkeypatch.setattr(checkpointing, "CHECKPOINT_SECONDS", 0.0)
    with killed_at_rename(rename):
        run(tmp_path)
    assert_same_as(undisturbed, tmp_path, *run(tmp_path))
    assert not list(tmp_path.rglob("*.part"))


RECIPES = {
    "random windows": {"random_window": True, "bptt_len": 12, "epochs": 3},
    "packed reviews": {"stateful": False, "state_reset_prob": 0.02},
    "packed reviews in random windows": {
        "stateful": False, "state_reset_prob": 0.02, "random_window": True, "bptt_len": 9, "bptt_grad_len": 14
    },
    "two streams at a time": {"micro_batch": 3},
    "averaged weights": {"ema": 0.8},
    "nt_asgd": {"optimizer": "nt_asgd", "learning_rate": 1.0, "evaluations": 40, "schedule": "constant", "clip": 0.25},
    "plateau": {"schedule": "plateau", "evaluations": 9, "learning_rate": 0.3},
    "penalties": {"activation_penalty": 1.0, "temporal_penalty": 0.5, "clip_value": 0.02},
    "momentum": {"optimizer": "nesterov", "learning_rate": 0.2, "schedule": "linear"},
    "adam, which counts its steps": {"optimizer": "adam", "l2": 1e-4},
}


@pytest.mark.long
@pytest.mark.parametrize("recipe", long_but(RECIPES, {"averaged weights"}))
def test_whatever_the_recipe_remembers_survives_kills(tmp_path, recipe, monkeypatch):
    """Killed three times, the last time in the second epoch; restart points are both of evaluations and in between."""
    training = replace(TRAINING, **RECIPES[recipe])
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[__name__], "SPEC", replace(SPEC, training=training))
        plain, summary = run(tmp_path / "plain", training=training)
        facts = json.loads(newest(tmp_path / "plain", "json").read_text())["body"]["facts"]
        assert recipe != "nt_asgd" or facts["trigger"]["fired"]
        assert recipe != "plateau" or facts["course"]["plateau"] < 0.1
        (tmp_path / "killed").mkdir()
        for at, seconds in ((int(summary["updates"] * 0.8), 1e9), (3, 0.0), (6, 0.0)):
            patch.setattr(checkpointing, "CHECKPOINT_SECONDS", seconds)
            with pytest.raises(Killed):
                run(tmp_path / "killed", network_of(at), training)
        resumed, other = run(tmp_path / "killed", training=training)
    assert bits(resumed) == bits(plain)
    assert without_clock(other) == without_clock(summary)
    assert journal(tmp_path / "killed") == journal(tmp_path / "plain")


@pytest.mark.parametrize("factor", long_but([float("inf"), 30.0], {30.0}), ids=["not finite", "spike"])
@pytest.mark.slow
def test_a_divergence_on_the_way_does_not_spoil_the_resume(tmp_path, undisturbed, monkeypatch, factor):
    """At the full rate the 30th update spoils a weight matrix; one of two such trainings is killed after that."""
    step, full_rate = AdamW.step, learning_rate(TRAINING, 29, undisturbed[1]["updates"])
    training = replace(TRAINING, loss_spike_threshold=3.0)

    def exploding(optimizer, *arguments):
        step(optimizer, *arguments)
        if optimizer.param_groups[0]["lr"] == full_rate:
            with torch.no_grad():
                optimizer.param_groups[0]["params"][0].mul_(factor)

    monkeypatch.setattr(AdamW, "step", exploding)
    plain, summary = run(tmp_path / "plain", training=training)
    assert summary["divergences"] == 1
    (tmp_path / "killed").mkdir()
    with pytest.raises(Killed):
        run(tmp_path / "killed", network_of(40), training)
    resumed, other = run(tmp_path / "killed", training=training)
    assert bits(resumed) == bits(plain)
    assert without_clock(other) == without_clock(summary)
    assert journal(tmp_path / "killed") == journal(tmp_path / "plain")


PROGRAM = """
import os, signal, sys
sys.path[:0] = sys.argv[1:3]
from pathlib import Path
import test_checkpoint as t
from models.neural import network
network.bf16_on_processor = lambda: True  # as in conftest.py
t.torch.set_num_threads(1)
t.checkpointing.CHECKPOINT_SECONDS = 0.0
network = t.network_of()
windows, loss = [0], network.output.loss
def dying(*arguments):
    windows[0] += 1
    if windows[0] == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
    return loss(*arguments)
network.output.loss = dying
t.run(Path(sys.argv[3]), network)
"""


@pytest.mark.drill("killed at any moment", "kill -9 of a training", "ends as if nothing had happened")
@pytest.mark.long
def test_a_process_killed_with_sigkill(tmp_path, undisturbed):
    here = Path(__file__).parent
    command = [sys.executable, "-c", PROGRAM, str(here), str(here.parents[3]), str(tmp_path), "33"]
    assert subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode == -signal.SIGKILL
    assert list((tmp_path / CHECKPOINTS).glob("*.json"))
    network = network_of()
    kill_free = undisturbed[1]["updates"]
    calls, loss = [0], network.output.loss
    network.output.loss = lambda *a: (calls.__setitem__(0, calls[0] + 1), loss(*a))[1]
    assert_same_as(undisturbed, tmp_path, *run(tmp_path, network))
    assert calls[0] == kill_free - 32  # it really went on


@pytest.mark.slow
def test_a_training_goes_on_from_a_checkpoint_that_does_not_know_the_processors_seconds_yet(tmp_path, undisturbed):
    kill(tmp_path, undisturbed[1]["updates"] * 3 // 4)
    path = newest(tmp_path, "json")
    body = json.loads(path.read_text())["body"]
    before = body["facts"]["course"].pop("cpu_seconds")
    path.write_text(json.dumps({"checksum": checkpoint._checksum(body), "body": body}))
    network, summary = run(tmp_path)
    assert_same_as(undisturbed, tmp_path, network, summary)
    assert before > 0
    assert summary["cpu_seconds"] > 0


@pytest.mark.parametrize("change", ["missing", "too many", "another shape"])
def test_weights_are_put_back_whole_or_not_at_all(change):
    network = network_of()
    tensors, before = network_tensors(network), bits(network)
    assert "output.weight" not in tensors or "embedding.weight" not in tensors  # tied: stored once
    name = "layers.0.bias_hh_l0"
    for tensor in tensors.values():
        tensor.zero_()
    if change == "missing":
        del tensors[name]
    elif change == "too many":
        name = "layers.9.bias_hh_l0"
        tensors[name] = torch.zeros(3)
    else:
        tensors[name] = torch.zeros(3)
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        fill_network(network, tensors)
    assert bits(network) == before


@pytest.mark.slow
def test_a_checkpoint_without_all_weights_is_skipped_with_the_reason(tmp_path, undisturbed, caplog):
    """As an older release may have written it; its checksums are right."""
    kill(tmp_path, undisturbed[1]["updates"] * 3 // 4)
    checkpoints = Checkpoints(tmp_path / CHECKPOINTS)
    found = checkpoints.load()
    checkpoints.save({k: v for k, v in found.tensors.items() if k != "best/layers.0.bias_hh_l0"}, found.facts, True)
    network, _ = run(tmp_path)
    assert "layers.0.bias_hh_l0 is absent there" in caplog.text
    assert bits(network) == undisturbed[0]


# --- classes of determinism


@pytest.mark.slow
def test_two_trainings_of_one_class_have_weights_of_one_checksum_and_say_which_class(tmp_path):
    found = set()
    for name in ("one", "two"):
        network, summary = run(tmp_path / name)
        found.add(hashlib.sha256(b"".join(bits(network).values())).hexdigest())
        assert summary["threads"] == torch.get_num_threads()
        assert summary["class_changes"] == 0
    assert len(found) == 1


@pytest.mark.long
def test_going_on_with_another_number_of_threads_is_announced(tmp_path, undisturbed, caplog):
    kill(tmp_path, undisturbed[1]["updates"] * 3 // 4)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        _, summary = run(tmp_path)
    finally:
        torch.set_num_threads(threads)
    assert summary["class_changes"] == 1
    assert summary["threads"] == threads + 1
    assert f"threads {threads + 1} after" in caplog.text
    assert "up to rounding, not bit for bit" in caplog.text


# --- damage


def newest(folder, suffix):
    return max((folder / CHECKPOINTS).glob(f"*.{suffix}"))


def flip(path):
    raw = bytearray(path.read_bytes())
    raw[len(raw) * 3 // 4] ^= 1
    path.write_bytes(raw)


DAMAGE = {
    "a flipped bit in the tensors": lambda folder: flip(newest(folder, "safetensors")),
    "a flipped bit in the description": lambda folder: flip(newest(folder, "json")),
    "tensors cut short": lambda folder: os.truncate(newest(folder, "safetensors"), 1000),
    "a description cut short": lambda folder: os.truncate(newest(folder, "json"), 100),
    "an empty description": lambda folder: os.truncate(newest(folder, "json"), 0),
    "missing tensors": lambda folder: newest(folder, "safetensors").unlink(),
    "a missing description": lambda folder: newest(folder, "json").unlink(),
    "a description that is another JSON": lambda folder: newest(folder, "json").write_text("[1, 2]"),
    "a journal cut short": lambda folder: os.truncate(folder / "metrics.jsonl", 700),
    "no journal": lambda folder: (folder / "metrics.jsonl").unlink(),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", long_but(DAMAGE, {"a flipped bit in the tensors", "no journal"}))
def test_a_damaged_checkpoint_is_found_and_the_one_before_is_used(tmp_path, undisturbed, damage, caplog):
    kill(tmp_path, undisturbed[1]["updates"] * 3 // 4)
    assert len(list((tmp_path / CHECKPOINTS).glob("*.json"))) == 2
    DAMAGE[damage](tmp_path)
    assert_same_as(undisturbed, tmp_path, *run(tmp_path))
    assert ("is skipped" in caplog.text) == (damage != "a missing description")


@pytest.mark.parametrize(("updates", "said"), [(0, "training starts from the beginning: there is no checkpoint"),
                                               (71, "training resumes after 71 of 1778 updates")])  # fmt: skip
def test_what_is_resumed_is_said(updates, said, caplog, monkeypatch):
    ranks, metrics = SimpleNamespace(clock=time.monotonic), SimpleNamespace(updates=updates)
    state = SimpleNamespace(metrics=metrics, total_updates=1778, ranks=ranks)
    found = checkpointing.Checkpointing(state, checkpoints=None, journal=None, identity={})
    monkeypatch.setattr(found, "_class", dict)
    monkeypatch.setattr(found, "load", lambda: SimpleNamespace(facts={"class": {}}))
    monkeypatch.setattr(found, "restore", lambda found: None)
    monkeypatch.setattr(checkpointing, "announcement", str)
    with caplog.at_level(logging.INFO):
        found.on_start()
    assert caplog.messages == [said]


@pytest.mark.slow
def test_with_all_checkpoints_damaged_the_training_starts_again(tmp_path, undisturbed):
    kill(tmp_path, undisturbed[1]["updates"] * 3 // 4)
    for path in (tmp_path / CHECKPOINTS).glob("*.safetensors"):
        flip(path)
    assert_same_as(undisturbed, tmp_path, *run(tmp_path))


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_read_just_now_is_left_for_the_next_try(tmp_path, undisturbed, monkeypatch):
    kill(tmp_path, undisturbed[1]["updates"] * 3 // 4)
    checkpoints, names = Checkpoints(tmp_path / CHECKPOINTS), sorted((tmp_path / CHECKPOINTS).iterdir())

    def fails(*arguments):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("models.neural.training.checkpoint.sha256_of", fails)
        assert checkpoints.load() is None
    assert sorted((tmp_path / CHECKPOINTS).iterdir()) == names
    assert checkpoints.load() is not None


@pytest.mark.slow
def test_checkpoints_of_another_training_are_not_used(tmp_path, undisturbed, caplog):
    run(tmp_path, training=replace(TRAINING, seed=6, epochs=1))
    assert_same_as(undisturbed, tmp_path, *run(tmp_path))
    assert "belongs to another training" in caplog.text


@pytest.mark.slow
def test_a_description_is_never_executed(tmp_path):
    """All that is read is JSON and safetensors: the folder holds no other kind of file."""
    run(tmp_path)
    assert {path.suffix for path in (tmp_path / CHECKPOINTS).iterdir()} == {".json", ".safetensors"}


# --- the two classes by themselves


def numbers(checkpoints):
    return sorted(int(path.stem) for path in checkpoints.folder.glob("*.json"))


def test_the_two_newest_good_ones_and_the_newest_of_all_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    written = [(True, [1]), (False, [1, 2]), (False, [1, 3]), (True, [1, 4]), (False, [1, 4, 5]), (True, [4, 6])]
    for good, kept in written:
        checkpoints.save({"x": torch.zeros(2)}, {}, good)
        assert numbers(checkpoints) == kept
        assert len(list(tmp_path.iterdir())) == 2 * len(kept)


def test_what_is_saved_comes_back(tmp_path):
    shared = torch.randn(3, 4)
    tensors = {"a": shared, "b": shared, "c": shared.t(), "bool": torch.tensor([True]), "low": shared.bfloat16()}
    facts = {"nats": 0.1 + 0.2, "inf": float("inf"), "list": [1, 2], "text": "ü"}
    Checkpoints(tmp_path).save(tensors, facts, good=False)
    found = Checkpoints(tmp_path).load()
    assert found.facts == facts
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in tensors.items())
    assert Checkpoints(tmp_path).load(good=True) is None


def test_a_checkpoint_has_the_permissions_of_any_new_file(tmp_path):
    """In a home that a group shares, another of its members may go on with the training."""
    before = os.umask(0o007)
    try:
        Checkpoints(tmp_path).save({"weight": torch.ones(2)}, {}, good=True)
    finally:
        os.umask(before)
    found = {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()}
    assert found == {"00000001.json": "0o660", "00000001.safetensors": "0o660"}


def test_what_killed_writes_left_is_removed(tmp_path):
    Checkpoints(tmp_path).save({"weight": torch.ones(2)}, {}, good=True)
    for left in ("00000002.part", ".tmpa1B2c3"):  # ours, and that of safetensors
        (tmp_path / left).write_bytes(b"half")
    assert Checkpoints(tmp_path).load() is not None
    assert {path.name for path in tmp_path.iterdir()} == {"00000001.json", "00000001.safetensors"}


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    assert Checkpoints(tmp_path / "new").load() is None


def test_the_journal_is_cut_where_it_was(tmp_path):
    first = Journal(tmp_path)
    assert first.size() == 0
    first.write(5, {"a": 1.5})
    length = first.length
    first.write(6, {"a": 2.5})
    again = Journal(tmp_path)
    assert again.size() == first.length
    again.cut(length)
    again.write(7, {"b": 3.5})
    lines = [json.loads(line) for line in again.path.read_text().splitlines()]
    assert [(line["step"], line.get("a"), line.get("b")) for line in lines] == [(5, 1.5, None), (7, None, 3.5)]


def test_the_journal_refuses_what_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        Journal(tmp_path).write(1, {"a": float("nan")})


def test_diverging_for_good_leaves_no_endless_loop_behind(tmp_path, monkeypatch):
    """A second attempt in the same folder fails in the same way instead of going on from nothing."""
    monkeypatch.setattr(training_step, "scale_and_clip", lambda *arguments: Clipped(float("inf"), False, False))
    for _ in range(2):
        with pytest.raises(ModelError, match="diverged"):
            run(tmp_path)
