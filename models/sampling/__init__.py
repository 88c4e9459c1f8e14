"""Sample text from any language model: options, filters of a distribution, whole reviews, reviews piece by piece."""

from __future__ import annotations

from ..suggestions import Suggestions, suggest
from .filters import filter_logp, pick
from .generation import generate, stream
from .options import Sampling

__all__ = ["Sampling", "Suggestions", "filter_logp", "generate", "pick", "stream", "suggest"]
