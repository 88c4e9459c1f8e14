"""Ray Serve runs replicas that answer as `reviewlm serve` does: more under load, the same one for a session."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from reviewlm.core.credentials import TOKENS_FILE, add_token
from reviewlm.core.errors import ConfigError
from reviewlm.models.sampling import generate
from reviewlm.tasks.execution.cluster import is_installed
from tests.core.waiting import until
from tests.serving.made_versions import bundle_of
from tests.serving.processes import Process, version
from tests.serving.test_server import move
from tests.small_cluster import MISSING

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not is_installed(), reason=MISSING)]
ASKED: dict[str, Any] = {
    "prompt": "The",
    "max_tokens": 20,
    "temperature": 0.9,
    "top_p": 0.9,
    "seed": 7,
    "stars": 5,
}
SETTINGS = (
    "execution.cluster=local",
    "serving.replicas=[1,2]",
    "serving.max_streams=2",
    "serving.poll_seconds=0.5",
)


@pytest.fixture
def served(own_home: Path) -> Iterator[Process]:
    version(own_home, 1, "champion")
    version(own_home, 2)
    process = Process(own_home, *(word for setting in SETTINGS for word in ("--set", setting)))
    family = psutil.Process(process.process.pid).children(recursive=True)
    try:
        yield process
    finally:
        process.process.kill()
        print(process.process.communicate()[1])
        for left in psutil.wait_procs(family, 20)[1]:
            left.kill()


def replicas(process: Process) -> list[psutil.Process]:
    family = psutil.Process(process.process.pid).children(recursive=True)
    return [one for one in family if any("ServeReplica" in word for word in one.cmdline())]


def listening(process: psutil.Process) -> set[str]:
    """Return the addresses on which a process listens."""
    sockets = process.net_connections("inet")
    return {
        one.laddr.ip.removeprefix("::ffff:") for one in sockets if one.status == psutil.CONN_LISTEN
    }


def text_of(number: int) -> str:
    return generate(
        bundle_of(number),
        1,
        5,
        "The",
        20,
        7,
        temperature=0.9,
        top_k=0,
        top_p=0.9,
    )[0].removeprefix("The")


OUTSIDE = {"serving.host": "0.0.0.0"}


def test_replicas_beyond_this_machine_need_tokens(own_home: Path) -> None:
    from reviewlm.serving.ray_app import application

    with pytest.raises(ConfigError):
        application(OUTSIDE)


def test_replicas_that_answer_under_every_name_are_warned_of(
    own_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from reviewlm.serving.ray_app import application

    caplog.set_level("WARNING", "reviewlm.serving.ray_app")
    add_token(own_home / TOKENS_FILE, "ann")
    application(OUTSIDE)
    assert len(caplog.records) == 1


def test_replicas_with_names_are_not_warned_of(
    own_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from reviewlm.serving.ray_app import application

    caplog.set_level("WARNING", "reviewlm.serving.ray_app")
    add_token(own_home / TOKENS_FILE, "ann")
    application(OUTSIDE | {"serving.hosts": '["reviews.example.org"]'})
    application({})
    assert not caplog.records


def test_replicas_do_what_one_server_does(served: Process, own_home: Path) -> None:
    client = served.client
    assert served.told["replicas"] == [1, 2]
    assert client.post("/v1/completions", json=ASKED).json()["choices"][0]["text"] == text_of(1)
    with client.stream("POST", "/v1/completions", json=ASKED | {"stream": True}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert [line for line in answer.iter_lines() if line][-1] == "data: [DONE]"
    refused = client.post("/v1/completions", json={"prompt": "The", "tempratur": 1})
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")

    enough = threading.Event()

    def ask() -> None:
        while not enough.is_set():
            long = {
                "prompt": "The",
                "max_tokens": 4_000,
                "n": 2,
                "temperature": 2.0,
            }
            assert (
                httpx.post(
                    f"{served.told['address']}/v1/completions", json=long, timeout=60
                ).status_code
                == 200
            )

    users = [threading.Thread(target=ask) for _ in range(8)]
    for user in users:
        user.start()
    until(lambda: len(replicas(served)) == 2, 300, pause=0.2)
    enough.set()
    for user in users:
        user.join()
    until(
        lambda: len({answered(client, str(session)) for session in range(16)}) == 2, 300, pause=0.2
    )

    for _ in range(5):
        client.post("/suggest", json={"prompt": "The"}, headers={"x-session-id": "ann"})
    counts = {
        session: answered(client, session, "/suggest") for session in ("ann", *map(str, range(16)))
    }
    assert (counts["ann"], set(counts.values())) == (5, {0, 5})

    family = [
        psutil.Process(served.process.pid),
        *psutil.Process(served.process.pid).children(recursive=True),
    ]
    assert set().union(*map(listening, family)) == {"127.0.0.1"}
    move(own_home, "champion", 2)
    until(
        lambda: {client.get("/readyz").json()["champion"] for _ in range(8)} == {"reviewlm/2"},
        300,
        pause=0.2,
    )
    told = client.post("/v1/completions", json=ASKED).json()
    assert (told["model"], told["choices"][0]["text"]) == ("reviewlm/2", text_of(2))

    os.kill(served.process.pid, signal.SIGTERM)
    assert served.process.wait(60) == 128 + signal.SIGTERM
    assert psutil.wait_procs(family[1:], 20)[1] == []


def answered(
    client: httpx.Client,
    session: str,
    route: str = "/v1/completions",
) -> int:
    """Return how many requests the replica of a session has answered."""
    page = client.get("/metrics", headers={"x-session-id": session}).text
    counts = re.findall(rf'reviewlm_requests_total{{route="{route}",status="200"}} (\S+)', page)
    return sum(int(float(count)) for count in counts)
