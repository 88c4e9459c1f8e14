"""A server's collector of cycles leaves its lasting objects alone, but finds those of a closed version."""

from __future__ import annotations

import gc
import socket
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.serving import server
from reviewlm.serving.lasting_objects import set_lasting
from reviewlm.serving.versions.versions import Versions
from tests.serving.made_versions import MadeSource, made_versions, running


@pytest.fixture(autouse=True)
def looked_at_again() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_a_server_that_answers_has_set_its_objects_aside(
    monkeypatch: pytest.MonkeyPatch, own_home: Path
) -> None:
    versions = made_versions(MadeSource(champion=1))
    classifiers = made_versions(MadeSource())
    found: list[int] = []

    def opened(*_: Any) -> tuple[Versions, Versions, Any]:
        return versions, classifiers, versions.start()

    monkeypatch.setattr(server, "open_champions", opened)
    monkeypatch.setattr(server._Server, "run", lambda self, sockets: None)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.serve(load_config("demo"), listener, lambda _: found.append(gc.get_freeze_count()))
    assert found[0] > 1_000


def test_a_closed_version_leaves_no_model_behind() -> None:
    source = MadeSource(champion=1)
    with running(made_versions(source, max_versions=0)) as versions:
        assert versions.champion is not None
        model = weakref.ref(versions.champion.engine._scheduler)
        set_lasting()
        source.aliases, source.count = {"champion": 2}, 2
        gc.disable()
        try:
            versions.look()
            assert model() is None
        finally:
            gc.enable()
