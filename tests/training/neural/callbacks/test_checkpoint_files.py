"""Files of checkpoints and the journal by themselves: what is kept, and what comes back."""

import json

import torch

from training.neural.checkpoint import Checkpoints, Journal


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


def test_what_killed_writes_left_is_removed(tmp_path):
    Checkpoints(tmp_path).save({"weight": torch.ones(2)}, {}, good=True)
    for left in ("00000002.part", ".tmpa1B2c3"):  # ours, and that of safetensors
        (tmp_path / left).write_bytes(b"half")
    assert Checkpoints(tmp_path).load() is not None
    assert {path.name for path in tmp_path.iterdir()} == {"00000001.json", "00000001.safetensors"}


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
