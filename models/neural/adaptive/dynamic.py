"""Adapt a neural model to the text that it scores, by gradient steps on that text (dynamic evaluation).

A stream is read in segments: one token that has been read, and the n that follow it. All n are predicted with the
current weights. Then the gradient of their mean nats, through these n tokens, changes the weights
(`models/neural/adaptive/dynamic_rule.py`). The last token is read again, as the first of the next segment. So no
token's probability depends on itself or on later tokens, and every distribution sums to 1 as exactly as the static
model's. The network's memory is carried on; text before a segment is not read again with the new weights.

Every stream has its own weights, starting from the static ones. Streams are read one by one for any batch, and each
gives the same answers as if it were alone. The beginning of a document resets the weights to the static ones unless the
spec says "across" (the network's memory goes on, as in the static model). A state of B streams holds up to B copies of
all weights. Beyond `KEPT_BYTES` the weights of a stream are dropped, and learnt again from its tokens when it goes on.

B. Krause, E. Kahembwe, I. Murray and S. Renals (2018), "Dynamic evaluation of neural sequence models", ICML;
T. Mikolov, M. Karafiát, L. Burget, J. Černocký and S. Khudanpur (2010), "Recurrent neural network based language
model", Interspeech, whose network learns while it is tested.

Shapes: see `models/base.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...atomic_files import save_tensors
from ...base import FitContext, FitResult, LanguageModel, ModelError
from ...mixture.parts import Part, journal_tuning, load_parts, open_parts, read_facts, save_parts, write_facts
from ...mixture.tuning import TuningBatch
from ...predictions import Predictions
from ...specs import DynamicSpec
from ..training.training_metrics import perplexity
from .dynamic_rule import DynamicRule, Weights, root_mean_squares, twin, weights_of
from .dynamic_stream import Stream, StreamReader
from .variants import held_out, neural_model

if TYPE_CHECKING:
    from ...streams import TokenStream
    from ...tokens.vocabulary import Vocabulary

FACTS, STATISTICS = "dynamic.json", "root_mean_squares.safetensors"
READ = 256
"""Tokens whose distributions are in memory at a time; does not change the result."""
KEPT_BYTES = 1 << 30
"""Most bytes of adapted weights that a state holds after `score` or `step`; those of one stream are always kept."""


@dataclass(frozen=True)
class DynamicState:
    """The state of B streams, each independent of the others."""

    streams: tuple[Stream, ...]

    def take(self, rows: Sequence[int]) -> Self:
        """Return the state of the chosen streams, in the order given; a row may be taken more than once."""
        return type(self)(tuple(self.streams[int(row)] for row in rows))

    @classmethod
    def join(cls, states: Sequence[Self]) -> Self:
        """Return one state of all streams, one after another."""
        return cls(tuple(stream for state in states for stream in state.streams))


class DynamicLM:
    """A neural model under dynamic evaluation.

    Args:
        spec: Segment length, and whether adaptation goes on across documents.
        part: The static model with its spec; never changed.
        rate: η.
        decay: λ.
        rms: Root mean square of each weight's gradients, for the rule "rms".

    Raises:
        ModelError: kind "input": the part is not a neural model.
    """

    adaptation = "dynamic evaluation"

    def __init__(self, spec: DynamicSpec, part: Part, rate: float, decay: float, rms: Weights | None = None) -> None:
        self.spec, self.part = spec, part
        self.model = neural_model(part, "dynamic evaluation")
        self.vocabulary_size = self.model.vocabulary_size
        self.rate, self.decay, self.rms = float(rate), float(decay), rms
        rule = DynamicRule(weights_of(self.model.network), self.rate, self.decay, rms, spec.epsilon)
        self.reader = StreamReader(self.model, rule, spec.segment, spec.across)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The static model, as the only part."""
        return (self.part,)

    def start(self, batch: int) -> DynamicState:
        """Return the state of *batch* streams before their first token."""
        return DynamicState((self.reader.start(),) * batch)

    def score(self, ids_BT: np.ndarray, state: DynamicState) -> tuple[np.ndarray, DynamicState]:
        """Read T tokens of each stream; see `LanguageModel.score`. A segment costs about as much as training on it."""
        nats_BT, after, held = np.zeros(ids_BT.shape), [], set[int]()
        self.model.ids_tensor(ids_BT)  # refuses unknown ids before anything is read
        for row, stream in enumerate(state.streams):
            nats_BT[row], stream = self.reader.read(np.asarray(ids_BT[row], np.int64), stream)
            after.append(self._kept(stream, held))
        return nats_BT, DynamicState(tuple(after))

    def predictions(self, ids_BT: np.ndarray, wanted_BT: np.ndarray) -> Iterator[Predictions]:
        """Yield the distributions at the wanted positions; see `models/predictions.py`.

        This costs one more pass over each segment than `score`. Single steps would read every segment many times.
        """
        self.model.ids_tensor(ids_BT)
        for row, (ids_T, wanted_T) in enumerate(zip(ids_BT, wanted_BT, strict=True)):
            stream = self.reader.start()
            for begin in range(0, int(np.flatnonzero(wanted_T).max(initial=-1)) + 1, READ):
                part = slice(begin, begin + READ)
                found, stream = self.reader.predictions(ids_T[part], wanted_T[part], stream)
                for places_N, logp_NV in found:
                    yield Predictions(np.full(len(places_N), row), begin + places_N, logp_NV)

    def step(self, ids_B: np.ndarray, state: DynamicState) -> tuple[Tensor, DynamicState]:
        """Read one token of each stream; see `LanguageModel.step`. The current segment is read again from its start.

        Streams that are the same object and read the same token are read once.
        """
        self.model.ids_tensor(ids_B)
        known: dict[tuple[int, int], int] = {}
        different: list[tuple[Tensor, Stream]] = []
        which_B, held = [], set[int]()
        for token, stream in zip(np.asarray(ids_B, np.int64), state.streams, strict=True):
            key = id(stream), int(token)
            if key not in known:
                known[key] = len(different)
                _, after = self.reader.read(token[None], stream)
                different.append((self.reader.next_logp(after), self._kept(after, held)))
            which_B.append(known[key])
        logp_BV = torch.stack([logp_V for logp_V, _ in different])[torch.tensor(which_B, device=self.model.device)]
        return logp_BV, DynamicState(tuple(different[number][1] for number in which_B))

    def _kept(self, stream: Stream, held: set[int]) -> Stream:
        """Return the stream, without its own weights if those of other streams already use up `KEPT_BYTES`.

        Args:
            stream: Just read.
            held: Identities of the weights that are kept; new ones are added.
        """
        weights = stream.segment.weights if stream.segment else None
        if weights is None or id(weights) in held:
            return stream
        if held and len(held) >= KEPT_BYTES // sum(weight.nbytes for weight in weights):
            return replace(stream, segment=None)
        held.add(id(weights))
        return stream

    def save(self, folder: Path) -> None:
        """Write rate and decay into `dynamic.json`, the root mean squares if any, and the static model below it."""
        if self.rms is not None:
            rms = {name: r.cpu().contiguous() for name, r in zip(self._names(), self.rms, strict=True)}
            save_tensors(save_file, rms, folder / STATISTICS)
        write_facts(folder / FACTS, {"rate": self.rate, "decay": self.decay, "parts": save_parts(folder, [self.part])})

    def _names(self) -> list[str]:
        return [name for name, _ in self.model.network.named_parameters()]

    @classmethod
    def load(cls, folder: Path, spec: DynamicSpec, vocabulary: Vocabulary, device: str = "cpu") -> DynamicLM:
        """Open a saved model and the static model in it.

        Raises:
            ModelError: kind "bundle": a file is missing or damaged, or belongs to another network.
        """
        facts = read_facts(Path(folder) / FACTS)
        part = load_parts(Path(folder), facts["parts"], vocabulary, device)[0]
        model = cls(spec, part, facts["rate"], facts["decay"])
        if spec.rule == "sgd":
            return model
        try:
            found = load_file(Path(folder) / STATISTICS, device=device)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"the statistics in {folder} cannot be read: {error}", "bundle") from error
        shapes = {name: own.shape for name, own in model.model.network.named_parameters()}
        if {name: r.shape for name, r in found.items()} != shapes:
            raise ModelError(f"{folder} holds statistics of another network", "bundle")
        return cls(spec, part, facts["rate"], facts["decay"], tuple(found[name] for name in model._names()))

    @classmethod
    def fit(
        cls, spec: DynamicSpec, vocabulary: Vocabulary, train: TokenStream, validation: TokenStream, context: FitContext
    ) -> FitResult:
        """Choose rate and decay on *validation*; see `tuned`.

        Raises:
            ModelError: kind "input": no held-out token, or `context.parts` lacks the static neural model; "diverged".
        """
        for stream in (train, validation):
            stream.require(vocabulary)
        result = cls.tuned(spec, open_parts(spec.parts, vocabulary, context)[0], train, validation)
        journal_tuning(context, result.summary)
        return result

    @classmethod
    def tuned(cls, spec: DynamicSpec, part: Part, train: TokenStream, validation: TokenStream) -> FitResult:
        """Choose the rate that makes held-out text most probable at the first decay, then the decay at that rate.

        The summary has rate and decay, the number of tokens they were chosen on, and perplexities on these tokens,
        adapting and static. The adapting one is optimistic, because two numbers were chosen on the same tokens.

        Raises:
            ModelError: kind "input": no held-out token, or the part is not a neural model; kind "diverged": no rate
                gives finite nats.
        """
        texts = list(held_out(validation, spec.tuning_tokens, spec.across))
        network = twin(neural_model(part, "dynamic evaluation").network)
        rms = root_mean_squares(network, train, spec.segment, spec.statistics_tokens) if spec.rule == "rms" else None

        def measured(rate: float, decay: float) -> tuple[float, DynamicLM]:
            model = cls(spec, part, rate, decay, rms)
            return mean_nats(model, texts), model

        nats, best = min((measured(rate, spec.decays[0]) for rate in spec.candidate_rates), key=itemgetter(0))
        others = [measured(best.rate, decay) for decay in spec.decays[1:]]
        nats, best = min([(nats, best), *others], key=itemgetter(0))
        if not isfinite(nats):
            raise ModelError(f"no rate of {spec.candidate_rates} gives a finite loss on the held-out text", "diverged")
        static = mean_nats(part.model, texts)
        tokens = float(sum(text.scored_BT.sum() for text in texts))
        summary = {"tokens": tokens, "validation/nats": nats, "validation/perplexity": perplexity(nats)}
        summary |= {"validation/perplexity_static": perplexity(static), "rate": best.rate, "decay": best.decay}
        return FitResult(best, summary)


def mean_nats(model: LanguageModel, texts: Sequence[TuningBatch]) -> float:
    """Return nats per token of held-out text, infinite where they are not finite."""
    nats = [model.score(text.ids_BT, model.start(len(text.ids_BT)))[0][text.scored_BT] for text in texts]
    mean = float(np.concatenate(nats).mean())
    return mean if isfinite(mean) else inf
