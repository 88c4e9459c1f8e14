"""Name the parts of the preset that `--minutes` fills in, and refuse presets without them."""

from __future__ import annotations

from core.config.run_config import RunConfig
from core.errors import ConfigError

FRAME = "minutes"
"""The preset that the rule fills in."""
BASELINE, NETWORK, MIXTURE, VOCABULARY = "kn5", "lstm", "kn5+lstm", "pieces"
"""Names of its models and its vocabulary."""


def require_frame(config: RunConfig) -> None:
    """Refuse a preset whose models the rule cannot fill in.

    Raises:
        ConfigError: It does not extend the preset `minutes`.
    """
    kinds = {spec.name: spec.kind for spec in config.models}
    wanted = {BASELINE: "ngram", NETWORK: "lstm", MIXTURE: "mixture"}
    if kinds != wanted or set(config.vocabulary) != {VOCABULARY}:
        raise ConfigError(
            "--minutes chooses the models itself, so it cannot use this preset's", where="--preset",
            value=config.preset,
            remedy=f'leave out --preset, or use one that begins with extends = "{FRAME}" and changes no models',
        )
    if config.vocabulary[VOCABULARY].unit == "word":
        raise ConfigError(
            "--minutes expects a vocabulary of pieces", where=f"vocabulary.{VOCABULARY}.unit", value="word",
            cause="what it expects was measured without unknown words", remedy="leave it at 'bpe'",
        )
