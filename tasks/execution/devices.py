"""Choose the device of a model, hold a GPU while this process uses it, and open bundles on it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from reviewlm.core.config.sections.execution import ExecutionConfig
from reviewlm.core.environment import chosen_device
from reviewlm.core.errors import converted_errors
from reviewlm.core.processes.memory import limit_operations
from reviewlm.models.base import ModelError
from reviewlm.models.bundles.bundle import SPEC, Bundle, load_bundle
from reviewlm.models.classification.spec import ClassifierSpec
from reviewlm.models.specs import ModelSpec, parts_of, spec_from_dict
from reviewlm.tasks.execution.limits import gpu_slot


def device_for(
    execution: ExecutionConfig,
    spec: ModelSpec | ClassifierSpec,
    parts: Iterable[ModelSpec] = (),
) -> str:
    """Return the device of a model: "cpu" for all but networks, otherwise as `execution.device` says."""
    if is_neural(spec, parts):
        return chosen_device(execution.device)
    return "cpu"


def is_neural(spec: ModelSpec | ClassifierSpec, parts: Iterable[ModelSpec] = ()) -> bool:
    """Return whether a model, which combines *parts*, is a network or holds one; as long as it is not known, True."""
    models: list[Any] = [spec, *parts]
    if any(hasattr(model, "training") for model in models):
        return True

    # Without the parts of *spec*, it is not known whether one of them is a network.
    unknown = models[1:] if len(models) > 1 else models
    return any(parts_of(one) for one in unknown)


@contextmanager
def held_device(device: str) -> Iterator[str]:
    """Hold a GPU that this process uses itself, and yield torch's name of it; on the CPU yield "cpu".

    At the end the GPU's free memory is given back: else what a flow has scored would stay there while the next model is
    fitted.
    """
    with gpu_slot(device, here=True) as gpus:
        try:
            name = f"{device}:{gpus[0]}" if gpus else device
            yield name
        finally:
            if device == "cuda":
                from reviewlm.models.neural.device import free_cached_memory  # imports torch

                free_cached_memory()


class OpenBundle(ExitStack):
    """A bundle that is opened when it is first asked for, on a GPU that it holds until the end (`held_device`).

    Within the block, keep no reference to the bundle in the frame of the block itself.
    """

    def __init__(self, execution: ExecutionConfig, folder: Path) -> None:
        super().__init__()
        self._execution = execution
        self._folder = folder
        self._bundle: Bundle | None = None

    def __call__(self) -> Bundle:
        """Return the bundle; errors of its files name its folder."""
        if self._bundle is None:
            device = self.enter_context(held_device(self._device()))
            self.callback(setattr, self, "_bundle", None)
            limit_operations()
            with converted_errors(self._folder):
                self._bundle = load_bundle(self._folder, device)
        return self._bundle

    def _device(self) -> str:
        device = chosen_device(self._execution.device)
        if device != "cuda":
            return device
        try:
            values = json.loads((self._folder / SPEC).read_text(encoding="utf-8"))["spec"]
            return device_for(self._execution, spec_from_dict(values))
        except (OSError, ValueError, KeyError, TypeError, ModelError):
            return "cpu"  # opening it says what is wrong with it
