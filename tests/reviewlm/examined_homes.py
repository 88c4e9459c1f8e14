"""Lines of one check of `reviewlm doctor`, and a Prefect server that it looks at."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from typing import Any

from reviewlm.core.config.presets import load_config
from reviewlm.doctor import CHECKS, HealthLine, examine
from tests.core.http_server import http_server


def lines(name: str, *overrides: str) -> list[HealthLine]:
    return examine(load_config("small", list(overrides)).workspace, {name: CHECKS[name]})


def only(name: str, *overrides: str) -> HealthLine:
    [line] = lines(name, *overrides)
    return line


@dataclass
class MadePrefect:
    """A Prefect server with Basic auth: what its pages tell, and the error with which it refuses every request."""

    pages: dict[str, Any]
    refuses: tuple[int, str] = (0, "")
    address: str = ""


@contextmanager
def made_prefect(login: str, pages: dict[str, Any]) -> Iterator[MadePrefect]:
    """Serve the pages of a Prefect server, which a test may change."""
    told = MadePrefect(pages)

    def answer(
        path: str,
        headers: Message,
        body: bytes,
    ) -> tuple[int, str]:
        if told.refuses[0]:
            return told.refuses
        if headers["Authorization"] != f"Basic {b64encode(login.encode()).decode()}":
            return 401, ""
        return (200, json.dumps(told.pages[path])) if path in told.pages else (404, "")

    with http_server(answer) as told.address:
        yield told
