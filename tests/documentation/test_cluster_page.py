"""The commands of the page about several machines start a cluster, and a run on it prepares reviews."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from reviewlm.corpus.synthetic.synth import write_reviews
from reviewlm.tasks.execution.cluster import is_installed
from tests.core.waiting import until
from tests.documentation.code_blocks import Command, blocks, commands
from tests.small_cluster import MISSING

BIN = Path(sys.executable).parent
HERE = "127.0.0.1"
SMALL = ["--num-cpus=1", "--object-store-memory=80000000"]
"""The size of a node for this machine, which wins over the page's."""


def commands_of_page() -> list[Command]:
    """Return the commands of the first block of the page."""
    block = next(one for one in blocks() if one.page == "docs/how_to/cluster.md")
    return list(commands(block.text))


@pytest.fixture
def variables(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Variables as the page exports them, of a cluster and a home for this test alone."""
    exported = dict(
        one.words[1].split("=") for one in commands_of_page() if one.words[0] == "export"
    )
    # Ray's sockets need a short path.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:
        yield {
            **os.environ,
            **exported,
            "RAY_TMPDIR": folder,
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",  # Ray's own choice on Linux
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_raylet_start_wait_time_s": "120",
            "REVIEWLM_HOME": str(tmp_path / "home"),
        }


@contextmanager
def node(
    words: list[str],
    variables: Mapping[str, str],
    says: Path,
) -> Iterator[None]:
    """Start a node as in a terminal; end it by Ctrl-C."""
    with says.open("wb") as file:
        process = subprocess.Popen(
            [BIN / words[0], *words[1:]],
            env=variables,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        until(lambda: process.poll() is not None or b"runtime started" in says.read_bytes(), 180)
        assert process.poll() is None, says.read_text()
        yield
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_the_commands_of_the_page_prepare_reviews_on_two_nodes(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    if not is_installed():
        pytest.skip(MISSING)

    (tmp_path / "reviews").mkdir()
    for number in range(3):
        write_reviews(tmp_path / f"reviews/{number}.jsonl", 300, seed=number)

    with socket.create_server((HERE, 0)) as free:
        port = free.getsockname()[1]

    asked = [one.words for one in commands_of_page()]
    head, other = (
        [word.replace("6379", str(port)).replace("10.0.0.5", HERE) for word in words] + SMALL
        for words in asked
        if words[:2] == ["ray", "start"]
    )
    run = next(words for words in asked if words[:2] == ["reviewlm", "run"])
    with (
        node(head, variables, tmp_path / "head"),
        node(other, variables, tmp_path / "other"),
    ):
        done = subprocess.run(
            [BIN / run[0], *run[1:], "--set", "execution.device=auto", "--until", "prepare"],
            env=variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert "900 records read" in done.stdout
