"""A local S3 server for tests (moto), and the environment in which boto3 uses it."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

SECRET = "a-secret-that-nobody-shows"
BUCKET = "reviews"
PATIENCE = 120
"""Seconds for a request: at the first one moto imports much, and the machine that tests may be busy."""


@contextmanager
def s3_server() -> Iterator[str]:
    """Run a server with one empty bucket in this process; yield its address. The environment names it meanwhile."""
    reason = "an S3 server for tests is not installed: pip install -c constraints.txt -e '.[dev]'"
    server = pytest.importorskip("moto.server", reason=reason).ThreadedMotoServer(
        ip_address="127.0.0.1",
        port=0,
        verbose=False,
    )
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    named = {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "an-id",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in named}
    os.environ.update(named)
    try:
        for method, path in (
            ("POST", "moto-api/reset"),
            ("PUT", BUCKET),
        ):  # all servers of a process have one content
            urllib.request.urlopen(
                urllib.request.Request(f"{address}/{path}", method=method), timeout=PATIENCE
            )
        yield address
    finally:
        server.stop()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
