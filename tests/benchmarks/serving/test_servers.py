"""The servers of benchmarks end with the benchmark, whatever ends that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[3]
SERVER = """
import subprocess, sys
from http.server import HTTPServer, SimpleHTTPRequestHandler
subprocess.Popen(["sleep", "600"])  # a worker that does not see to its own end
HTTPServer(("127.0.0.1", int(sys.argv[1])), SimpleHTTPRequestHandler).serve_forever()
"""
BENCHMARK = """
import sys
from benchmarks.serving.servers import _free_port, started
port = _free_port()
with started([sys.argv[1], str(port)], port, "/", {}, 0) as served:
    print(*[one.pid for one in served.processes()], flush=True)
    input()
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, None])
def test_a_server_and_its_workers_end_with_the_benchmark(tmp_path: Path, number: signal.Signals | None) -> None:
    program = tmp_path / "server.py"
    program.write_text(SERVER)
    command = [sys.executable, "-c", BENCHMARK, str(program)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    benchmark = subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, **pipes)
    assert benchmark.stdin is not None
    assert benchmark.stdout is not None
    try:
        family = [psutil.Process(int(pid)) for pid in benchmark.stdout.readline().split()]
        assert "sleep" in [one.name() for one in family]
        if number:
            benchmark.send_signal(number)
        else:
            benchmark.stdin.write("\n")
            benchmark.stdin.flush()
        assert benchmark.wait(60) == (-number if number else 0)
        assert psutil.wait_procs(family, timeout=20)[1] == []
    finally:
        benchmark.kill()
