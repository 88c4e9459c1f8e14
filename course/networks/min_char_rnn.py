"""Train a minimal recurrent language model in NumPy: characters, one tanh layer.

After an idea of Karpathy's ("The unreasonable effectiveness of recurrent neural networks", 2015). The mathematics is
that of `bptt.py`, with the identity as embedding: a character is read as its one-hot vector. The text is read window by
window; the hidden state is carried on, its gradient is cut. Every entry of the gradient is clipped, and Adagrad (Duchi
et al. 2011) takes the step:

    g ← min(max(∂J/∂θ, −5), 5)
    m ← m + g²
    θ ← θ − η g / √(m + ε)

To see it learn: `python -m reviewlm.course.networks.min_char_rnn`, or with a FILE of your own text.

Shapes: N characters, H hidden units, T window.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np

from reviewlm.course.networks.bptt import Elman, backward, forward, step
from reviewlm.models.base import ModelError

TRAINED = "W", "U", "b", "V", "c"
"""All parameters except C, which stays the identity."""
INITIAL_STD = 0.01
EPSILON = 1e-8
SMOOTHING = 0.999
"""Decay of the displayed average of the loss."""
MADE_REVIEWS = 1_000
"""Number of reviews of the embedded grammar that are read where no file is given."""
DIVERGED = "training has diverged, a smaller learning rate is needed"


@dataclass(frozen=True)
class CharacterProgress:
    """The progress of a training.

    Args:
        updates: Windows read.
        nats: Loss in nats per character, an average in which a loss of k updates ago weighs `SMOOTHING`ᵏ.
        h: Hidden state after the last window (H).
        following: Index of the next character in the text, not read yet.
    """

    updates: int
    nats: float
    h: np.ndarray
    following: int


class CharacterModel:
    """The parameters of a character model and its characters.

    Args:
        text: The model knows exactly the characters that occur in it.
        hidden: H.
        seed: For the initial weights.

    Raises:
        ModelError: kind "input": fewer than two different characters, so that there is nothing to predict.
    """

    def __init__(
        self,
        text: str,
        hidden: int = 100,
        seed: int = 1,
    ) -> None:
        self.characters = sorted(set(text))
        if len(self.characters) < 2:
            raise ModelError(
                f"the text has {len(self.characters)} different characters; at least 2 are needed",
                "input",
            )

        self.index = {character: index for index, character in enumerate(self.characters)}
        rng = np.random.default_rng(seed)
        count = len(self.characters)
        self.parameters = Elman(
            C=np.eye(count),
            W=rng.normal(0, INITIAL_STD, (hidden, count)),
            U=rng.normal(0, INITIAL_STD, (hidden, hidden)),
            b=np.zeros(hidden),
            V=rng.normal(0, INITIAL_STD, (count, hidden)),
            c=np.zeros(count),
        )

    def encode(self, text: str) -> np.ndarray:
        """Return the index of each character.

        Raises:
            ModelError: kind "input": a character that the model does not know.
        """
        unknown = sorted(set(text) - set(self.characters))
        if unknown:
            raise ModelError(f"the model does not know {', '.join(map(repr, unknown))}", "input")
        return np.array([self.index[character] for character in text], dtype=np.int64)

    def sample(
        self,
        first: int,
        h: np.ndarray,
        count: int,
        rng: np.random.Generator,
    ) -> str:
        """Return *count* characters drawn one after another, each from the distribution after those before it.

        Args:
            first: Index of the character that is read before the first one is drawn.
            h: State before it is read (H).
            count: Characters to draw.
            rng: Random generator for the draws.

        Raises:
            ModelError: kind "diverged": the weights give no distribution.
        """
        drawn = []
        character = first
        for _ in range(count):
            with np.errstate(all="ignore"):
                h, p_N = step(self.parameters, character, h)
            if not np.isfinite(p_N).all():
                raise ModelError(DIVERGED, "diverged")
            character = int(rng.choice(len(p_N), p=p_N))
            drawn.append(self.characters[character])

        return "".join(drawn)


def clip_entries(gradient: Elman, limit: float) -> None:
    """Clip every entry of the gradient to [−limit, limit], in place."""
    for name in TRAINED:
        entries = getattr(gradient, name)
        np.clip(entries, -limit, limit, out=entries)


class Adagrad:
    """Adagrad: entry by entry, steps become smaller where gradients have been large.

    Args:
        parameters: Changed in place.
        rate: η.
    """

    def __init__(self, parameters: Elman, rate: float) -> None:
        self.parameters = parameters
        self.rate = rate
        self.squares = {name: np.zeros_like(getattr(parameters, name)) for name in TRAINED}

    def step(self, gradient: Elman) -> None:
        """Take one step against the gradient."""
        for name, m in self.squares.items():
            g = getattr(gradient, name)
            m += g * g
            getattr(self.parameters, name)[...] -= self.rate * g / np.sqrt(m + EPSILON)


def train(
    model: CharacterModel,
    text: str,
    window: int = 25,
    rate: float = 0.1,
    clip: float = 5.0,
) -> Iterator[CharacterProgress]:
    """Read the text again and again, one update per window; yield after each update, without end.

    Args:
        model: Changed in place.
        text: After its end, training goes on from its beginning with a state of 0.
        window: T.
        rate: η of Adagrad.
        clip: Largest absolute value of an entry of the gradient, which is that of the sum over the window.

    Raises:
        ModelError: kind "input": the text is shorter than two characters, or has unknown ones; kind "diverged": the
            loss of a window is not a finite number.
    """
    ids = model.encode(text)
    optimizer = Adagrad(model.parameters, rate)
    if len(ids) < 2:
        raise ModelError("the text has fewer than 2 characters, so none has a next one", "input")

    total = 0.0
    weight = 0.0
    updates = 0
    while True:
        h = np.zeros_like(model.parameters.b)
        for begin in range(0, len(ids) - 1, window):
            targets = ids[begin + 1 : begin + 1 + window]
            words = ids[begin : begin + len(targets)]
            # Overflows end in a loss that is not finite, checked below.
            with np.errstate(all="ignore"):
                loss, memory = forward(model.parameters, words, targets, h)
                if not isfinite(loss):
                    raise ModelError(
                        f"update {updates + 1}: the loss is {loss:g}: {DIVERGED}", "diverged"
                    )
                gradient, _ = backward(model.parameters, words, targets, memory)
                clip_entries(gradient, clip)
                optimizer.step(gradient)
            h = memory.h[-1]
            updates += 1
            total = SMOOTHING * total + loss / len(targets)
            weight = SMOOTHING * weight + 1
            yield CharacterProgress(updates, total / weight, h, int(targets[-1]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Train on a text and print samples from time to time; end after `--updates` or by Ctrl-C."""
    parser = argparse.ArgumentParser(
        "python -m reviewlm.course.networks.min_char_rnn", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "file",
        type=Path,
        nargs="?",
        help=f"any text in UTF-8 (default: {MADE_REVIEWS} reviews of the embedded grammar)",
    )
    for name, default, meaning in (
        ("hidden", 100, "units of the hidden layer"),
        ("window", 25, "characters the gradient flows back through"),
        ("updates", 20_000, "windows to read"),
        ("every", 1_000, "updates between two samples"),
        ("sample", 200, "characters of a sample"),
        ("seed", 1, "of weights and samples"),
    ):
        parser.add_argument(
            f"--{name}",
            type=int,
            default=default,
            help=f"{meaning} (default: {default})",
        )

    parser.add_argument(
        "--rate",
        type=float,
        default=0.1,
        help="learning rate of Adagrad (default: 0.1)",
    )
    options = parser.parse_args(arguments)
    least = {
        "hidden": 1,
        "window": 1,
        "updates": 1,
        "every": 1,
        "sample": 0,
        "seed": 0,
    }
    for name, low in least.items():
        if getattr(options, name) < low:
            parser.error(f"--{name} is {getattr(options, name)}; it must be at least {low}")

    if not 0 < options.rate < float("inf"):
        parser.error(f"--rate is {options.rate}; it must be above 0 and finite")

    try:
        _show(options, _text_of(options.file))
    except (OSError, UnicodeDecodeError, ModelError) as error:
        diverged = isinstance(error, ModelError) and error.kind == "diverged"
        parser.error(
            f"--rate {options.rate:g}: {error}" if diverged else f"{options.file}: {error}"
        )
    except KeyboardInterrupt:
        print()


def _text_of(file: Path | None) -> str:
    if file is not None:
        return file.read_text(encoding="utf-8")

    from reviewlm.course.inputs import review_table  # it imports polars, which a file does not need

    return "\n".join(review_table(None, MADE_REVIEWS)["text"])


def _show(options: argparse.Namespace, text: str) -> None:
    model = CharacterModel(text, options.hidden, options.seed)
    rng = np.random.default_rng(options.seed)
    print(f"{len(text)} characters, {len(model.characters)} of them different")
    for progress in train(model, text, options.window, options.rate):
        last = progress.updates == options.updates
        if last or progress.updates % options.every == 0:
            print(
                f"\n{progress.updates} updates, {progress.nats:.4f} nats per character (smoothed)"
            )
            print(model.sample(progress.following, progress.h, options.sample, rng))
        if last:
            return


if __name__ == "__main__":
    main()
