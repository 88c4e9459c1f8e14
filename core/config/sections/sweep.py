"""Define the settings of sweeps over a model's options. They count for no stage's digest."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from core.config.section import Section, require_numbers
from models.options import MOST_WHOLE, Count, Seed, Whole


class SweepConfig(Section):
    """Settings of a search for better options of one model, judged on the validation split.

    A trial whose validation loss is above the median of the trials before it is pruned, once `random_trials` trials
    have finished.

    Attributes:
        model: Name of the model; may be empty if there is only one neural model.
        space: Range of each option: `"128..512"`, `"1e-4..1e-2:log"`, `"128..512:64"` (in steps), or `"adamw|sgd"`
            (choices). Options of a section are named `training.learning_rate` or written in their own table.
        trials: Trials in all.
        random_trials: The first of them, drawn at random; the others by a tree-structured Parzen estimator.
        prune_after: Number of the evaluation from which on trials are pruned.
        seeds: New seeds that the best trial is fitted again with; 0: none.
        seed: Seed of the search.
    """

    model: str = ""
    space: dict[str, Any] = Field(default_factory=dict)
    trials: Annotated[Whole, Field(ge=1, le=1_000_000)] = 20
    random_trials: Count = 6
    prune_after: Count = 2
    seeds: Annotated[Whole, Field(ge=0, le=MOST_WHOLE)] = 3
    seed: Seed = 1

    @field_validator("space")
    @classmethod
    def _numbers_of_usable_size(cls, value: dict[str, Any]) -> dict[str, Any]:
        require_numbers("space", value)
        return value

    @field_validator("seeds")
    @classmethod
    def _enough_for_an_interval(cls, value: int) -> int:
        if value == 1:
            raise ValueError("one seed gives no interval; seeds must be 0 (none) or at least 2")
        return value
