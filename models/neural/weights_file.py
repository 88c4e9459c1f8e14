"""Read the weights of a network from its bundle."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from ..base import ModelError
from ..specs import NPLMSpec, RecurrentSpec
from .network import Network
from .spec import WEIGHTS
from training.neural.checkpoint import fill_network


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
