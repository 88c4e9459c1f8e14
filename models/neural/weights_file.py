"""Write and read the weights of a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..base import ModelError
from .network import Network
from .spec import WEIGHTS, NPLMSpec, RecurrentSpec


def require_weights_for(spec: RecurrentSpec | NPLMSpec, vocabulary_size: int, path: Path) -> None:
    """Refuse a file that is far too small for the options, before memory is allocated for a network of that size.

    Raises:
        ModelError: kind "bundle".
    """
    inner = spec.layers * spec.hidden if isinstance(spec, RecurrentSpec) else spec.context * spec.embedding
    least = 4 * (vocabulary_size * spec.embedding + inner * spec.hidden)
    size = path.stat().st_size if path.is_file() else least
    if size < least:
        raise ModelError(f"{path} has {size:,} bytes; a model of its options has over {least:,}", "bundle")


def fill_from(network: Network, folder: Path) -> None:
    """Put the weights of a bundle's folder into a network.

    Raises:
        ModelError: kind "bundle": the file cannot be read, or belongs to another network.
    """
    try:
        weights = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"The weights in {folder / WEIGHTS} cannot be read: {error}", "bundle") from error
    try:
        fill_network(network, weights)
    except ValueError as error:
        raise ModelError(f"The weights in {folder} do not fit the model's options: {error}", "bundle") from error
    network.file = folder / WEIGHTS


def stored_once(network: nn.Module) -> dict[str, Tensor]:
    """Return the state dict (the tensors themselves) with tied tensors only under their first name."""
    unique: dict[int | str, tuple[str, Tensor]] = {}
    for name, tensor in network.state_dict().items():
        # Empty tensors all have address 0 without being the same.
        unique.setdefault(tensor.data_ptr() or name, (name, tensor))
    return dict(unique.values())


def network_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return copies (on the CPU) of all weights and buffers; a tensor with two names (tied) only once."""
    return {name: tensor.to("cpu", copy=True) for name, tensor in stored_once(network).items()}


def fill_network(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load the result of `network_tensors` into a network.

    Raises:
        ValueError: As `require_weights`.
    """
    require_weights(network, tensors)
    network.load_state_dict(dict(tensors), strict=False)  # the second name of a tied tensor is missing on purpose


def require_weights(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless the tensors are exactly those of a network, each of its shape."""
    shapes = {name: tuple(tensor.shape) for name, tensor in stored_once(network).items()}
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if shapes != given:
        name = min(set(shapes.items()) ^ set(given.items()))[0]
        raise ValueError(f"{name} is {given.get(name, 'absent')} there and {shapes.get(name, 'absent')} in the network")


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under the names "PREFIX/NAME"."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of one prefix under their names without it."""
    return {name[len(prefix) + 1 :]: value for name, value in tensors.items() if name.startswith(prefix + "/")}
