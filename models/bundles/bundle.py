"""A model as a folder of data: specification, vocabulary, weights or tables. No code, nothing pickled.

`spec.json` is written last and lists the SHA-256 of every other file, so its own hash identifies the whole bundle.
Three probe texts and the nats that the model gave them are recomputed on load: a model that answers differently under
another version of this package is refused instead of silently changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite, isnan, log
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..base import INTERFACE, LanguageModel, ModelError, stored
from ..specs import ModelSpec, model_class, spec_from_dict, to_dict
from ..tokens.vocabulary import FILE, GIVEN, UNK, Vocabulary
from .bundle_form import NAMES, require_form

FORMAT = 1
SPEC = "spec.json"
PROBE_TOLERANCE = 1e-3
"""Relative. Number formats round differently from machine to machine (bf16 keeps 8 bits); a changed rule does more."""
EQUAL_STARS = (0.0, 0.2, 0.2, 0.2, 0.2, 0.2)



@dataclass(frozen=True)
class TextScore:
    """What a model thinks of one text.

    Args:
        tokens: Scored tokens: those of the text and its end.
        bytes: UTF-8 length of the text in normal form, plus 1 for its end.
        nats: −log p of the scored tokens.
        oov: Tokens that are `<unk>`.
        per_token: Name and nats of each scored token, in order.
        spelling_nats: What the tokens leave out, the letters of unknown words for one (`models/tokens/spelling.py`).
    """

    tokens: int
    bytes: int
    nats: float
    oov: int
    per_token: list[tuple[str, float]] = field(repr=False)
    spelling_nats: float = 0.0

    @property
    def open_bits_per_byte(self) -> float:
        """Bits of a byte of text, unknown words spelt out: the figure that compares texts, and models."""
        return (self.nats + self.spelling_nats) / self.bytes / log(2)

    @property
    def bits_per_byte(self) -> float:
        """Bits of a byte of text at the price of `<unk>`: a text of unknown words looks cheap by it."""
        return self.nats / self.bytes / log(2)


@dataclass(frozen=True)
class Bundle:
    """A model with all that is needed to use it.

    Args:
        spec: Its options.
        vocabulary: Its tokens.
        model: The model itself.
        facts: What was recorded of its making (data digest, figures).
        digest: SHA-256 that identifies all of its files; empty before it is saved.
        stars_prior: Shares of the ratings 0 (unknown) to 5 in the training reviews.
    """

    spec: ModelSpec
    vocabulary: Vocabulary
    model: LanguageModel
    facts: dict[str, Any] = field(default_factory=dict)
    digest: str = ""
    stars_prior: tuple[float, ...] = EQUAL_STARS

    def score_text(self, text: str, stars: int | None = None) -> TextScore:
        """Return the nats of one text, which is brought into normal form first and read from the fresh state.

        Raises:
            ModelError: kind "input": *stars* is none of None and 0 to 5.
        """
        require_stars(stars)
        clean = self.vocabulary.normal_form.apply(text)
        encoded = self.vocabulary.encode_documents([clean], [stars or 0])
        stream = encoded.ids.astype(np.int64)
        nats = self.model.score(stream[None, :], self.model.start(1))[0][0]
        scored = [(int(token), float(nat)) for token, nat in zip(stream, nats, strict=True) if int(token) not in GIVEN]
        return TextScore(
            tokens=len(scored),
            bytes=len(clean.encode()) + 1,
            nats=sum(nat for _, nat in scored),
            oov=sum(token == UNK for token, _ in scored),
            per_token=[(self.vocabulary.token(token), nat) for token, nat in scored],
            spelling_nats=float(encoded.spelling_nats[0]),
        )


def require_stars(stars: int | None) -> None:
    """Raise ModelError (kind "input") unless *stars* is None or a whole number from 0 to 5."""
    if stars is not None and (isinstance(stars, bool) or stars not in range(6)):
        raise ModelError(f"stars is {stars!r}; it must be a whole number from 0 (unknown) to 5, or left out", "input")


def save_bundle(
    folder: Path | str,
    spec: ModelSpec,
    vocabulary: Vocabulary,
    model: LanguageModel,
    probes: Sequence[tuple[str, int]],
    facts: Mapping[str, Any],
) -> None:
    """Write a bundle; what the folder held under the same names is replaced.

    Args:
        folder: Made if need be.
        spec: The model's options.
        vocabulary: The model's vocabulary.
        model: Writes its own files.
        probes: Texts and stars whose nats are computed here and again on every load.
        facts: JSON values to record, `stars_prior` (see `models/streams.py`) among them; without it all five ratings
            count as equally likely.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SPEC).unlink(missing_ok=True)
    vocabulary.save(folder / FILE)
    model.save(folder)
    bundle = Bundle(spec, vocabulary, model)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    values = {
        **facts,
        "format": FORMAT,
        "interface": INTERFACE,
        "kind": spec.kind,
        "spec": to_dict(spec),
        "vocabulary_digest": vocabulary.digest,
        "boundary_policy": vocabulary.boundary_policy,
        "stars_prior": [float(share) for share in facts.get("stars_prior", EQUAL_STARS)],
        "probes": [{"text": t, "stars": s, "nats": _finite(bundle.score_text(t, s).nats)} for t, s in probes],
        "files": {path.relative_to(folder).as_posix(): _sha256_of(path) for path in files},
    }
    text = json.dumps(values, sort_keys=True, ensure_ascii=False, indent=1, allow_nan=False)
    (folder / SPEC).write_text(text + "\n", encoding="utf-8")


def load_bundle(folder: Path | str, device: str = "cpu", check_probes: bool = True) -> Bundle:
    """Open a bundle.

    Args:
        folder: What `save_bundle` wrote.
        device: Where the model is put, "cpu" or "cuda".
        check_probes: Score the probe texts and compare.

    Raises:
        ModelError: kind "bundle": not a bundle, newer than this version, damaged, its vocabulary is not the one it was
            trained with, or it answers differently from when it was saved.
    """
    folder = Path(folder)
    raw, values = _read_spec(folder)
    with stored(f"a file of bundle {folder}"):
        _verify_files(folder, values["files"])
    vocabulary = Vocabulary.load(folder / FILE)
    if vocabulary.digest != values["vocabulary_digest"]:
        raise ModelError(
            f"the bundle {folder} was trained with vocabulary {values['vocabulary_digest']}, "
            f"but holds {vocabulary.digest}",
            "bundle",
        )
    with stored(f"the model of bundle {folder}"):
        spec = spec_from_dict(values["spec"])
        model = model_class(spec.kind).load(folder, spec, vocabulary, device)
    facts = {key: value for key, value in values.items() if key not in NAMES}
    bundle = Bundle(spec, vocabulary, model, facts, hashlib.sha256(raw).hexdigest(), tuple(values["stars_prior"]))
    if check_probes:
        with stored(f"the model of bundle {folder}, asked for its probes,"):
            _check_probes(bundle, values["probes"], folder)
    return bundle


def _read_spec(folder: Path) -> tuple[bytes, dict[str, Any]]:
    path = folder / SPEC
    with stored(f"{folder} is no bundle: {SPEC}"):
        raw = path.read_bytes()
        values = json.loads(raw)
        for name, ours in (("format", FORMAT), ("interface", INTERFACE)):
            if isinstance(values, dict) and isinstance(values.get(name), int) and values[name] > ours:
                raise ModelError(
                    f"the bundle {folder} has {name} {str(values[name])[:20]}, newer than this version reads; "
                    "open it with the version that wrote it, or a later one",
                    "bundle",
                )
        require_form(values)
    return raw, values


def _verify_files(folder: Path, files: Mapping[str, str]) -> None:
    for name, expected in {FILE: "", **files}.items():
        path = folder / name
        if not _stays_inside(name):
            raise ModelError(f"the bundle {folder} names a file outside of it: {name!r}", "bundle")
        if not path.is_file():
            raise ModelError(f"the bundle {folder} lacks its file {name}", "bundle")
        found = _sha256_of(path)
        if found != expected:
            raise ModelError(
                f"the file {name} of bundle {folder} is damaged: its SHA-256 is {found} instead of {expected}", "bundle"
            )


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return name.isprintable() and "\\" not in name and not path.is_absolute() and ".." not in path.parts


def _check_probes(bundle: Bundle, probes: Sequence[Mapping[str, Any]], folder: Path) -> None:
    for probe in probes:
        found, expected = bundle.score_text(probe["text"], probe["stars"]).nats, probe["nats"]
        if expected is None:
            same, before = found == inf, "infinitely many"
        else:
            same = isfinite(found) and abs(found - expected) <= PROBE_TOLERANCE * max(1.0, abs(expected))
            before = f"{expected:.6f}"
        if not same:
            raise ModelError(
                f"the bundle {folder} answers differently from when it was saved: {found:.6f} instead of {before} nats "
                f"for the probe {probe['text'][:60]!r}",
                "bundle",
            )


def _finite(nats: float) -> float | None:
    """Return the nats of a probe; None, which JSON can say, where the model gives it probability 0.

    Raises:
        ModelError: They are not a number: no such model is worth keeping.
    """
    if isnan(nats):
        raise ModelError("the model's score of a probe text is not a number", "diverged")
    return nats if isfinite(nats) else None


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
