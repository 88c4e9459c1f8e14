"""Write and read checkpoints and the journal of a fit, so that a killed training resumes with the same result.

A checkpoint is one file of safetensors: all tensors, and in its header all numbers as JSON. Its name has its number,
its kind and its checksum: `00000003-good-SHA256.safetensors`. It is written under another name and then renamed, so it
is complete. A checkpoint that does not match its checksum is skipped in favour of the one before. Nothing is pickled.
Files are not flushed to the disk: if the process dies, nothing is lost, and after a power cut the checksum detects torn
files.

The journal is `metrics.jsonl`, one JSON object per line: {"step": tokens seen, "time": seconds since 1970, NAME: value,
…}. A checkpoint records the journal's length. Resuming cuts the journal there, so that no point is doubled. A line with
"settled": true is the last one of a good checkpoint: no divergence removes the lines before it.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from reviewlm.models.atomic_files import save_tensors
from reviewlm.models.base import JOURNAL, sha256_of

SETTLED = "settled"
GOOD = "good"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, and numbers (JSON values) by name."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


class Checkpoints:
    """The checkpoints below one folder, numbered as they are written.

    There are two kinds. Those of an evaluation are "good": training may go back to them when it diverges. Others are
    written because some time has passed. The two newest good ones and the newest of all are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def save(
        self,
        tensors: Mapping[str, Tensor],
        facts: Mapping[str, Any],
        good: bool,
    ) -> None:
        """Write a checkpoint; after the return it survives the death of the process."""
        # Copies: the format refuses tensors that share memory.
        copies = {
            name: tensor.detach().to("cpu", copy=True).contiguous()
            for name, tensor in tensors.items()
        }
        number = max((int(path.name.split("-")[0]) for path in self._all()), default=0) + 1
        part = self.folder / "new.part"
        header = {"facts": json.dumps(dict(facts))}
        save_tensors(lambda values, path: save_file(values, path, header), copies, part)
        os.replace(
            part,
            self.folder / f"{number:08d}-{GOOD if good else 'timed'}-{sha256_of(part)}.safetensors",
        )
        latest = {*self._all(good=True)[-2:], *self._all()[-1:]}
        for path in set(self._all()) - latest:
            path.unlink()

    def load(
        self, check: Callable[[Checkpoint], None] = lambda checkpoint: None, good: bool = False
    ) -> Checkpoint | None:
        """Return the newest checkpoint that is complete (with *good*: the newest good one), or None.

        A damaged one, or one for which *check* raises ValueError, is logged and deleted, and the one before is tried.
        One that cannot be read is logged and kept.
        """
        for torn in (
            *self.folder.glob("*.part"),
            *self.folder.glob(".tmp*"),
        ):  # left by a killed process
            torn.unlink()

        for path in reversed(self._all(good)):
            try:
                checkpoint = self._read(path)
                check(checkpoint)
                return checkpoint
            except (OSError, SafetensorError, ValueError) as error:
                log.warning("checkpoint %s cannot be used and is skipped: %s", path, error)
                if not isinstance(error, OSError):
                    path.unlink()  # a file that cannot be read now may be complete

        return None

    def _read(self, path: Path) -> Checkpoint:
        if sha256_of(path) != path.stem.split("-")[2]:
            raise ValueError("it was changed after it was written")
        with safe_open(path, "pt") as file:
            facts = json.loads(file.metadata()["facts"])
        return Checkpoint(load_file(path), facts)

    def _all(self, good: bool = False) -> list[Path]:
        """Return the checkpoints, the oldest first; with *good* only those."""
        return sorted(self.folder.glob(f"*-{GOOD if good else '*'}-*.safetensors"))


class Journal:
    """Writer of measurements, which it appends to `metrics.jsonl` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL
        self.length = 0

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Append one line; *step* counts training tokens."""
        line = (
            json.dumps(
                {
                    "step": step,
                    "time": round(time.time(), 3),
                    **figures,
                },
                allow_nan=False,
            )
            + "\n"
        )
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line)
        self.length += len(line.encode())

    def size(self) -> int:
        """Return the bytes in the file, including those of an earlier attempt."""
        if self.path.exists():
            return self.path.stat().st_size
        return 0

    def cut(self, length: int) -> None:
        """Remove all that was written after the first *length* bytes."""
        with self.path.open("ab") as file:
            file.truncate(length)
        self.length = length


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's moments and step counts as "INDEX.NAME" (the tensors themselves, not copies)."""
    moments: dict[int, dict[str, Tensor]] = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": value
        for index, entry in moments.items()
        for name, value in entry.items()
    }


def fill_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore the result of `optimizer_tensors`; the parameter groups do not change."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )


def random_tensors(device: torch.device) -> dict[str, Tensor]:
    """Return the states of torch's random streams: the CPU's, and the GPU's where that is used."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        return states | {"cuda": torch.cuda.get_rng_state(device)}
    return states


def set_random(tensors: Mapping[str, Tensor], device: torch.device) -> None:
    """Restore the result of `random_tensors`."""
    torch.set_rng_state(tensors["cpu"])
    if device.type == "cuda" and "cuda" in tensors:
        torch.cuda.set_rng_state(tensors["cuda"], device)


class Unread:
    """Numbers that a GPU is still computing. Reading them waits for the work before them, not for that queued since.

    Args:
        numbers: Scalars on the GPU.
    """

    def __init__(self, numbers: Sequence[Tensor]) -> None:
        together = torch.stack([number.double() for number in numbers])
        self._copies = together.to("cpu", non_blocking=True)
        self._done = torch.cuda.Event()
        self._done.record(torch.cuda.current_stream(together.device))

    def read(self) -> list[float]:
        """Return the numbers."""
        self._done.synchronize()
        return [float(number) for number in self._copies]
