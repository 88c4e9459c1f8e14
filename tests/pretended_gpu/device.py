"""Replace torch's functions of a GPU by pretended ones within a block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from tests.pretended_gpu.counts import Counts
from tests.pretended_gpu.graphs import ReplayedModule
from tests.pretended_gpu.tensors import (
    COUNTS,
    DEVICE,
    WITHOUT_KERNEL,
    CudnnRNN,
    PretendedTensor,
    to_device,
    to_host,
)

RNNS = {
    "lstm": 2,
    "gru": 1,
    "rnn_tanh": 1,
    "rnn_relu": 1,
}
"""torch's recurrent layers, with the number of their states."""
OPTIONS = ("has_biases", "num_layers", "dropout", "train", "bidirectional", "batch_first")


@contextmanager
def pretended_gpu() -> Iterator[Counts]:
    """Let torch have one GPU within the block, and yield the counts of what it would do."""
    from reviewlm.models.neural.device import cudnn_has_bf16

    cudnn_has_bf16.cache_clear()
    COUNTS.clear()
    try:
        with ExitStack() as stack:
            for where, names in _replacements().items():
                for name, value in names.items():
                    stack.enter_context(patch.object(where, name, value))
            stack.enter_context(_Pretending())
            yield COUNTS
    finally:
        cudnn_has_bf16.cache_clear()


class _Event:
    """Stands for torch.cuda.Event: to wait for it is a wait of the host."""

    def __init__(self, enable_timing: bool = False) -> None:
        pass

    def record(self, stream: Any = None) -> None:
        """Do nothing: all work is done at once."""

    def synchronize(self) -> None:
        """Count a wait."""
        COUNTS.wait("event")

    def elapsed_time(self, end: _Event) -> float:
        """Return milliseconds: so many that nothing longer is timed."""
        return 1e6


def _replacements() -> dict[Any, dict[str, Any]]:
    """Return the functions to replace, by the object that has them."""
    from reviewlm.training.neural.fused import captured

    autocast, enabled, dtype = torch.autocast, torch.is_autocast_enabled, torch.get_autocast_dtype
    move = nn.Module.to

    def pretended_autocast(device_type: str, *args: Any, **options: Any) -> Any:
        return autocast("cpu" if device_type == "cuda" else device_type, *args, **options)

    def module_to(module: nn.Module, *args: Any, **options: Any) -> nn.Module:
        device, dtype, _, _ = torch._C._nn._parse_to(*args, **options)
        return move(module, *args, **options) if device is None else _move(module, device, dtype)

    return {
        torch: {
            "autocast": pretended_autocast,
            "is_autocast_enabled": lambda kind="cpu": enabled("cpu"),
            "get_autocast_dtype": lambda kind="cpu": dtype("cpu"),
        },
        nn.Module: {
            "to": module_to,
            "cuda": lambda module, device=None: _move(module, DEVICE, None),
            "cpu": lambda module: _move(module, torch.device("cpu"), None),
        },
        torch.cuda: {
            "is_available": lambda: True,
            "device_count": lambda: 1,
            "_is_in_bad_fork": lambda: False,
            "get_device_name": lambda device=None: "pretended",
            "set_device": lambda device: None,
            "get_rng_state": lambda device=None: torch.get_rng_state(),
            "set_rng_state": lambda state, device=None: torch.set_rng_state(state),
            "manual_seed_all": lambda seed: None,
            "max_memory_reserved": lambda device=None: 0,
            "reset_peak_memory_stats": lambda device=None: None,
            "device": lambda device: nullcontext(),
            "current_stream": lambda device=None: None,
            "default_stream": lambda device=None: None,
            "empty_cache": lambda: None,
            "synchronize": lambda device=None: COUNTS.wait("synchronize"),
            "get_device_properties": lambda device=None: SimpleNamespace(
                total_memory=80 << 30, name="pretended"
            ),
            "Event": _Event,
            "make_graphed_callables": ReplayedModule,
        },
        captured: {"_end_failed_capture": lambda device, stream: None},
    }


def _move(
    module: nn.Module,
    device: torch.device,
    dtype: torch.dtype | None,
) -> nn.Module:
    """Move a module in place. A parameter that two modules share stays shared, but is another object afterwards."""
    moved: dict[int, Tensor] = {}

    def there(tensor: Tensor) -> Tensor:
        wanted = dtype if tensor.is_floating_point() else None
        if id(tensor) not in moved:
            new = tensor.detach().to(device, wanted) if wanted else tensor.detach().to(device)
            moved[id(tensor)] = (
                nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new
            )
        return moved[id(tensor)]

    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    tensors[name] = there(tensor)  # type: ignore[assignment]
        if isinstance(part, nn.RNNBase):
            part._flat_weights = [getattr(part, name) for name in part._flat_weights_names]
    return module


class _Pretending(TorchFunctionMode):
    """Redirect calls that name the GPU."""

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: Any = (),
        kwargs: Any = None,
    ) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        if name in RNNS and args and isinstance(args[0], PretendedTensor):
            return _run_rnn(func, name, *args, **kwargs)
        if name == "to" and isinstance(args[0], Tensor):
            return _to(func, args, kwargs)
        if (
            name == "cuda"
            and args
            and type(args[0]) is not PretendedTensor
            and isinstance(args[0], Tensor)
        ):
            return to_device(args[0], None, False)
        if name == "pin_memory":
            pinned = args[0].clone()
            pinned.is_pretended_pinned = True
            return pinned
        if _is_gpu(kwargs.get("device")):
            if name == "tensor":
                COUNTS.wait("copy to the GPU")
            if name not in WITHOUT_KERNEL:
                COUNTS.launch(name)
            made = func(*args, **{**kwargs, "device": "cpu"})
            return tree_map(lambda t: PretendedTensor(t) if isinstance(t, Tensor) else t, made)
        return func(*args, **kwargs)


def _is_gpu(device: Any) -> bool:
    return (isinstance(device, torch.device) and device.type == "cuda") or str(device).startswith(
        "cuda"
    )


def _to(
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Run Tensor.to: between the devices, or, on one device, to another number format."""
    tensor, *rest = args
    given = [*rest, *kwargs.values()]
    like = next((t for t in given if isinstance(t, Tensor)), None)
    device = next(
        (d for d in given if isinstance(d, torch.device | str)),
        like.device if like is not None else None,
    )
    dtype = next(
        (d for d in given if isinstance(d, torch.dtype)), like.dtype if like is not None else None
    )
    non_blocking = bool(kwargs.get("non_blocking", False))
    if isinstance(tensor, PretendedTensor):
        if device is not None and not _is_gpu(device):
            return to_host(tensor, dtype, non_blocking)
        return func(tensor, dtype) if dtype is not None else tensor
    return to_device(tensor, dtype, non_blocking) if _is_gpu(device) else func(*args, **kwargs)


def _run_rnn(
    function: Callable[..., Any],
    name: str,
    x: Tensor,
    *given: Any,
    **named: Any,
) -> Any:
    """Run a recurrent layer as cuDNN does, with its checks; with cuDNN off, as torch's own operators."""
    state, flat, *rest = given
    options = [*rest, *(named[option] for option in OPTIONS[len(rest) :])]
    states = list(state) if isinstance(state, tuple | list) else [state]
    for tensor in (x, *states, *flat):
        if not isinstance(tensor, PretendedTensor):
            raise RuntimeError(f"{name}: input, hidden and weights must be on the same device")
        if tensor.dtype != x.dtype:
            raise RuntimeError(
                f"{name}: input, hidden and weights must have one dtype: {tensor.dtype}, {x.dtype}"
            )
    if not all(tensor.is_contiguous() for tensor in states):
        raise RuntimeError(f"{name}: hx is not contiguous")
    if not torch.backends.cudnn.enabled:
        # Torch's own kernels have a gradient in evaluation too; without dropout it is the same.
        options[3] = True
    return CudnnRNN.apply(
        function,
        RNNS[name],
        options,
        x,
        *states,
        *flat,
    )
