"""Probe whether a model prefers the right word to a wrong one when the deciding words are d words back.

A probe is a beginning and two words that may follow: a right one and a wrong one. The model's preference is
log p(right | beginning) − log p(wrong | beginning) in nats; the model passes if it is above 0. Probes come in pairs
that differ in the deciding words alone: the right word of one is wrong for the other. So a model that does not look
back far enough passes one of the two, and the preferences cancel out. Half their sum is the shift: it says by how many
nats the deciding words change the odds, even if one of the two answers is always more likely. (Linzen, Dupoux &
Goldberg 2016, Marvin & Linzen 2018 and Gulordava et al. 2018 measure agreement by accuracy.) A second figure is the
probability of the right word itself, p(right | beginning), among all words that may follow.

English sentences are in `evaluation/probing/probe_sentences.py`; probes drawn from the embedded corpus are in
`evaluation/probing/grammar_probes.py`. B probes side by side, T positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from core.errors import EmptyInput
from models.tokens.vocabulary import BOS, UNK

if TYPE_CHECKING:
    from models.bundles.bundle import Bundle

SIDE_BY_SIDE = 64
ANSWERS = {
    "kind": pl.String, "distance": pl.Int64, "pair": pl.String, "beginning": pl.String, "right": pl.String,
    "wrong": pl.String, "preference": pl.Float64, "nats": pl.Float64,
}  # fmt: skip
"""Columns of the table that `probe` returns."""
ROUNDED = 9
"""Decimals of figures in nats."""
BINS = (1, 2, 3, 5, 8, 12, 18, 25, 35, 50)
"""Lower ends of the bins of distances; the last bin is open."""


@dataclass(frozen=True)
class Probe:
    """One choice between two words.

    Args:
        kind: What the probe asks, e.g. "number of the verb".
        beginning: The text so far.
        right: The word that should follow, as written in the text: with the space before it.
        wrong: The word that should not follow.
        distance: Words from the deciding word to the choice: 1 if it comes right before.
        stars: Rating of the review; 0: unknown.
        pair: Probes with the same pair name are asked together or not at all; "" makes a probe a pair alone.
    """

    kind: str
    beginning: str
    right: str
    wrong: str
    distance: int
    stars: int = 0
    pair: str = ""


class Encoded(NamedTuple):
    """Token streams of both continuations, the number of tokens they share, and the number of given tokens.

    Two words of several tokens may begin with the same tokens, so more than the beginning may be shared. Fewer tokens
    of the beginning are given if the word changes how the end of the beginning is tokenized.
    """

    right: list[int]
    wrong: list[int]
    shared: int
    given: int


class Answer(NamedTuple):
    """A model's answer to one probe, in nats: its preference, and the cost of the right word."""

    preference: float | None
    nats: float | None


def probe(
    bundle: Bundle, probes: Sequence[Probe], report: Callable[[int, int], None] = lambda done, total: None
) -> pl.DataFrame:
    """Ask a model all probes.

    Args:
        bundle: Model and vocabulary; the texts are converted to its normal form.
        report: Called with the number of probes done and their total.

    Returns:
        One row per probe, in order, with the columns `ANSWERS`. `preference` is in nats. It is null if the probe was
        skipped, because the vocabulary lacks a word of its pair or reads both words as the same; ±inf if the model
        gives exactly one of them probability 0; 0 if it gives both probability 0. `nats` is −log p(right | beginning):
        null if skipped, inf if the probability is 0. With tokens smaller than words, p is that of all words that begin
        so.

    Raises:
        EmptyInput: There are no probes.
    """
    if not probes:
        raise EmptyInput("There are no probes")
    encoded = {index: streams for index, streams in enumerate(_encode(bundle, probes)) if streams is not None}
    torn = {one.pair for index, one in enumerate(probes) if index not in encoded and one.pair}
    known = sorted(
        (index for index in encoded if probes[index].pair not in torn), key=lambda index: len(encoded[index].right)
    )
    answers = [Answer(None, None)] * len(probes)
    for first in range(0, len(known), SIDE_BY_SIDE):
        some = known[first : first + SIDE_BY_SIDE]
        for index, answer in zip(some, _answers(bundle, [encoded[index] for index in some]), strict=True):
            answers[index] = answer
        report(first + len(some), len(known))
    rows = [
        (one.kind, one.distance, one.pair or f"{index}", one.beginning, one.right, one.wrong, *answers[index])
        for index, one in enumerate(probes)
    ]
    return pl.DataFrame(rows, ANSWERS, orient="row")


def table_of(answers: pl.DataFrame, bins: Sequence[int] = BINS) -> pl.DataFrame:
    """Return one row per kind and bin of distances: probes asked and skipped, and four figures with their errors.

    Args:
        bins: Lower ends of the bins, ascending.

    Returns:
        kind, distance (lower end of the bin), to (upper end, null: open), probes, skipped, accuracy (a preference of
        exactly 0 counts as half right) and accuracy_error, shift (mean preference in nats, without pairs that have an
        infinite one) and shift_error, probability (mean probability of the right word) and probability_error, nats
        (mean cost of the right word, inf if one has probability 0) and nats_error. Errors are standard errors over
        pairs. The figures are null if all probes were skipped.
    """
    begins = pl.lit(pl.Series(list(bins)))
    ends = [*(begin - 1 for begin in bins[1:]), None]
    asked = pl.col("preference").is_not_null()
    shift = pl.col("shift").filter(pl.col("shift").is_finite())
    pairs = pl.col("accuracy").count().cast(pl.Float64).sqrt()
    means = ("accuracy", "probability", "nats")
    return (
        answers.with_columns(bin=(begins.search_sorted(pl.col("distance"), side="right").cast(pl.Int64) - 1).clip(0))
        .group_by("kind", "bin", "pair")
        .agg(
            probes=asked.sum(), skipped=(~asked).sum(), shift=pl.col("preference").mean(),
            accuracy=((pl.col("preference").sign() + 1) / 2).mean(),
            probability=(-pl.col("nats")).exp().mean(), nats=pl.col("nats").mean(),
        )
        .group_by("kind", "bin")
        .agg(
            pl.col("probes", "skipped").sum(),
            **{name: pl.col(name).mean() for name in means},
            **{f"{name}_error": pl.col(name).std() / pairs for name in means},
            shift=shift.mean(), shift_error=shift.std() / shift.count().cast(pl.Float64).sqrt(),
        )
        .sort("kind", "bin")
        .with_columns(
            distance=pl.col("bin").replace_strict(range(len(bins)), list(bins), return_dtype=pl.Int64),
            to=pl.col("bin").replace_strict(range(len(bins)), ends, return_dtype=pl.Int64),
        )
        .select(
            "kind", "distance", "to", "probes", "skipped", "accuracy", "accuracy_error", "shift", "shift_error",
            "probability", "probability_error", "nats", "nats_error",
        )
    )  # fmt: skip


def totals_of(answers: pl.DataFrame) -> dict[str, float]:
    """Return figures by name for tracking.

    These are: probes asked and skipped; accuracy and shift of each kind that was asked; probability of the right word
    and its nats by the lower end of each bin of distances.
    """
    figures = {"probes": float(answers["preference"].count()), "skipped": float(answers["preference"].null_count())}
    for (kind,), rows in answers.drop_nulls("preference").group_by("kind", maintain_order=True):
        name = str(kind).replace(" ", "_")
        preference_N = rows["preference"].to_numpy()
        figures[f"accuracy/{name}"] = float((np.sign(preference_N) / 2 + 0.5).mean())
        if (finite_N := preference_N[np.isfinite(preference_N)]).size:
            figures[f"shift/{name}"] = float(finite_N.mean())
    for row in table_of(answers).drop_nulls("nats").iter_rows(named=True):
        place = f"{row['kind'].replace(' ', '_')}/from_{row['distance']}"
        figures |= {f"{measure}/{place}": row[measure] for measure in ("probability", "nats")}
    return figures


def _encode(bundle: Bundle, probes: Sequence[Probe]) -> list[Encoded | None]:
    """Return the tokens of both continuations of each probe; None if they are the same or a word is unknown."""
    vocabulary = bundle.vocabulary
    texts = [one.beginning + word for one in probes for word in ("", one.right, one.wrong)]
    tokens = vocabulary.encode_batch([vocabulary.normal_form.apply(text) for text in texts])
    found: list[Encoded | None] = []
    for one, *three in zip(probes, tokens[::3], tokens[1::3], tokens[2::3], strict=True):
        beginning, right, wrong = ([*vocabulary.prefix(one.stars), *ids.tolist()] for ids in three)
        shared = _in_common(right, wrong)
        known = UNK not in right and UNK not in wrong and shared < min(len(right), len(wrong))
        found.append(Encoded(right, wrong, shared, _in_common(beginning, right)) if known else None)
    return found


def _in_common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return the number of equal tokens at the beginning of two streams."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _answers(bundle: Bundle, some: Sequence[Encoded]) -> Iterable[Answer]:
    """Score both continuations of some probes side by side, padded with `<bos>`, which costs 0 nats."""
    streams = [stream for one in some for stream in (one.right, one.wrong)]
    ids_BT = np.full((len(streams), max(map(len, streams))), BOS, np.int64)
    for row, stream in zip(ids_BT, streams, strict=True):
        row[: len(stream)] = stream
    nats_BT, _ = bundle.model.score(ids_BT, bundle.model.start(len(ids_BT)))
    for one, right_T, wrong_T in zip(some, nats_BT[::2], nats_BT[1::2], strict=True):
        costs = [float(nats_T[one.shared : len(stream)].sum()) for nats_T, stream in
                 ((right_T, one.right), (wrong_T, one.wrong))]  # fmt: skip
        difference = 0.0 if math.isinf(costs[0]) and math.isinf(costs[1]) else costs[1] - costs[0]
        # Rounded, because summing the same terms in another order must not look like a preference.
        nats = float(right_T[one.given : len(one.right)].sum())
        yield Answer(round(difference, ROUNDED) + 0.0, round(nats, ROUNDED) + 0.0)
