"""Define the options of neural training, importable without torch; `models/specs.py` re-exports them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from ...options import LATER, one_of, refuse_idle, require, require_types

Optimizer = Literal[
    "adamw", "adam", "adam_simplified", "gd", "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adadelta",
    "nt_asgd",
]  # fmt: skip
"""Names of the optimisers, which `models/neural/optimization/optimizers.py` explains."""
WITH_MOMENTUM = ("momentum", "nesterov", "rmsprop", "adadelta")
WITH_BETAS = ("adamw", "adam", "adam_simplified")
TO_A_FINAL_RATE = ("cosine", "linear")


@dataclass(frozen=True)
class TrainingSpec:
    """Options of a neural fit: optimiser, schedule, truncated BPTT.

    Args:
        epochs: Passes over the training tokens; a fraction is allowed.
        batch: Streams trained side by side.
        window: k1, tokens between two updates.
        backprop: k2, tokens through which the gradient flows back; None means k2 = k1.
        learning_rate: Peak of the schedule.
        warmup: Share of all updates in which the rate rises linearly from 0.
        final_rate: For the schedules "cosine" and "linear": share of the peak at the end of the decay.
        weight_decay: Decoupled decay of weight matrices.
        beta1: For "adamw", "adam" and "adam_simplified": decay of the gradient mean.
        beta2: For the same: decay of the squared-gradient mean.
        clip: Largest norm of the gradient; None ("none" in a preset) does not clip.
        reset: For `carry` "stream": chance per window and stream of starting from the zero state, so that a stream's
            start is trained too.
        evaluations: Number of measurements of validation perplexity; the best of these states is the result.
        precision: Number format of the matrix products; parameters and optimiser state are always float32. "bf16" is
            float32 on a CPU that has no instructions for bfloat16.
        seed: For initialisation, dropout and order.
        optimizer: A rule of `models/neural/optimization/optimizers.py`.
        momentum: γ of "momentum", "nesterov" and "rmsprop", ρ of "adadelta".
        l2: λ of the penalty λ‖θ‖² of the weight matrices. Unlike `weight_decay`, its gradient 2 λ θ goes through the
            optimiser; it is added after clipping.
        schedule: Decay of the rate after the warm-up: "cosine" or "linear" to `final_rate`, "constant", or "plateau":
            divided by 4 after an evaluation without improvement, as word_language_model does.
        clip_value: Largest absolute value of an entry of the gradient, applied before `clip`.
        random_window: Draw a new length for each window and scale the rate with it (AWD-LSTM): mostly about `window`,
            5 % of the time about half of it.
        carry: "stream": the state goes on from one review to the next of its stream; "review": every review starts
            from the zero state, packed one after another without padding.
        micro_batch: Streams read at a time; their gradients are summed before the update. None reads all. Changes
            memory, not the result beyond rounding and the draws of dropout. Halved when memory does not suffice.
        ema: Decay of an exponential average of the weights, which is evaluated and kept; 0 averages nothing.
        activation_penalty: α of α · mean(h²) over the last layer's dropped-out outputs (Merity et al. 2017).
        temporal_penalty: β of β · mean((h_t − h_{t+1})²) over the last layer's outputs.
        spike: Rise of a window's training loss above its running mean, in nats per token, that counts as divergence (a
            window has a share of 1/100 in the mean). None: only numbers that are not finite count.
        start: "fresh" weights, or those of the "champion" if it has the same shape and vocabulary.
        patience: n of "nt_asgd": its average begins at an evaluation that is worse than the best of those more than n
            before it, so at evaluation n + 2 at the earliest: set `evaluations` well above that.

    An option that has no effect with the others must keep its default, else it is an error (`models/options.py`).
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    epochs: float = 3.0
    batch: int = 20
    window: int = 50
    backprop: int | None = None
    learning_rate: float = 3e-3
    warmup: float = 0.1
    final_rate: float = 0.02
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.99
    clip: float | None = 1.0
    reset: float = 0.02
    evaluations: int = 8
    precision: Literal["bf16", "float32"] = "bf16"
    seed: int = 1
    optimizer: Optimizer = field(default="adamw", metadata=LATER)
    momentum: float = field(default=0.9, metadata=LATER)
    l2: float = field(default=0.0, metadata=LATER)
    schedule: Literal["cosine", "linear", "constant", "plateau"] = field(default="cosine", metadata=LATER)
    clip_value: float | None = field(default=None, metadata=LATER)
    random_window: bool = field(default=False, metadata=LATER)
    carry: Literal["stream", "review"] = field(default="stream", metadata=LATER)
    micro_batch: int | None = field(default=None, metadata=LATER)
    ema: float = field(default=0.0, metadata=LATER)
    activation_penalty: float = field(default=0.0, metadata=LATER)
    temporal_penalty: float = field(default=0.0, metadata=LATER)
    spike: float | None = field(default=None, metadata=LATER)
    start: Literal["fresh", "champion"] = field(default="fresh", metadata=LATER)
    patience: int = field(default=5, metadata=LATER)

    def __post_init__(self) -> None:
        require_types(self, unbounded=("learning_rate", "clip", "clip_value", "spike"))
        require(0 < self.epochs <= 1e6, "epochs", self.epochs, "above 0 and at most 1,000,000")
        for name in ("batch", "window"):
            value = getattr(self, name)
            require(1 <= value <= 1_000_000, name, value, "between 1 and 1,000,000")
        if self.backprop is not None:
            require(self.backprop >= self.window, "backprop", self.backprop, f"at least window = {self.window}")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "above 0 and finite")
        require(self.seed >= 0, "seed", self.seed, "at least 0")
        for name in ("warmup", "final_rate", "reset"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "between 0 and 1")
        require(self.evaluations >= 1, "evaluations", self.evaluations, "at least 1")
        for name in ("beta1", "beta2", "momentum", "ema"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
        one = self.ema == 0 or self.optimizer != "nt_asgd"
        require(one, "ema", self.ema, "0 for 'nt_asgd', which has its own average")
        for name in ("weight_decay", "l2", "activation_penalty", "temporal_penalty"):
            require(0 <= getattr(self, name) < float("inf"), name, getattr(self, name), "0 or more and finite")
        for name in ("clip", "clip_value", "spike"):
            value = getattr(self, name)
            require(value is None or 0 < value < float("inf"), name, value, "above 0 and finite, or none to do without")
        require(self.patience >= 1, "patience", self.patience, "at least 1")
        within = self.micro_batch is None or 1 <= self.micro_batch <= self.batch
        require(within, "micro_batch", self.micro_batch, f"between 1 and batch = {self.batch}")
        refuse_idle(self)

    @property
    def idle(self) -> dict[str, str]:
        """Options without effect here, each with where it has one; see `models/options.py`."""
        idle = {}
        if self.optimizer not in WITH_MOMENTUM:
            idle["momentum"] = one_of("optimizer", WITH_MOMENTUM)
        if self.optimizer not in WITH_BETAS:
            idle |= dict.fromkeys(("beta1", "beta2"), one_of("optimizer", WITH_BETAS))
        if self.optimizer != "nt_asgd":
            idle["patience"] = one_of("optimizer", ("nt_asgd",))
        if self.schedule not in TO_A_FINAL_RATE:
            idle["final_rate"] = one_of("schedule", TO_A_FINAL_RATE)
        if self.carry != "stream":
            idle["reset"] = one_of("carry", ("stream",))
        return idle
