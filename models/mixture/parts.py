"""Save and load the parts of a model that combines others, inside its own bundle."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base import LanguageModel, ModelError, translate_read_errors
from ..options import require_name

if TYPE_CHECKING:
    from ..tokens.vocabulary import Vocabulary

FORMAT = 1
FOLDER = "parts"


@dataclass(frozen=True)
class Part:
    """A model of a mixture, with its name and its options.

    Args:
        name: Name in the configuration.
        spec: Its options.
        model: The fitted model, which is never changed.
        folder: Folder of its files, which may also hold other files of a bundle; None if it was not loaded.
    """

    name: str
    spec: Any
    model: LanguageModel
    folder: Path | None = None


def save_parts(folder: Path, parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Write each part below *folder*; return the facts that `load_parts` needs.

    Files that a part was loaded from are hard-linked if the file system can, so that they need no more disk space.
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

    there = None
    if part.folder and part.folder.is_dir():
        there = part.folder

    # The part is saved where it was loaded from.
    if there and inside.exists() and inside.samefile(there):
        return

    shutil.rmtree(inside, ignore_errors=True)  # never write to a file that may be a hard link
    if there is None:
        inside.mkdir(parents=True)
        part.model.save(inside)
    else:  # without the files that the whole bundle has
        shutil.copytree(
            there, inside, ignore=shutil.ignore_patterns(SPEC, FILE), copy_function=_link
        )


def _link(old: str, new: str) -> None:
    """Hard-link a finished file; copy it if the file system has no hard links."""
    try:
        os.link(old, new)
    except OSError:
        shutil.copyfile(old, new)


def load_parts(
    folder: Path,
    facts: Sequence[Mapping[str, Any]],
    vocabulary: Vocabulary,
    device: str,
) -> list[Part]:
    """Open the parts that `save_parts` wrote.

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
    """Write numbers and names as JSON; `read_facts` gives exactly the same numbers."""
    text = json.dumps(
        {"format": FORMAT, **facts},
        indent=1,
        sort_keys=True,
        allow_nan=False,
    )
    path.write_text(text + "\n", encoding="utf-8")


def read_facts(path: Path) -> dict[str, Any]:
    """Read the facts that `write_facts` wrote.

    Raises:
        ModelError: kind "bundle": the file is missing, damaged, or from a newer version.
    """
    with translate_read_errors(str(path)):
        facts = dict(json.loads(path.read_text(encoding="utf-8")))
        if facts["format"] != FORMAT:
            raise ModelError(
                f"{path}: format {facts['format']}; this version reads {FORMAT}", "bundle"
            )
        return facts
