"""Whoever can write into a registered version's artifacts cannot make the server execute anything."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from reviewlm.core.config.presets import load_config
from reviewlm.models.bundles.bundle import save_bundle
from reviewlm.serving.api.app import create_app
from reviewlm.serving.metrics import Metrics
from reviewlm.serving.versions.open_version import RegistrySource
from reviewlm.serving.versions.versions import Versions
from tests.serving.engine.small_models import bundle_of
from tests.serving.processes import LOCAL, version
from tests.serving.served import ask


class Payload:
    """Writes a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.mark,)


def raw(file: Path, payload: Payload) -> None:
    file.write_bytes(pickle.dumps(payload))


def array(file: Path, payload: Payload) -> None:
    with file.open("wb") as open_file:
        np.save(open_file, np.array([payload], object), allow_pickle=True)


def checkpoint(file: Path, payload: Payload) -> None:
    torch.save({"weight": payload}, file)


PLANTED: list[tuple[str, str, Callable[[Path, Payload], None]]] = [
    ("ngram", "*.npy", raw),
    ("ngram", "*.npy", array),
    ("ngram", "vocabulary.json", raw),
    ("ngram", "spec.json", raw),
    ("lstm", "*.safetensors", raw),
    ("lstm", "*.safetensors", checkpoint),
]


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[Path]:
    """A file that no test may find at its end."""
    yield tmp_path / "executed"
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("write", [raw, array, checkpoint])
def test_the_payload_works(tmp_path: Path, write: Callable[[Path, Payload], None]) -> None:
    write(tmp_path / "file", Payload(tmp_path / "executed"))
    if write is checkpoint:
        torch.load(tmp_path / "file", weights_only=False)
    else:
        np.load(tmp_path / "file", allow_pickle=True)
    assert (tmp_path / "executed").exists()


def sealed_again(folder: Path) -> None:
    """Write the digests of the files as they are now, as who plants a file would."""
    if (folder / "spec.json").read_bytes().startswith(b"{"):
        values = json.loads((folder / "spec.json").read_text())
        values["files"] = {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for name in values["files"]
        }
        (folder / "spec.json").write_text(json.dumps(values))


def asked(model: str) -> tuple[httpx.Response, httpx.Response]:
    """Ask a version of the registry for a text, then the server for its state."""
    config = load_config("small", LOCAL)
    versions = Versions(
        RegistrySource(config.workspace, config.promotion.model_name), config.serving, Metrics()
    )
    versions.start()
    try:
        app = create_app(versions, config.serving, versions.metrics, None)

        body = {
            "prompt": "The",
            "max_tokens": 3,
            "model": model,
        }
        return ask(app, "POST", "/v1/completions", json=body), ask(app, "GET", "/readyz")
    finally:
        versions.close()


@pytest.mark.parametrize(("kind", "pattern", "write"), PLANTED)
def test_a_planted_pickle_is_refused_instead_of_executed(
    own_home: Path,
    mark: Path,
    kind: str,
    pattern: str,
    write: Callable[[Path, Payload], None],
) -> None:
    version(own_home, 1, "champion")
    folder = version(own_home, 2)
    if kind == "lstm":
        for file in folder.iterdir():
            file.unlink()
        bundle = bundle_of("lstm")
        save_bundle(
            folder,
            bundle.spec,
            bundle.vocabulary,
            bundle.model,
            [("The soup was good.", 5)],
            {},
        )
    write(sorted(folder.glob(pattern))[0], Payload(mark))
    sealed_again(folder)
    answer, state = asked("reviewlm/2")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_not_served")
    assert "was refused" in answer.text
    assert state.json()["champion"] == "reviewlm/1"
    [refused] = state.json()["refused"]
    assert refused["version"] == "reviewlm/2"
