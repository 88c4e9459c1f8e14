"""Find the weights for a warm start: a network inside a bundle that computes the same function as another spec.

Only the options that define the computed function must agree (kind, sizes, output layer, vocabulary). Training options
may differ, dropout included, and so may options without effect in the network.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reviewlm.models.base import ModelError
from reviewlm.models.bundles.bundle import SPEC
from reviewlm.models.mixture.cache import FACTS as CACHE_FACTS
from reviewlm.models.mixture.lm import FACTS as MIXTURE_FACTS
from reviewlm.models.mixture.parts import FOLDER, read_facts
from reviewlm.models.options import without_inapplicable
from reviewlm.models.specs import NPLMSpec, RecurrentSpec, spec_from_dict

FREE = frozenset(
    {
        "name",
        "vocabulary",
        "training",
        "dropout",
        "variational",
        "embedding_dropout",
        "input_dropout",
        "output_dropout",
        "weight_drop",
        "cells",
        "forget_bias",
        "vectors",
        "freeze_vectors",
        "objective.chunk",
        "objective.estimator",
        "objective.samples",
    }
)
"""Options in which two networks may differ and still compute the same from the same weights."""


def find_network(
    bundle: Path,
    spec: RecurrentSpec | NPLMSpec,
    vocabulary_digest: str,
) -> tuple[Path | None, str]:
    """Return the folder of weights that a fit of *spec* can start from, or None and the reason.

    Args:
        bundle: Of any kind; the parts of a mixture, a cache or an adaptive model are searched at any depth.
        spec: Of the network to be fitted.
        vocabulary_digest: Of its vocabulary.

    Raises:
        ModelError: kind "bundle": it cannot be read.
    """
    try:
        values = json.loads((bundle / SPEC).read_text(encoding="utf-8"))
        theirs = values["vocabulary_digest"]
        options = values["spec"]
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{bundle} cannot be read as a bundle: {error!r}", "bundle") from error

    if theirs != vocabulary_digest:
        return (
            None,
            f"it has another vocabulary ({theirs[:12]} instead of {vocabulary_digest[:12]})",
        )

    reasons = []
    for folder, candidate in _networks(bundle, options):
        differing = _differing(spec, candidate)
        if not differing:
            return folder, ""
        reasons.append(f"'{candidate.name}' has {', '.join(differing)}")

    return None, "; ".join(
        reasons
    ) or f"there is no neural network in it (it is of kind '{options['kind']}')"


def _networks(
    folder: Path, options: dict[str, Any]
) -> Iterator[tuple[Path, RecurrentSpec | NPLMSpec]]:
    spec = spec_from_dict(options)
    if isinstance(spec, RecurrentSpec | NPLMSpec):
        yield folder, spec
    for name in (MIXTURE_FACTS, CACHE_FACTS):
        if (folder / name).is_file():
            for number, part in enumerate(read_facts(folder / name)["parts"]):
                yield from _networks(folder / FOLDER / str(number), dict(part["spec"]))


def _differing(ours: RecurrentSpec | NPLMSpec, theirs: RecurrentSpec | NPLMSpec) -> list[str]:
    """Return the options that differ, e.g. "hidden 640 instead of 320"."""
    our_options = _function(ours)
    their_options = _function(theirs)
    names = []
    for name in our_options | their_options:
        if our_options.get(name) != their_options.get(name):
            names.append(name)

    return [
        f"{name} {their_options.get(name)} instead of {our_options.get(name)}" for name in names
    ]


def _function(spec: RecurrentSpec | NPLMSpec) -> dict[str, Any]:
    """Return the options that define what the network computes, by full name."""
    options = asdict(without_inapplicable(spec))
    objective = {f"objective.{name}": value for name, value in options.pop("objective").items()}
    return {name: value for name, value in {**options, **objective}.items() if name not in FREE}
