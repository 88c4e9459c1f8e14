"""`reviewlm serve` answers with the registered champion, follows the registry, and refuses what would not be safe."""

from __future__ import annotations

import signal
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.credentials import TOKENS_FILE, add_token
from reviewlm.core.errors import BundleError, ConfigError, ReviewLMError, Unreadable
from reviewlm.core.processes import interrupts
from reviewlm.serving import server
from tests.core.waiting import until
from tests.serving.made_versions import food_of
from tests.serving.processes import LOCAL, Process, version


def move(
    home: Path,
    alias: str,
    number: int,
) -> None:
    with closing(sqlite3.connect(home / "mlflow.db")) as database, database:
        database.execute(
            "UPDATE registered_model_aliases SET version = ? WHERE alias = ?", (number, alias)
        )


@contextmanager
def served(*settings: str) -> Iterator[httpx.Client]:
    """Serve in a thread; end it as a signal would."""
    config = load_config("small", [*LOCAL, *settings])
    listener, ready = server.listening(config.serving), threading.Event()
    thread = threading.Thread(
        target=server.serve,
        args=(config, listener, lambda version: ready.set()),
        daemon=True,
    )
    thread.start()
    assert ready.wait(30)
    stop = interrupts._process.stop
    try:
        with httpx.Client(base_url=server.address_of(listener), timeout=30) as client:
            yield client
    finally:
        assert stop is not None
        stop()
        thread.join(30)
        assert not thread.is_alive()


def test_the_server_follows_the_champion_of_the_registry(own_home: Path) -> None:
    version(own_home, 1, "champion")
    version(own_home, 2, "challenger")
    damaged = version(own_home, 3)
    next(damaged.glob("*.npy")).write_bytes(b"no table")
    with served() as client:

        def champion() -> str:
            return str(client.get("/readyz").json()["champion"])

        assert champion() == "reviewlm/1"
        move(own_home, "champion", 2)
        until(lambda: champion() == "reviewlm/2")
        told = client.post("/v1/completions", json={"prompt": "The", "max_tokens": 9}).json()
        assert (told["model"], food_of(2) in told["choices"][0]["text"]) == ("reviewlm/2", True)
        move(own_home, "champion", 3)
        until(lambda: bool(client.get("/readyz").json()["refused"]))
        (refused,) = client.get("/readyz").json()["refused"]
        assert (refused["version"], "is damaged" in refused["why"]) == ("reviewlm/3", True)
        assert champion() == "reviewlm/2"
        move(own_home, "champion", 1)
        until(lambda: champion() == "reviewlm/1")


def test_without_a_champion_it_says_what_to_do(own_home: Path) -> None:
    version(own_home, 1)
    config = load_config("small", LOCAL)
    with closing(server.listening(config.serving)) as listener, pytest.raises(BundleError) as error:
        server.serve(config, listener, lambda version: None)
    assert "champion" in error.value.what
    assert "`reviewlm promote --version 1 --why TEXT`" in error.value.remedy


def test_a_port_that_is_taken_is_told() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        with pytest.raises(ReviewLMError, match="The port is in use"):
            server.listening(load_config("small", [f"serving.port={port}"]).serving)


def test_an_address_of_another_machine_is_told() -> None:
    other = ["serving.host=192.0.2.1", "serving.port=0"]
    with pytest.raises(ReviewLMError, match="cannot listen on this address"):
        server.listening(load_config("small", other).serving)


def test_beyond_this_machine_tokens_are_needed_unless_the_user_wants_none(
    own_home: Path, tmp_path: Path
) -> None:
    def require_safe(without_tokens: bool, *settings: str) -> None:
        section = load_config("small", ["serving.host=0.0.0.0", *settings]).serving
        server.require_safe(section, own_home, without_tokens)

    loopback = load_config("small").serving
    server.require_safe(loopback, own_home, False)
    require_safe(True)
    with pytest.raises(ConfigError, match="may not listen without access tokens"):
        require_safe(False)
    with pytest.raises(Unreadable):
        require_safe(True, f"serving.tokens={tmp_path / 'none.json'}")
    add_token(own_home / TOKENS_FILE, "ci")
    require_safe(False)
    assert server.token_file(loopback, own_home) == own_home / TOKENS_FILE


def test_a_home_with_tokens_answers_only_them(own_home: Path) -> None:
    version(own_home, 1, "champion")
    token = add_token(own_home / TOKENS_FILE, "ci")
    with served() as client:
        assert client.post("/suggest", json={"prompt": "The"}).status_code == 401
        headers = {"Authorization": f"Bearer {token}"}
        assert client.post("/suggest", json={"prompt": "The"}, headers=headers).status_code == 200


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_requests_in_progress_finish(own_home: Path, number: int) -> None:
    version(own_home, 1, "champion")
    started = Process(own_home)
    assert started.told == {
        "address": started.told["address"],
        "model": "reviewlm/1",
        "task": "language model",
        "numbers": "float32",
        "why_numbers": started.told["why_numbers"],
    }
    body = {
        "prompt": "The",
        "max_tokens": 4_000,
        "n": 60,
        "stream": True,
        "temperature": 2.0,
    }
    with started.client.stream("POST", "/v1/completions", json=body) as answer:
        lines = answer.iter_lines()
        next(lines)
        started.process.send_signal(number)
        assert list(lines)[-2:] == ["data: [DONE]", ""]
    assert started.process.wait(30) == 128 + number
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{started.told['address']}/healthz")
