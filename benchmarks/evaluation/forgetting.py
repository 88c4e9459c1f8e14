"""Simulate how often the rule "no forgetting" refuses challengers equal or worse on the champion's own reviews.

    python -m benchmarks.evaluation.forgetting

Reviews and scores are drawn as in `benchmarks/evaluation/gate.py`. A challenger is refused if the whole confidence
interval of its loss is above `promotion.max_champion_loss`.
"""

from __future__ import annotations

import json
import sys

import numpy as np

from benchmarks.evaluation.gate import share
from benchmarks.evaluation.gate_worlds import WORLDS, World
from reviewlm.core.config.sections.evaluation import PromotionConfig
from reviewlm.evaluation.statistics.gain_interval import Ratio, cautious_intervals

POLICY = PromotionConfig()
LIMIT = POLICY.max_champion_loss or 0.0
PLAN = {
    100: (0.0, LIMIT, 0.05, 0.10),
    1_000: (0.0, LIMIT, 0.022, 0.03),
    5_000: (0.0, LIMIT, 0.016, 0.02),
}
TRIALS = 200
RESAMPLES = 500
AT_ONCE = 50


def refused(
    world: World,
    reviews: int,
    loss: float,
    trials: int = TRIALS,
    seed: int = 7,
) -> int:
    """Return how many of *trials* challengers are refused that need 1 + *loss* times the champion's bits on average."""
    found = 0
    for first in range(0, trials, AT_ONCE):
        numbers = range(first, min(trials, first + AT_ONCE))
        draws = [
            world.draw(np.random.default_rng([seed, reviews, trial]), reviews, -loss)
            for trial in numbers
        ]
        ratios = [Ratio(drawn.challenger_D, drawn.champion_D, drawn.bytes_D) for drawn in draws]
        options = {
            "confidence": POLICY.confidence,
            "resamples": RESAMPLES,
            "seed": first + 1,
        }
        found += sum(level.low - 1 > LIMIT for level in cautious_intervals(ratios, **options))  # type: ignore[arg-type]

    return found


def main() -> None:
    """Run the simulation and write one line of JSON for each world, number of reviews and loss."""
    cases = [(WORLDS[0], reviews, loss) for reviews, losses in PLAN.items() for loss in losses]
    cases += [(world, 300, loss) for world in WORLDS[1:] for loss in (0.0, LIMIT)]
    for world, reviews, loss in cases:
        counted = share(refused(world, reviews, loss), TRIALS)
        counted["refused"] = counted.pop("promoted")
        sys.stdout.write(
            json.dumps(
                {
                    "world": world.name,
                    "reviews": reviews,
                    "loss": loss,
                    **counted,
                }
            )
            + "\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
