"""Define the options of adaptive variants of a fitted neural model, importable without numpy or torch.

Both variants change their predictions of a text while they read it. Their figures are those of an adapting model and
are stored under a separate name, never in place of the static model's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import ClassVar, Literal

from ...names import require_name
from ...options import one_of, refuse_idle, require, require_types


@dataclass(frozen=True)
class NeuralCacheSpec:
    """A neural model with the continuous cache of Grave, Joulin and Usunier (2017); see `neural_cache.py`.

    Args:
        name: Shown in tables; not part of the model's identity.
        vocabulary: Name of the vocabulary in the configuration; the same as the part's.
        part: Name of the static neural model, which comes before it in the configuration.
        thetas: Candidates for θ: 0 counts words; larger values (up to 1e6) weight similar contexts more.
        windows: Candidates for the number of tokens to look back at. The best pair on held-out text is used.
        across: Remember across the beginning of a document, where one stream holds several; then the parameters are
            also chosen on the held-out text as one continuous stream. False empties the memory there. Evaluation starts
            every review from a fresh state either way.
        tuning_tokens: Number of held-out tokens, approximately, that choose theta, window and weights.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    kind: Literal["neural_cache"] = "neural_cache"
    name: str = "lstm+cache"
    vocabulary: str = "word"
    part: str = "lstm"
    thetas: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
    windows: tuple[int, ...] = (100, 500, 2000)
    across: bool = False
    tuning_tokens: int = 100_000

    def __post_init__(self) -> None:
        require_types(self)
        require_name(self.name)
        require(self.name != self.part, "part", self.part, "another model than itself")
        _require_candidates("thetas", self.thetas, most=1e6)
        _require_candidates("windows", self.windows, least=1, most=1e7)
        require(self.tuning_tokens >= 1, "tuning_tokens", self.tuning_tokens, "at least 1")

    @property
    def parts(self) -> tuple[str, ...]:
        """The name of the static model, as the only part."""
        return (self.part,)

    @property
    def order(self) -> int:
        """Always 1: words are remembered one by one, as in a unigram cache."""
        return 1


RATES = {"rms": (0.0005, 0.001, 0.002, 0.004), "sgd": (0.03, 0.1, 0.3, 1.0)}


@dataclass(frozen=True)
class DynamicSpec:
    """Dynamic evaluation of a neural model (Krause, Kahembwe, Murray and Renals 2018); see `dynamic.py`.

    Args:
        name: Shown in tables; not part of the model's identity.
        vocabulary: Name of the vocabulary in the configuration; the same as the part's.
        part: Name of the static neural model, which comes before it in the configuration.
        rule: "sgd", or "rms": steps divided by the root mean square of the gradients on the training text.
        segment: Tokens between two updates; the gradient flows back through these.
        rates: Candidate learning rates; () uses the rule's defaults.
        decays: Candidates for the share of the way that the weights go back to the static ones at each update. The best
            rate is chosen at the first decay, then the best decay at that rate.
        epsilon: For "rms": added to the root mean square.
        statistics_tokens: For "rms": number of training tokens, approximately, read for the root mean square.
        across: Go on adapting across the beginning of a document, where one stream holds several; then rate and decay
            are also chosen on the held-out text as one continuous stream. False resets the weights there. Evaluation
            starts every review from a fresh state either way.
        tuning_tokens: Number of held-out tokens, approximately, that choose rate and decay; each candidate reads them
            all.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    kind: Literal["dynamic"] = "dynamic"
    name: str = "lstm+dynamic"
    vocabulary: str = "word"
    part: str = "lstm"
    rule: Literal["sgd", "rms"] = "rms"
    segment: int = 20
    rates: tuple[float, ...] = ()
    decays: tuple[float, ...] = (0.02, 0.0, 0.075)
    epsilon: float = 0.001
    statistics_tokens: int = 100_000
    across: bool = False
    tuning_tokens: int = 20_000

    def __post_init__(self) -> None:
        require_types(self, unbounded=("rates",))
        require_name(self.name)
        require(self.name != self.part, "part", self.part, "another model than itself")
        require(self.segment >= 1, "segment", self.segment, "at least 1")
        if self.rates:
            _require_candidates("rates", self.rates)
        _require_candidates("decays", self.decays)
        require(max(self.decays) <= 1, "decays", self.decays, "at most 1")
        require(0 < self.epsilon < float("inf"), "epsilon", self.epsilon, "above 0 and finite")
        for name in ("statistics_tokens", "tuning_tokens"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        refuse_idle(self)

    @property
    def idle(self) -> dict[str, str]:
        """Options without effect here, each with where it has one; see `models/options.py`."""
        return {} if self.rule == "rms" else dict.fromkeys(("epsilon", "statistics_tokens"), one_of("rule", ("rms",)))

    @property
    def parts(self) -> tuple[str, ...]:
        """The name of the static model, as the only part."""
        return (self.part,)

    @property
    def candidate_rates(self) -> tuple[float, ...]:
        """The learning rates to try."""
        return self.rates or RATES[self.rule]


def _require_candidates(name: str, values: Sequence[float], least: float = 0, most: float = inf) -> None:
    """Refuse an empty list of candidates, repeated ones, and numbers that are not finite or out of range."""
    fits = bool(values) and all(least <= value <= most and isfinite(value) for value in values)
    upper = f" and at most {most:g}" if isfinite(most) else ""
    require(fits, name, values, f"one or more finite numbers, each at least {least}{upper}")
    require(len(set(values)) == len(values), name, values, "different numbers")
