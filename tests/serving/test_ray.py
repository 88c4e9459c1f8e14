"""Ray Serve runs two replicas on the loopback address, which answer as `reviewlm serve` does."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic, perf_counter, sleep

import httpx
import psutil
import pytest

from core.credentials import TOKENS_FILE, add_token
from core.errors import ConfigError
from models.sampling import generate
from tests.serving.made_versions import bundle_of
from tests.serving.processes import LOCAL, ROOT, version
from tests.serving.test_server import move

pytest.importorskip("ray", reason="Ray is not installed: pip install -c constraints.txt -e '.[ray]'")
pytestmark = pytest.mark.long
STARTS = 240.0
"""Seconds in which Ray must have started, on a machine where much else runs."""


@pytest.fixture
def served(own_home: Path, tmp_path: Path) -> Iterator[tuple[str, list[psutil.Process]]]:
    """Address and processes."""
    version(own_home, 1, "champion")
    version(own_home, 2)
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    settings = [*LOCAL, f"serving.port={address.rpartition(':')[2]}", "serving.workers=2", "serving.poll_seconds=0.5"]
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    with open(tmp_path / "ray.log", "w+") as log:
        ray = subprocess.Popen(
            [sys.executable, "-m", "serving.ray_app", *settings], env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        family: list[psutil.Process] = []
        try:
            until(lambda: replicas(address) == {"reviewlm/1"}, STARTS, ray)
            family = psutil.Process(ray.pid).children(recursive=True)
            yield address, [psutil.Process(ray.pid), *family]
            ray.send_signal(signal.SIGTERM)
            assert ray.wait(60) == 0
        finally:
            family = family or psutil.Process(ray.pid).children(recursive=True)
            ray.kill()
            ray.wait()
            _, left = psutil.wait_procs(family, 20)
            for process in left:
                process.kill()
            log.seek(0)
            print(log.read())
    assert left == []


def until(holds, seconds: float, process: subprocess.Popen[bytes]) -> None:
    over = monotonic() + seconds
    while not holds():
        assert process.poll() is None
        assert monotonic() < over
        sleep(0.2)


def replicas(address: str) -> set[str]:
    """Return the champions that a number of requests meet; nothing if one is not answered."""
    try:
        told = [httpx.get(f"{address}/readyz", timeout=60) for _ in range(8)]
    except httpx.TransportError:
        return set()
    return {answer.json()["champion"] for answer in told if answer.status_code == 200}


def listening(process: psutil.Process) -> set[str]:
    """Return the addresses on which a process listens."""
    try:
        found = process.net_connections("inet")
    except psutil.NoSuchProcess:
        return set()
    return {one.laddr.ip.removeprefix("::ffff:") for one in found if one.status == psutil.CONN_LISTEN}


def test_beyond_this_machine_tokens_are_needed_and_replicas_that_answer_under_every_name_are_warned_of(
    own_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from serving.ray_app import application

    caplog.set_level("WARNING", "serving.ray_app")
    outside = {"serving.host": "0.0.0.0"}
    with pytest.raises(ConfigError, match="without access tokens"):
        application(outside)
    add_token(own_home / TOKENS_FILE, "ann")
    application(outside)
    assert [record.message.partition(".")[0] for record in caplog.records] == [
        "The server answers under every Host name"
    ]
    caplog.clear()
    application(outside | {"serving.hosts": '["reviews.example.org"]'})
    application({})
    assert not caplog.records


@pytest.mark.timeout(600)
def test_two_replicas_give_the_texts_of_the_command_line_stream_them_and_follow_the_champion(
    served: tuple[str, list[psutil.Process]], own_home: Path
) -> None:
    address, processes = served
    asked = {"prompt": "The", "max_tokens": 20, "temperature": 0.9, "top_p": 0.9, "seed": 7, "stars": 5}
    wanted = generate(bundle_of(1), 1, 5, "The", 0.9, 0, 0.9, 20, 7)[0]
    with httpx.Client(base_url=address, timeout=60) as client:
        for _ in range(6):
            told = client.post("/v1/completions", json=asked).json()
            assert "The" + told["choices"][0]["text"] == wanted

        long = {"prompt": "The", "max_tokens": 4_000, "n": 60, "temperature": 2.0, "seed": 5, "stream": True}
        began, times, last = perf_counter(), [], ""
        with client.stream("POST", "/v1/completions", json=long) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            for line in answer.iter_lines():
                times.append(perf_counter() - began)
                last = line or last
        assert last == "data: [DONE]"
        assert times[0] < times[-1] / 2

        refused = client.post("/v1/completions", json={"prompt": "The", "tempratur": 1})
        assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")
        assert set().union(*map(listening, processes)) == {"127.0.0.1"}

        move(own_home, "champion", 2)
        over = monotonic() + 60
        while replicas(address) != {"reviewlm/2"}:
            assert monotonic() < over
        told = client.post("/v1/completions", json=asked).json()
        assert told["model"] == "reviewlm/2"
        assert "The" + told["choices"][0]["text"] == generate(bundle_of(2), 1, 5, "The", 0.9, 0, 0.9, 20, 7)[0]
