"""Compare optimisers on one small network, each at several learning rates: only the rule of the step differs.

Every trial is a whole fit by the trainer, from the same initial weights, over the same windows in the same order.
Weight decay is 0 in all trials, because a decoupled decay grows with the rate, and the best rates of the rules differ
by a factor of a thousand: a rule is only compared at its own best rate. "gd" takes one step per epoch, from all windows
at once; "nt_asgd" keeps its rate constant. The rules are written out in `course/optimization/rules.py`.

    python -m reviewlm.course.optimization.optimizers --rules sgd,momentum,adagrad,adamw [--text reviews.txt]
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reviewlm.course.inputs import SplitReviews, data_of, fit_model_here, program, show, small_lstm
from reviewlm.models.base import ModelError
from reviewlm.models.options import as_written, without_inapplicable

if TYPE_CHECKING:
    from reviewlm.models.specs import RecurrentSpec

PLAIN = (4.0, 16.0, 64.0)
GATHERED = (0.4, 1.6, 6.4)
ADAPTIVE = (0.01, 0.03, 0.1)
GRID = {
    "gd": PLAIN,
    "sgd": PLAIN,
    "nt_asgd": PLAIN,
    "momentum": GATHERED,
    "nesterov": GATHERED,
    "adagrad": (0.1, 0.3, 1.0),
    "adadelta": (16.0, 64.0, 256.0),
    "rmsprop": ADAPTIVE,
    "adam": ADAPTIVE,
    "adamw": ADAPTIVE,
}
"""Rates to try."""
WINDOWS_AT_A_TIME = 256
"""Windows of the full batch whose activations are in memory at a time."""


def trial_spec(
    spec: RecurrentSpec,
    rule: str,
    rate: float,
    data: SplitReviews,
) -> RecurrentSpec:
    """Return the options of one trial: the rule and its rate, and what the rule needs."""
    changed: dict[str, Any] = {
        "optimizer": rule,
        "learning_rate": rate,
        "weight_decay": 0.0,
    }
    if rule == "gd":
        windows = max(1, -(-(len(data.train.ids) - 1) // spec.training.bptt_len))
        changed |= {"batch": windows, "micro_batch": min(WINDOWS_AT_A_TIME, windows)}
    if rule == "nt_asgd":
        changed |= {"schedule": "constant"}  # it has an average of its own
    with as_written():
        trial = replace(spec, training=replace(spec.training, **changed))
    return without_inapplicable(trial)  # type: ignore[no-any-return]


def main() -> None:
    """Fit every rule at every rate and show validation losses, the best rule first."""
    options = program(
        __doc__,
        rules=",".join(GRID),
        reviews=600,
        epochs=3.0,
    ).parse_args()
    data = data_of(options)
    small = small_lstm(options.seed, hidden=64, dropout=0.0)
    small = replace(small, training=replace(small.training, epochs=options.epochs))
    rows: list[dict[str, Any]] = []
    for rule in options.rules.split(","):
        nats: dict[float, float] = {}
        for rate in GRID[rule]:
            try:
                result = fit_model_here(trial_spec(small, rule, rate, data), data)
                nats[rate], updates = (
                    result.summary["validation_nats"],
                    int(result.summary["updates"]),
                )
            except ModelError as error:
                if error.kind != "diverged":
                    raise
                nats[rate] = math.inf
        best = min(nats, key=lambda rate: nats[rate])
        rows.append(
            {
                "rule": rule,
                "updates": updates,
                "best rate": f"{best:g}",
                "validation nats": nats[best],
                "all": ", ".join(f"{rate:g}: {value:.3f}" for rate, value in nats.items()),
            }
        )
        print(f"{rule}: {nats[best]:.3f} nats at {best:g}", flush=True)

    show(sorted(rows, key=lambda row: float(row["validation nats"])))


if __name__ == "__main__":
    main()
