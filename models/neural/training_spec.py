"""Define the options of neural training, importable without torch; `models/specs.py` re-exports them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..options import (
    Count,
    NotNegative,
    Number,
    OnlyWith,
    OrNone,
    PositiveToLargest,
    Seed,
    Share,
    ShareBelowOne,
    Whole,
    options,
    require,
)

Optimizer = Literal[
    "adamw", "adam", "adam_simplified", "gd", "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adadelta",
    "nt_asgd",
]  # fmt: skip
"""Names of the optimisers, which `training/neural/optimization/optimizers.py` explains."""
WITH_MOMENTUM = ("momentum", "nesterov", "rmsprop", "adadelta")
WITH_BETAS = ("adamw", "adam", "adam_simplified")


@options
class TrainingSpec:
    """Options of a neural fit: optimiser, schedule, truncated BPTT.

    Args:
        epochs: Passes over the training tokens; a fraction is allowed.
        batch: Streams trained side by side.
        bptt_len: k1, tokens between two updates.
        bptt_grad_len: k2, tokens through which the gradient flows back; None means k2 = k1.
        learning_rate: Peak of the schedule.
        warmup: Share of all updates in which the rate rises linearly from 0.
        final_rate: For the schedules "cosine", "linear" and "trapezoid": share of the peak at the end of the decay.
        weight_decay: Decoupled decay of weight matrices.
        beta1: For "adamw", "adam" and "adam_simplified": decay of the gradient mean.
        beta2: For the same: decay of the squared-gradient mean.
        clip: Largest norm of the gradient; None ("none" in a preset) does not clip.
        state_reset_prob: Chance per window and stream of starting from the zero state, so that a stream's start is
            trained too.
        evaluations: Number of measurements of validation perplexity; the best of these states is the result.
        precision: Number format of the matrix products; parameters and optimiser state are always float32. "bf16" is
            float32 on a CPU that has no instructions for bfloat16.
        seed: For initialisation, dropout and order.
        optimizer: A rule of `training/neural/optimization/optimizers.py`.
        momentum: γ of "momentum", "nesterov" and "rmsprop", ρ of "adadelta".
        l2: λ of the penalty λ‖θ‖² of the weight matrices. Unlike `weight_decay`, its gradient 2 λ θ goes through the
            optimiser; it is added after clipping.
        schedule: Decay of the rate after the warm-up: "cosine" or "linear" to `final_rate`, "constant", "plateau":
            divided by 4 after an evaluation without improvement, as word_language_model does, or "trapezoid": constant,
            then linear to `final_rate` in the last 30 % of all updates. The best state is chosen among the evaluations
            of this part. Before it, a trapezoid does not depend on the number of updates, so a training may decide
            there how long it will be (`--minutes`).
        clip_value: Largest absolute value of an entry of the gradient, applied before `clip`.
        random_window: Draw a new length for each window and scale the rate with it (AWD-LSTM): mostly about
            `bptt_len`, 5 % of the time about half of it.
        stateful: Carry the state on from one review to the next of its stream; false: every review starts from the
            zero state, packed one after another without padding.
        micro_batch: Streams read at a time; their gradients are summed before the update. None reads all. Changes
            memory, not the result beyond rounding and the draws of dropout. Halved when memory does not suffice.
        ema: Decay of an exponential average of the weights, which is evaluated and kept; 0 averages nothing.
        activation_penalty: α of α · mean(h²) over the last layer's dropped-out outputs (Merity et al. 2017).
        temporal_penalty: β of β · mean((h_t − h_{t+1})²) over the last layer's outputs.
        loss_spike_threshold: Rise of a window's training loss above its running mean, in nats per token, that counts as
            divergence (a window has a share of 1/100 in the mean). None: only numbers that are not finite count.
        start: "fresh" weights, or those of the "champion" if it has the same shape and vocabulary.
        patience: n of "nt_asgd": its average begins at an evaluation that is worse than the best of those more than n
            before it, so at evaluation n + 2 at the earliest: set `evaluations` well above that.

    An option that has no effect with the others must keep its default, else it is an error (`models/options.py`).
    """

    epochs: Annotated[Number, Field(gt=0, le=1_000_000)] = 3.0
    batch: Annotated[Whole, Field(ge=1, le=1_000_000)] = 20
    bptt_len: Annotated[Whole, Field(ge=1, le=1_000_000)] = 50
    bptt_grad_len: Annotated[Count | None, OrNone] = None
    learning_rate: PositiveToLargest = 3e-3
    warmup: Share = 0.1
    final_rate: Annotated[Share, OnlyWith("schedule", ("cosine", "linear", "trapezoid"))] = 0.02
    weight_decay: NotNegative = 0.01
    beta1: Annotated[ShareBelowOne, OnlyWith("optimizer", WITH_BETAS)] = 0.9
    beta2: Annotated[ShareBelowOne, OnlyWith("optimizer", WITH_BETAS)] = 0.99
    clip: Annotated[PositiveToLargest | None, OrNone] = 1.0
    state_reset_prob: Annotated[Share, OnlyWith("stateful", (True,))] = 0.02
    evaluations: Count = 8
    precision: Literal["bf16", "float32"] = "bf16"
    seed: Seed = 1
    optimizer: Optimizer = "adamw"
    momentum: Annotated[ShareBelowOne, OnlyWith("optimizer", WITH_MOMENTUM)] = 0.9
    l2: NotNegative = 0.0
    schedule: Literal["cosine", "linear", "constant", "plateau", "trapezoid"] = "cosine"
    clip_value: Annotated[PositiveToLargest | None, OrNone] = None
    random_window: bool = False
    stateful: bool = True
    micro_batch: Annotated[Count | None, OrNone] = None
    ema: ShareBelowOne = 0.0
    activation_penalty: NotNegative = 0.0
    temporal_penalty: NotNegative = 0.0
    loss_spike_threshold: Annotated[PositiveToLargest | None, OrNone] = None
    start: Literal["fresh", "champion"] = "fresh"
    patience: Annotated[Count, OnlyWith("optimizer", ("nt_asgd",))] = 5

    def __post_init__(self) -> None:
        if (length := self.bptt_grad_len) is not None:
            require(length >= self.bptt_len, "bptt_grad_len", length, f"at least bptt_len = {self.bptt_len}")
        within = self.micro_batch is None or self.micro_batch <= self.batch
        require(within, "micro_batch", self.micro_batch, f"between 1 and batch = {self.batch}")
        one = self.ema == 0 or self.optimizer != "nt_asgd"
        require(one, "ema", self.ema, "0 for 'nt_asgd', which has its own average")

    @property
    def penalises_activations(self) -> bool:
        """Whether the recipe has a penalty on the outputs of the last recurrent layer."""
        return self.activation_penalty > 0 or self.temporal_penalty > 0
