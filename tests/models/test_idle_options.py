"""An option that has no part beside the others is refused away from its default, but read where a model has it."""

from __future__ import annotations

from typing import Any

import pytest

from models.specs import (
    ObjectiveSpec,
    TrainingSpec,
)

RECURRENT, WITHOUT_HEAD = "in a recurrent network", {"output": "softmax"}


@pytest.mark.parametrize(
    ("spec", "chosen", "name", "value", "where"),
    [
        (TrainingSpec, {}, "momentum", 0.5, "with optimizer 'momentum', 'nesterov', 'rmsprop' or 'adadelta'"),
        (TrainingSpec, {"optimizer": "sgd"}, "beta1", 0.8, "with optimizer 'adamw' or 'adam'"),
        (TrainingSpec, {"optimizer": "rmsprop"}, "beta2", 0.95, "with optimizer 'adamw' or 'adam'"),
        (TrainingSpec, {"schedule": "constant"}, "final_rate", 0.5, "with schedule 'cosine', 'linear' or 'trapezoid'"),
        (TrainingSpec, {"schedule": "plateau"}, "final_rate", 0.5, "with schedule 'cosine', 'linear' or 'trapezoid'"),
        (TrainingSpec, {"stateful": False}, "state_reset_prob", 0.1, "with stateful true"),
        (ObjectiveSpec, WITHOUT_HEAD, "head", 500, "with output 'adaptive'"),
        (ObjectiveSpec, {"output": "hierarchical"}, "head", 500, "with output 'adaptive'"),
        (ObjectiveSpec, WITHOUT_HEAD, "cutoffs", (2_000,), "with output 'adaptive'"),
        (ObjectiveSpec, WITHOUT_HEAD, "shrink", 2.0, "with output 'adaptive'"),
        (ObjectiveSpec, WITHOUT_HEAD, "samples", 64, "with estimator 'sampled' or 'nce'"),
    ],
)
def test_it_is_refused_with_the_reason_and_left_at_its_default_otherwise(
    spec: Any, chosen: dict[str, Any], name: str, value: object, where: str
) -> None:
    with pytest.raises(ValueError, match=f"^{name} is ") as refusal:
        spec(**chosen, **{name: value})
    default = getattr(spec(**chosen), name)
    left = "left out" if default is None else f"left at {default!r}"
    assert str(refusal.value).endswith(f"it must be {left}: it only takes effect {where}")
