"""Sample text from any language model: options, filters of a distribution, whole reviews, reviews piece by piece."""

from __future__ import annotations

from ..completion.suggestions import suggest
from ..sampling_options import Sampling
from .filters import pick
from .generation import GeneratedText, generate, generate_rated, stream

__all__ = ["GeneratedText", "Sampling", "generate", "generate_rated", "pick", "stream", "suggest"]
