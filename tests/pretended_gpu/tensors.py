"""Tensors that say they are on a GPU, compute on the processor, and refuse what a GPU's kernels refuse.

A kernel of a GPU does not read the processor's memory: an operator with tensors of both raises an error here too. So do
`numpy()` and cuDNN's recurrent layers where their inputs do not fit together. Memory, speed and rounding are those of
the processor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from tests.pretended_gpu.counts import Counts

DEVICE = torch.device("cuda", 0)
COUNTS = Counts()
COPIES = ("_to_copy", "copy_", "_copy_from")
INDEXING = ("index", "index_put_", "index_put", "_index_put_impl_", "_unsafe_index")
READS = ("_local_scalar_dense", "is_nonzero")
"""Operators that return a value to the host."""
SIZED_BY_VALUES = (
    "nonzero",
    "masked_select",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
    "equal",
)
"""Operators whose result's size depends on values: the host waits for it."""
WITHOUT_KERNEL = (
    "detach",
    "alias",
    "_unsafe_view",
    "empty",
    "empty_like",
    "empty_strided",
    "new_empty",
    "new_empty_strided",
)
"""Operators that, like views, only make a tensor."""


class PretendedTensor(Tensor):
    """A tensor on the pretended GPU.

    Attributes:
        inner: The tensor of the processor that holds the numbers.
    """

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, inner: Tensor) -> PretendedTensor:
        assert not isinstance(inner, PretendedTensor)
        made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=inner.device,
            requires_grad=False,
        )
        made.inner = inner.detach()
        return made

    device = property(lambda self: DEVICE)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_cpu = property(lambda self: False)  # type: ignore[assignment]

    @property
    def data(self) -> Tensor:  # type: ignore[override]
        return self.detach()

    @data.setter
    def data(self, other: Tensor) -> None:
        assert isinstance(other, PretendedTensor), (
            "a tensor of the processor was put where one of the GPU was"
        )
        self.inner = other.inner

    def __repr__(self) -> str:  # type: ignore[override]
        return f"PretendedTensor({tuple(self.shape)}, {self.dtype})"

    def numpy(self, *args: Any, **options: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")

    def __array__(self, *args: Any, **options: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")

    def data_ptr(self) -> int:
        return self.inner.data_ptr()

    def cpu(self, *args: Any, **options: Any) -> Tensor:
        return to_host(self, None, False)

    def cuda(self, *args: Any, **options: Any) -> Tensor:
        return self

    def tolist(self) -> Any:
        COUNTS.wait("tolist")
        return self.inner.tolist()

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) not in memo:
            copied: Tensor = PretendedTensor(self.inner.clone())
            memo[id(self)] = (
                nn.Parameter(copied, self.requires_grad)
                if isinstance(self, nn.Parameter)
                else copied
            )
        return memo[id(self)]

    @classmethod
    def __torch_dispatch__(
        cls,
        func: Any,
        types: Any,
        args: Any = (),
        kwargs: Any = None,
    ) -> Any:
        kwargs, name = kwargs or {}, func.overloadpacket.__name__
        flat, _ = tree_flatten((args, kwargs))
        _refuse_or_count(
            func,
            name,
            args,
            kwargs,
            flat,
        )
        returns = func._schema.returns
        is_view = any(r.alias_info is not None and not r.alias_info.is_write for r in returns)
        if not is_view and name not in (*WITHOUT_KERNEL, *READS):
            COUNTS.launch(name)
        found = func(*tree_map(inner_of, args), **tree_map(inner_of, kwargs))
        writes = returns and returns[0].alias_info is not None and returns[0].alias_info.is_write
        if isinstance(found, Tensor) and writes:
            return kwargs["out"] if "out" in kwargs else args[0]
        known = {id(t.inner): t for t in flat if isinstance(t, PretendedTensor)}
        return tree_map(
            lambda t: known.get(id(t)) or PretendedTensor(t) if isinstance(t, Tensor) else t, found
        )


def inner_of(thing: Any) -> Any:
    """Return the processor's tensor of a pretended one, anything else as it is."""
    return thing.inner if isinstance(thing, PretendedTensor) else thing


def _refuse_or_count(
    func: Any,
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    flat: Sequence[Any],
) -> None:
    """Raise the error of a GPU for mixed devices; count a wait of the host."""
    of_processor = [t for t in flat if isinstance(t, Tensor) and not isinstance(t, PretendedTensor)]
    if name in COPIES:
        if of_processor:
            COUNTS.wait("copy between host and GPU")
    elif name in INDEXING:
        indices = [t for t in args[1] if isinstance(t, Tensor)]
        if not isinstance(args[0], PretendedTensor):
            raise RuntimeError(
                f"{func}: indices should be on the same device as the indexed tensor (cpu)"
            )
        if any(t.dim() for t in indices if not isinstance(t, PretendedTensor)):
            COUNTS.wait("copy of an index to the GPU")
        if any(t.dtype in (torch.bool, torch.uint8) for t in indices):
            COUNTS.wait("positions of a mask")
    elif mixed := [tuple(t.shape) for t in of_processor if t.dim()]:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but {func} got some on cpu: {mixed}"
        )
    if name in READS:
        COUNTS.wait("read of a value")
    elif name in SIZED_BY_VALUES or (
        name == "repeat_interleave" and kwargs.get("output_size") is None
    ):
        COUNTS.wait(name)


def to_device(
    tensor: Tensor,
    dtype: torch.dtype | None,
    non_blocking: bool,
) -> PretendedTensor:
    """Copy a tensor of the processor to the GPU; without pinned memory the host waits."""
    COUNTS.refuse_in_capture("copy to the GPU")
    if not (non_blocking and getattr(tensor, "is_pretended_pinned", False)):
        COUNTS.wait("copy to the GPU")
    COUNTS.launch("copy to the GPU")
    return PretendedTensor((tensor if dtype is None else tensor.to(dtype)).detach().clone())


def to_host(
    tensor: PretendedTensor,
    dtype: torch.dtype | None,
    non_blocking: bool,
) -> Tensor:
    """Copy a tensor of the GPU to the processor; the host waits unless it asked not to."""
    COUNTS.refuse_in_capture("copy to the host")
    COUNTS.launch("copy to the host")
    if not non_blocking:
        COUNTS.wait("copy to the host")
    return tensor.inner.clone() if dtype is None else tensor.inner.to(dtype, copy=True)


class CudnnRNN(torch.autograd.Function):
    """One recurrent layer as cuDNN runs it: one operator forward, one backward; backward only after training mode."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        function: Callable[..., Any],
        states: int,
        options: Sequence[Any],
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        inputs = [t.inner.float().detach().requires_grad_(True) for t in tensors]  # type: ignore[attr-defined]
        x, before, flat = inputs[0], inputs[1 : 1 + states], inputs[1 + states :]
        with torch.enable_grad(), torch._C._DisableAutocast():
            found = function(x, tuple(before) if states == 2 else before[0], flat, *options)
        ctx.set_materialize_grads(False)
        ctx.inputs, ctx.found, ctx.dtype, ctx.trains = inputs, found, tensors[0].dtype, options[3]
        COUNTS.launch("cudnn_rnn")
        return tuple(PretendedTensor(t.detach().to(tensors[0].dtype)) for t in found)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        if not ctx.trains:
            raise RuntimeError("cudnn RNN backward can only be called in training mode")
        COUNTS.launch("cudnn_rnn_backward")
        both = zip(grads, ctx.found, strict=True)
        given = [torch.zeros_like(t) if g is None else inner_of(g).float() for g, t in both]
        found = torch.autograd.grad(ctx.found, ctx.inputs, given, allow_unused=True)
        return (
            None,
            None,
            None,
            *(None if g is None else PretendedTensor(g.to(ctx.dtype)) for g in found),
        )
