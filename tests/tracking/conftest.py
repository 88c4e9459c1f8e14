"""Stores with a copy of the migrated MLflow database, and stand-ins of `models` and of its bundles."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reviewlm.tracking.logged_models import export
from reviewlm.tracking.logged_models.bundles import log_bundle
from reviewlm.tracking.registry.registry import Registry
from reviewlm.tracking.runs.runs import Tracker
from reviewlm.tracking.tags import MODEL_URI_TAG

FAKE_BASE = """
class ModelError(Exception):
    def __init__(self, what, kind="fit"):
        super().__init__(what)
        self.kind = kind
"""
FAKE_BUNDLE = """
import json
import math
from dataclasses import dataclass
from ..base import ModelError

@dataclass
class TextScore:
    tokens: int
    bytes: int
    nats: float
    oov: int
    per_token: list
    spelling_nats: float = 0.0
    surface_nats: float = 0.0

    @property
    def open_bits_per_byte(self):
        return (self.nats + self.spelling_nats) / self.bytes / math.log(2)

    @property
    def bits_per_byte(self):
        return self.nats / self.bytes / math.log(2)

class Bundle:
    def __init__(self, word):
        self.word, self.digest = word, "d1ge57" * 8
    def score_texts(self, texts, stars=None):
        return [self._score(text) for text in texts]
    def _score(self, text):
        each = [(word, math.log(2)) for word in [*text.split(), "<eos>"]]
        return TextScore(len(each), len(text.encode()) + 1, len(each) * math.log(2), 0, each)

def load_bundle(folder, device="cpu", check_probes=True):
    return Bundle(json.loads((folder / "spec.json").read_text())["word"])
"""
FAKE_UNSEEN = """
def unseen_warnings(bundle, text="", stars=None):
    return [f"{bundle.word} knows no rating {stars}"] if stars == 0 else []
"""
FAKE_SAMPLING = """
from dataclasses import dataclass
from .base import ModelError

CODE = "{version}"

@dataclass
class Suggestions:
    words: list
    rest: float
    typed: str = ""
    finished: float = 1.0

def generate(
    bundle, n=1, stars=None, prompt="", temperature=1.0, top_k=0, top_p=1.0, max_tokens=200, seed=0, **further
):
    if temperature < 0:
        raise ModelError(f"temperature is {{temperature}}; it must be at least 0", "input")
    if max_tokens > 999:
        raise ModelError("out of memory", "memory")
    return [f"{{prompt}}{{bundle.word}} {{CODE}} {{stars}} {{seed}} {{i}}" for i in range(n)]

def stream(bundle, stars=None, prompt="", **options):
    for piece in generate(bundle, 1, stars, prompt, **options)[0].split():
        yield f"{{piece}} "

def suggest(bundle, prompt, k=5, stars=None):
    return Suggestions([(f"{{bundle.word}}{{i}}", 0.5 / k) for i in range(k)], 0.5)
"""


def write_package(folder: Path, version: str) -> Path:
    """Write a package with the interface of `models` whose answers name its version."""
    for name in ("bundles", "text"):
        (folder / name).mkdir(parents=True)
    files = {
        name: (export.PACKAGE / f"{name}.py").read_text() for name in ("threads", "text/given")
    }
    files |= {"base": FAKE_BASE, "bundles/bundle": FAKE_BUNDLE + FAKE_UNSEEN}
    files |= {
        "sampling": FAKE_SAMPLING.format(version=version),
        "__init__": "",
        "bundles/__init__": "",
        "text/__init__": "",
    }
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def write_bundle(folder: Path, word: str) -> Path:
    """Write a bundle that the stand-in opens."""
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(
        json.dumps(
            {
                "kind": "fake",
                "word": word,
                "spec": {"order": 3},
            }
        )
    )
    return folder


@pytest.fixture(scope="session")
def stand_in() -> SimpleNamespace:
    """`package(folder, version)` and `bundle(folder, word)` write stand-ins of `models` and of its bundles."""
    return SimpleNamespace(package=write_package, bundle=write_bundle)


@pytest.fixture
def store_home(tmp_path: Path, template_home: Path) -> Path:
    folder = tmp_path / "home"
    shutil.copytree(template_home, folder)
    return folder


@pytest.fixture
def tracker(store_home: Path) -> Tracker:
    return Tracker(f"sqlite:///{store_home / 'mlflow.db'}", "reviewlm", store_home / "mlartifacts")


@dataclass(frozen=True)
class Store:
    """A store with one run and a registry."""

    tracker: Tracker
    registry: Registry
    run_id: str
    folder: Path

    def model(self, word: str, version: str = "one") -> str:
        """Log a stand-in model and return its address."""
        package = self.folder / version / "models"
        package = package if package.exists() else write_package(package, version)
        number = len(list(self.folder.glob("bundle-*")))
        bundle = write_bundle(self.folder / f"bundle-{number}", word)
        log_bundle(self.tracker, self.run_id, bundle, package=package)
        return self.tracker.tag(self.run_id, MODEL_URI_TAG)

    def version(self, word: str, version: str = "one") -> int:
        """Log and register a stand-in model."""
        return self.registry.register(self.model(word, version), self.run_id, {"word": word})


@pytest.fixture
def store(tracker: Tracker, tmp_path: Path) -> Store:
    return Store(tracker, Registry(tracker, "reviewlm"), tracker.start_run("fit"), tmp_path)


@pytest.fixture
def light_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """A logged model of one file: saving a real one takes a second."""

    def save(
        work: Path,
        bundle: Path,
        package: Path,
        model: Any,
        form: Any,
    ) -> Path:
        shutil.copytree(bundle, work / "model" / export.BUNDLE_PATH)
        return work / "model"

    monkeypatch.setattr(export, "_save", save)


@pytest.fixture
def pieces(tmp_path: Path) -> Path:
    """What a run is made of: a journal, a folder, a bundle, a package."""
    folder = tmp_path / "pieces"
    write_bundle(folder / "bundle", "w")
    write_package(folder / "models", "one")
    (folder / "docs").mkdir()
    (folder / "docs" / "index.html").write_text("<p>")
    points = [
        {
            "step": step,
            "time": 1000.0 + step,
            "train/nats": step / 7,
        }
        for step in range(5)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(point) + "\n" for point in points))
    return folder
