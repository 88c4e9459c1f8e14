"""Define the settings of `reviewlm punctuate`: the options of the model, and how much text it reads."""

from __future__ import annotations

from dataclasses import fields

from models.options import Count, options
from models.tagging.spec import PunctuatorSpec


@options
class PunctuationConfig(PunctuatorSpec):
    """Settings of a model that restores case and punctuation.

    Args:
        train_words: Words of the training reviews that are read at most; validation gets a tenth of that.
        test_words: Words of the test reviews that are scored at most.
    """

    train_words: Count = 2_000_000
    test_words: Count = 200_000

    @property
    def spec(self) -> PunctuatorSpec:
        """The options of the model."""
        return PunctuatorSpec(**{entry.name: getattr(self, entry.name) for entry in fields(PunctuatorSpec)})
