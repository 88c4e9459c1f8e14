"""Files of checkpoints and the journal by themselves: what is kept, and what comes back."""

import torch

from reviewlm.training.neural.checkpoint import Checkpoints


def numbers(checkpoints):
    return sorted(int(path.name[:8]) for path in checkpoints.folder.iterdir())


def test_beside_the_two_newest_good_checkpoints_only_the_newest_is_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    written = [
        (True, [1]),
        (False, [1, 2]),
        (False, [1, 3]),
        (True, [1, 4]),
        (False, [1, 4, 5]),
        (True, [4, 6]),
    ]
    for good, kept in written:
        checkpoints.save({"x": torch.zeros(2)}, {}, good)
        assert numbers(checkpoints) == kept


def test_what_killed_writes_left_is_removed(tmp_path):
    Checkpoints(tmp_path).save({"weight": torch.ones(2)}, {}, good=True)
    written = list(tmp_path.iterdir())
    for left in ("00000002.part", ".tmpa1B2c3"):  # ours, and that of safetensors
        (tmp_path / left).write_bytes(b"half")
    assert Checkpoints(tmp_path).load() is not None
    assert list(tmp_path.iterdir()) == written
