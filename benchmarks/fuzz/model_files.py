"""Damage saved models and ARPA files, and check that opening them gives a result or a ModelError."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from random import Random

import numpy as np

from benchmarks.fuzz.mutations import damaged, damaged_json
from benchmarks.fuzz.saved_models import ARPA, save_models
from reviewlm.models.base import ModelError
from reviewlm.models.bundles.bundle import SPEC, load_bundle
from reviewlm.models.tokens.vocabulary import FILE, Vocabulary
from reviewlm.training.ngram.lines.line_lm import LineLM

DESCRIPTIONS = ("spec.json", "vocabulary.json", "ngram.json", "cache.json")
LINE = "the soup was great"


@cache
def _whole() -> Path:
    """Return the folder of the undamaged models, which are made once per process."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-models-"))
    save_models(folder)
    return folder


def make_bundle(rng: Random, case: Path) -> None:
    """Write a bundle with one damaged file; in most cases the checksums in its description match that file."""
    kind = rng.choice(["ngram", "lstm", "cache"])
    bundle = case / "bundle"
    shutil.copytree(_whole() / kind, bundle)
    files = sorted(path for path in bundle.rglob("*") if path.is_file())
    described = [path for path in files if path.name in DESCRIPTIONS]
    path = rng.choice(described if rng.random() < 0.7 else files)
    content = path.read_bytes()
    odd = (
        damaged_json(rng, json.loads(content)) if path.suffix == ".json" else damaged(rng, content)
    )
    path.write_bytes(odd)
    name = path.relative_to(bundle).as_posix()
    if name != SPEC and rng.random() < 0.9:
        values = json.loads((bundle / SPEC).read_bytes())
        values["files"][name] = hashlib.sha256(odd).hexdigest()
        if name == FILE:
            with suppress(ModelError, UnicodeDecodeError):
                values["vocabulary_digest"] = Vocabulary.from_json(odd.decode()).digest
        (bundle / SPEC).write_text(json.dumps(values))


def check_bundle(case: Path, work: Path) -> str:
    """Open the bundle, score a text with it and predict a token."""
    bundle = load_bundle(case / "bundle", check_probes=True)
    score = bundle.score_text(LINE, 4)
    state = bundle.model.start(1)
    logp_BV, state = bundle.model.step(np.array([1]), state)
    likeliest = int(logp_BV[0].argmax())
    return f"{score.nats:.6f} {bundle.vocabulary.decode([likeliest])}"


def make_lines(rng: Random, case: Path) -> None:
    """Write a line model with one damaged file."""
    shutil.copytree(_whole() / "lines", case / "model")
    path = rng.choice(sorted(path for path in (case / "model").iterdir() if path.is_file()))
    content = path.read_bytes()
    whole = path.suffix == ".json" and rng.random() < 0.8
    path.write_bytes(damaged_json(rng, json.loads(content)) if whole else damaged(rng, content))


def check_lines(case: Path, work: Path) -> str:
    """Open the line model and score one line."""
    model = LineLM.open(case / "model")
    if not model.normalised:
        return "scores only"
    return f"{model.token_nats(model.read_lines([LINE])).sum():.6f}"


def make_arpa(rng: Random, case: Path) -> None:
    """Write an ARPA file with odd lines."""
    lines = ARPA.splitlines()
    for _ in range(rng.choice([1, 1, 2, 4])):
        place = rng.randrange(len(lines))
        fields = lines[place].replace("\t", " ").split(" ")
        kind = rng.randrange(6)
        if kind == 0:
            lines.insert(rng.randrange(len(lines)), lines[place])
        elif kind == 1 and len(lines) > 1:
            del lines[place]
        elif kind == 2:
            lines[place] = rng.choice([" ", "\t", "  "]).join(fields)
        else:
            odd = [
                "nan",
                "inf",
                "-inf",
                "1e400",
                "",
                "-1e30",
                "x",
                "<s>",
                "</s>",
                "<UNK>",
                "ngram 2=99999999999999999999",
                "ngram 1=-1",
                "\\data\\",
                "\\2-grams:",
                "9" * 5_000,
                "é",
                "\ufeff",
                "ngram 4=0",
                '"',
                "#",
            ]
            fields[rng.randrange(len(fields))] = rng.choice(odd)
            lines[place] = "\t".join(fields)

    content = "\n".join(lines).encode()
    (case / "model.arpa").write_bytes(damaged(rng, content) if rng.random() < 0.3 else content)


def check_arpa(case: Path, work: Path) -> str:
    """Read the file; the model must score a line equally before and after it is saved and opened again."""
    model = LineLM.from_arpa(case / "model.arpa")
    nats = model.token_nats(model.read_lines([LINE]))
    model.save(work / "model")
    again = LineLM.open(work / "model")
    assert np.array_equal(nats, again.token_nats(again.read_lines([LINE])), equal_nan=True), (
        "saved and opened it differs"
    )
    model.to_arpa(work / "again.arpa")
    return f"{nats.sum():.6f}"
