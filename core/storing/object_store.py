"""Read and write the objects of S3 and its like with obstore; the only module that imports it.

Credentials, region and endpoint come from the environment, as obstore takes them: AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from core.storing.objects import NotThere, RemoteError

CONNECT, SHORT, STALLED, LONG = (timedelta(seconds=seconds) for seconds in (3, 10, 60, 3600))
"""Time to connect; for a request without a file; without any byte of a file; for a whole file."""
RETRY: Any = {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}
PART = 5 << 20
"""Bytes of one request of an upload."""
PARTS = 2
"""Parts of one file that are uploaded at the same time."""
MOST_DELETED = 1000
"""Objects of one request to delete; S3 takes no more."""
METADATA = "/latest/api/token"
CODE = re.compile(r"<Code>(\w+)</Code>")


class StoredObjects:
    """Objects of a bucket below a prefix.

    Args:
        address: "s3://bucket/prefix".
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def exists(self, key: str) -> bool:
        """Return whether there is an object with this key."""
        try:
            with _errors():
                obstore.head(self._requests, key)
            return True
        except NotThere:
            return False

    def read(self, key: str) -> Iterator[bytes]:
        """Yield the content of an object in blocks."""
        with _errors():
            for block in obstore.get(self._files, key).stream():
                yield bytes(block)

    def write(self, key: str, content: Path | bytes) -> None:
        """Write an object, a large one in parts; it appears when it is complete."""
        with _errors():
            obstore.put(self._files, key, content, chunk_size=PART, max_concurrency=PARTS)

    def remove(self, key: str) -> None:
        """Delete an object, and all objects below its key."""
        with _errors():
            for some in obstore.list(self._requests, key, chunk_size=MOST_DELETED):
                obstore.delete(self._requests, [about["path"] for about in some])
            with suppress(FileNotFoundError):
                obstore.delete(self._requests, key)

    @cached_property
    def _requests(self) -> Any:
        return self._client({"timeout": SHORT})

    @cached_property
    def _files(self) -> Any:
        return self._client({"read_timeout": STALLED, "timeout": LONG})

    def _client(self, times: dict[str, timedelta]) -> Any:
        # An endpoint without encryption is used only if AWS_ENDPOINT_URL names one.
        options: Any = {"allow_http": True, "connect_timeout": CONNECT, **times}
        return from_url(self.address, client_options=options, retry_config=RETRY)


@contextmanager
def _errors() -> Iterator[None]:
    """Turn the errors of obstore into ours, without the request's details and the server's page."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotThere(_in_short(error)) from error
    except (BaseError, OSError, ValueError) as error:
        raise RemoteError(_in_short(error)) from error


def _in_short(error: Exception) -> str:
    text = str(error)
    if METADATA in text:  # obstore asks the cloud's own service where the environment has no credentials
        return "there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment"
    code = CODE.search(text)
    return text.split("\n")[0].split("<?xml")[0].strip() + (f" {code[1]}" if code else "")
