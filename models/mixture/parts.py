"""The models that a model is made of: taken from their bundles when it is fitted, kept inside its own from then on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base import FitContext, LanguageModel, ModelError, Progress

if TYPE_CHECKING:
    from ..vocabulary import Vocabulary

FORMAT = 1
FOLDER = "parts"


@dataclass(frozen=True)
class Part:
    """One model of several, with the name it goes by and its options."""

    name: str
    spec: Any
    model: LanguageModel


def open_parts(names: Sequence[str], vocabulary: Vocabulary, context: FitContext) -> list[Part]:
    """Open the fitted models that `context.parts` names.

    Raises:
        ModelError: kind "input": there is no such part, or it has another vocabulary; kind "bundle": it is damaged.
    """
    from ..bundle import load_bundle

    parts = []
    for name in names:
        if name not in context.parts:
            known = ", ".join(context.parts) or "none"
            raise ModelError(f"there is no fitted model '{name}' to make a mixture of; there are: {known}", "input")
        bundle = load_bundle(context.parts[name], context.device)
        if bundle.vocabulary.digest != vocabulary.digest:
            raise ModelError(f"the part '{name}' has another vocabulary than the mixture: no shared words", "input")
        parts.append(Part(name, bundle.spec, bundle.model))
    return parts


def save_parts(folder: Path, parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Write each part below *folder*; return what `load_parts` needs to know of them."""
    from ..specs import to_dict

    facts = []
    for number, part in enumerate(parts):
        (inside := folder / FOLDER / str(number)).mkdir(parents=True, exist_ok=True)
        part.model.save(inside)
        facts.append({"name": part.name, "spec": to_dict(part.spec)})
    return facts


def load_parts(folder: Path, facts: Sequence[Mapping[str, Any]], vocabulary: Vocabulary, device: str) -> list[Part]:
    """Open what `save_parts` wrote.

    Raises:
        ModelError: kind "bundle": a part is missing or damaged.
    """
    from ..specs import model_class, spec_from_dict

    parts = []
    for number, fact in enumerate(facts):
        spec = spec_from_dict(dict(fact["spec"]))
        model = model_class(spec.kind).load(folder / FOLDER / str(number), spec, vocabulary, device)
        parts.append(Part(fact["name"], spec, model))
    return parts


def write_facts(path: Path, facts: Mapping[str, Any]) -> None:
    """Write numbers and names as JSON; a number comes back as the very same one."""
    text = json.dumps({"format": FORMAT, **facts}, indent=1, sort_keys=True, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_facts(path: Path) -> dict[str, Any]:
    """Read what `write_facts` wrote.

    Raises:
        ModelError: kind "bundle": missing, damaged, or from a newer version.
    """
    try:
        facts = dict(json.loads(path.read_text(encoding="utf-8")))
        if facts["format"] > FORMAT:
            raise ModelError(f"{path}: format {facts['format']}; this version reads up to {FORMAT}", "bundle")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} cannot be read: {error}", "bundle") from error
    return facts


def journal(context: FitContext, summary: Mapping[str, float]) -> None:
    """Write the one line that such a fit has to say, for terminal and tracking; a rerun replaces it."""
    tokens = int(summary["tokens"])
    figures = {name: summary[name] for name in ("validation/nats", "validation/perplexity")}
    finite = {name: value for name, value in figures.items() if math.isfinite(value)}
    context.work.mkdir(parents=True, exist_ok=True)
    (context.work / "metrics.jsonl").write_text(json.dumps({"step": tokens, **finite}) + "\n", encoding="utf-8")
    context.report(Progress(tokens, tokens, finite))
