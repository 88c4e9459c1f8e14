"""Define the parts of the preset that `--minutes` fills in, and refuse presets without them."""

from __future__ import annotations

from core.config.run_config import RunConfig
from core.errors import ConfigError
from models.specs import RecurrentSpec

FRAME = "minutes"
"""The preset that the rule fills in."""
BASELINE, NETWORK, MIXTURE, VOCABULARY = "kn5", "lstm", "kn5+lstm", "word"
"""Names of its models and its vocabulary."""


def require_frame(config: RunConfig) -> None:
    """Refuse a preset whose models the rule cannot fill in.

    Raises:
        ConfigError: It does not extend the preset `minutes`, or changes what the rule relies on.
    """
    kinds = {spec.name: spec.kind for spec in config.models}
    schedules = {spec.training.schedule for spec in config.models if isinstance(spec, RecurrentSpec)}
    frame = {BASELINE: "ngram", NETWORK: "lstm", MIXTURE: "mixture"}
    if (kinds, schedules, set(config.vocabulary)) != (frame, {"trapezoid"}, {VOCABULARY}):
        raise ConfigError(
            "--minutes chooses the models itself, so it cannot use this preset's", where="--preset",
            value=config.preset,
            remedy=f'leave out --preset, or use one that begins with extends = "{FRAME}" and changes no models',
        )
    if fixed := [spec.name for spec in config.models if getattr(spec, "vectors", "")]:
        raise ConfigError(
            "--minutes chooses the size of the network, so it cannot start from word vectors", where="--preset",
            value=f"models.{fixed[0]}.vectors", remedy="leave them out, or run without --minutes",
        )
    if (unit := config.vocabulary[VOCABULARY].unit) != "word":
        raise ConfigError(
            "--minutes needs a vocabulary of words", where=f"vocabulary.{VOCABULARY}.unit", value=unit,
            cause="the runs that its predictions come from read words", remedy="leave it at 'word'",
        )
