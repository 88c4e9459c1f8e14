"""The models that a model is made of: taken from their bundles when it is fitted, kept inside its own from then on."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base import FitContext, LanguageModel, ModelError, Progress
from ..names import require_name

if TYPE_CHECKING:
    from ..tokens.vocabulary import Vocabulary

FORMAT = 1
FOLDER = "parts"


@dataclass(frozen=True)
class Part:
    """One model of several, with the name it goes by and its options.

    Args:
        name: In the configuration.
        spec: Its options.
        model: Ready; never changed.
        folder: Where its files lie, among others a bundle may have; None if it was not loaded.
    """

    name: str
    spec: Any
    model: LanguageModel
    folder: Path | None = None


def open_parts(names: Sequence[str], vocabulary: Vocabulary, context: FitContext) -> list[Part]:
    """Open the fitted models that `context.parts` names.

    Raises:
        ModelError: kind "input": there is no such part, or it has another vocabulary; kind "bundle": it is damaged.
    """
    from ..bundles.bundle import load_bundle

    parts = []
    for name in names:
        if name not in context.parts:
            known = ", ".join(context.parts) or "none"
            raise ModelError(f"there is no fitted model '{name}' to make this one of; there are: {known}", "input")
        bundle = load_bundle(context.parts[name], context.device)
        if bundle.vocabulary.digest != vocabulary.digest:
            raise ModelError(f"the part '{name}' has another vocabulary than what is made of it", "input")
        parts.append(Part(name, bundle.spec, bundle.model, Path(context.parts[name])))
    return parts


def save_parts(folder: Path, parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Write each part below *folder*; return what `load_parts` needs to know of them.

    Files that a part was loaded from get a second name, where the file system has links: they take no room twice.
    """
    from ..specs import to_dict

    facts = []
    for number, part in enumerate(parts):
        _save(part, folder / FOLDER / str(number))
        facts.append({"name": part.name, "spec": to_dict(part.spec)})
    return facts


def _save(part: Part, inside: Path) -> None:
    from ..bundles.bundle import SPEC
    from ..tokens.vocabulary import FILE

    there = part.folder if part.folder and part.folder.is_dir() else None
    if there and inside.exists() and inside.samefile(there):  # saved where it was loaded from
        return
    shutil.rmtree(inside, ignore_errors=True)  # no file with two names is ever written to
    inside.mkdir(parents=True)
    if there is None:
        part.model.save(inside)
        return
    for path in sorted(there.rglob("*")):
        name = path.relative_to(there)
        if path.is_file() and name not in (Path(SPEC), Path(FILE)):  # which the whole bundle has
            (inside / name).parent.mkdir(parents=True, exist_ok=True)
            _link(path, inside / name)


def _link(old: Path, new: Path) -> None:
    """Give a finished file a second name; where the file system has no links, copy it."""
    try:
        os.link(old, new)
    except OSError:
        shutil.copyfile(old, new)


def load_parts(folder: Path, facts: Sequence[Mapping[str, Any]], vocabulary: Vocabulary, device: str) -> list[Part]:
    """Open what `save_parts` wrote.

    Raises:
        ModelError: kind "bundle": a part is missing or damaged.
    """
    from ..specs import model_class, spec_from_dict

    parts = []
    for number, fact in enumerate(facts):
        spec = spec_from_dict(dict(fact["spec"]))
        inside = folder / FOLDER / str(number)
        model = model_class(spec.kind).load(inside, spec, vocabulary, device)
        parts.append(Part(require_name(fact["name"]), spec, model, inside))
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
