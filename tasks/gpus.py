"""Reserve GPUs: each for one fit, or for the scoring of one model, at a time.

Prefect's limit `gpu` says how many may run at once, also from several machines. Which GPUs of this machine one gets is
settled by locks in the home folder, which the system releases when a process ends.
"""

from __future__ import annotations

import json
import platform
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from core.config.run_config import RunConfig
from core.environment import chosen_device, home_folder, usable_together, visible_gpu_names
from core.processes.memory import limit_operations
from models.base import ModelError
from models.bundles.bundle import SPEC, Bundle, load_bundle
from models.classification.spec import ClassifierSpec
from models.specs import ModelSpec, parts_of, spec_from_dict
from tasks.limits import GPU, slot

LOOK_SECONDS = 0.5


@contextmanager
def gpu_slot(device: str, count: int = 1, here: bool = False) -> Iterator[tuple[int, ...]]:
    """Wait for a slot of the limit `gpu` and for GPUs of this machine; yield their indices. On the CPU do nothing.

    An index is a place among the visible GPUs, as in torch's "cuda:1". Nothing is yielded where it is not known which
    GPUs there are. A thread must not ask for a second slot while it holds one.

    Args:
        device: "cpu" or "cuda".
        count: Number of GPUs; all are taken together, so that two fits do not wait for each other's.
        here: This process uses them itself, so only those are taken that it sees.
    """
    if device != "cuda":
        yield ()
        return
    names = visible_gpu_names()
    seen = names[: usable_together(names)] if here else names
    with slot(GPU), _own_gpus(seen, count) as gpus:
        yield gpus


@contextmanager
def _own_gpus(names: Sequence[str], count: int) -> Iterator[tuple[int, ...]]:
    folder = home_folder() / "gpus"
    folder.mkdir(parents=True, exist_ok=True)
    locks = [FileLock(folder / f"{platform.node()}-{re.sub('[^0-9A-Za-z-]', '_', name)}.lock") for name in names]
    while (held := _taken(locks, min(count, len(locks)))) is None:
        time.sleep(LOOK_SECONDS)
    try:
        yield held
    finally:
        for index in held:
            locks[index].release()


def _taken(locks: list[FileLock], count: int) -> tuple[int, ...] | None:
    """Return the indices of *count* locks that are held now; None, holding nothing, if so many are not free."""
    held: list[int] = []
    for index, lock in enumerate(locks):
        if len(held) < count:
            try:
                lock.acquire(timeout=0)
                held.append(index)
            except Timeout:
                pass
    if len(held) == count:
        return tuple(held)
    for index in held:
        locks[index].release()
    return None


def device_for(config: RunConfig, spec: ModelSpec | ClassifierSpec, parts: Iterable[ModelSpec] = ()) -> str:
    """Return the device of a model: "cpu" for all but networks, otherwise as `execution.device` says.

    Args:
        config: Names the device.
        parts: The models that it combines, as far as they are known.
    """
    return chosen_device(config.execution.device) if is_neural(spec, parts) else "cpu"


def is_neural(spec: ModelSpec | ClassifierSpec, parts: Iterable[ModelSpec] = ()) -> bool:
    """Return False for n-gram models, mixtures of them alone, and classifiers that count; parts as in `device_for`."""
    models: list[Any] = [spec, *parts]
    return any(hasattr(one, "training") for one in models) or any(parts_of(one) for one in models[len(models) > 1 :])


def on_gpu(device: str, gpus: tuple[int, ...]) -> str:
    """Return torch's name of the first of these GPUs; the device itself if there is none."""
    return f"{device}:{gpus[0]}" if gpus else device


class OpenBundle:
    """A bundle that is opened when it is first asked for; on a GPU it holds a slot, and gives memory back at the end.

    Without that, what a flow has scored would stay in the GPU's memory while the next model is fitted. Within the
    block, keep no reference to the bundle in the frame of the block itself.

    Args:
        config: Names the device.
        folder: Folder of the bundle.
    """

    def __init__(self, config: RunConfig, folder: Path) -> None:
        self._config, self._folder = config, folder
        self._held = ExitStack()
        self._bundle: Bundle | None = None

    def __enter__(self) -> Self:
        return self

    def __call__(self) -> Bundle:
        """Return the bundle."""
        if self._bundle is None:
            device = self._device()
            gpus = self._held.enter_context(gpu_slot(device, here=True))
            if device == "cuda":
                from models.neural.device import free_cached_memory  # imports torch

                self._held.callback(free_cached_memory)
            limit_operations()
            self._bundle = load_bundle(self._folder, on_gpu(device, gpus))
        return self._bundle

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bundle = None
        self._held.close()

    def _device(self) -> str:
        if (device := chosen_device(self._config.execution.device)) != "cuda":
            return device
        try:
            values = json.loads((self._folder / SPEC).read_text(encoding="utf-8"))["spec"]
            return device_for(self._config, spec_from_dict(values))
        except (OSError, ValueError, KeyError, TypeError, ModelError):
            return "cpu"  # opening it says what is wrong with it
