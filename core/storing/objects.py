"""Read and write the objects of a remote store by their keys: in a folder that machines share, or in S3 and its like.

A folder needs no extra package: obstore is imported when an object store is opened. Credentials, region and
endpoint come from the environment, as obstore takes them: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN,
AWS_REGION, AWS_ENDPOINT_URL.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

SCHEMES = ("s3", "gs", "az")
"""Schemes of object stores that obstore opens; `file` is the other one."""
BLOCK = 1 << 20


class RemoteError(Exception):
    """The remote store cannot be reached, or refuses; the message says why and holds no credentials."""


class NotThere(RemoteError):
    """There is no object with this key."""


class Objects(Protocol):
    """Objects below the address of a remote store. All methods raise RemoteError."""

    def exists(self, key: str) -> bool:
        """Return whether there is an object with this key."""

    def read(self, key: str) -> Iterator[bytes]:
        """Yield the content of an object in blocks; NotThere if there is none."""

    def write(self, key: str, content: Path | bytes) -> None:
        """Write a local file, or bytes, as an object, which appears when it is complete."""


def require_address(address: str) -> None:
    """Raise ValueError unless this is the address of a remote store that can be opened here."""
    parts = urlsplit(address)
    forms = "s3://BUCKET/PREFIX or file:///FOLDER"
    if "@" in parts.netloc:
        raise ValueError(
            "remote_store contains credentials, which would be stored with every result: put them in the environment "
            "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
        )
    if parts.query or parts.fragment:
        raise ValueError("remote_store contains '?' or '#'; options of an object store belong in the environment")
    if parts.scheme == "file":
        if parts.netloc or not folder_of(address).name:
            raise ValueError("remote_store is not an absolute path; write file:///FOLDER with three slashes")
    elif parts.scheme not in SCHEMES or not parts.netloc:
        raise ValueError(f"remote_store is {address!r}; write {forms}")
    elif find_spec("obstore") is None:
        install = "pip install -c constraints.txt -e '.[s3]'"
        raise ValueError(f"remote_store is an object store, which needs obstore: {install}")


def folder_of(address: str) -> Path:
    """Return the folder of a `file://` address."""
    return Path(unquote(urlsplit(address).path))


class FolderObjects:
    """Objects as files of a folder, e.g. on a network disk.

    Args:
        root: The folder. It must exist: an absent one may be a disk that is not mounted.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def exists(self, key: str) -> bool:
        """Return whether there is a file with this name."""
        with self._errors():
            return (self.root / key).is_file()

    def read(self, key: str) -> Iterator[bytes]:
        """Yield the content of a file in blocks."""
        with self._errors():
            try:
                file = (self.root / key).open("rb")
            except FileNotFoundError as error:
                raise NotThere(f"there is no file {key}") from error
            with file:
                while block := file.read(BLOCK):
                    yield block

    def write(self, key: str, content: Path | bytes) -> None:
        """Write a file under a temporary name and rename it."""
        path = self.root / key
        part = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                if isinstance(content, bytes):
                    part.write_bytes(content)
                else:
                    shutil.copyfile(content, part)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        if not self.root.is_dir():
            raise RemoteError(f"there is no folder {self.root}; create it, or mount its disk")
        try:
            yield
        except OSError as error:
            raise RemoteError(str(error)) from error


CONNECT, SHORT, STALLED, LONG = (timedelta(seconds=seconds) for seconds in (3, 10, 60, 3600))
"""Time to connect; for a request without a file; without any byte of a file; for a whole file."""
RETRY: Any = {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}
PART = 5 << 20
"""Bytes of one request of an upload."""
PARTS = 2
"""Parts of one file that are uploaded at the same time."""
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
        import obstore

        try:
            with _errors():
                obstore.head(self._requests, key)
            return True
        except NotThere:
            return False

    def read(self, key: str) -> Iterator[bytes]:
        """Yield the content of an object in blocks."""
        import obstore

        with _errors():
            for block in obstore.get(self._files, key).stream():
                yield bytes(block)

    def write(self, key: str, content: Path | bytes) -> None:
        """Write an object, a large one in parts; it appears when it is complete."""
        import obstore

        with _errors():
            obstore.put(self._files, key, content, chunk_size=PART, max_concurrency=PARTS)

    @cached_property
    def _requests(self) -> Any:
        return self._client({"timeout": SHORT})

    @cached_property
    def _files(self) -> Any:
        return self._client({"read_timeout": STALLED, "timeout": LONG})

    def _client(self, times: dict[str, timedelta]) -> Any:
        from obstore.store import from_url

        # An endpoint without encryption is used only if AWS_ENDPOINT_URL names one.
        options: Any = {"allow_http": True, "connect_timeout": CONNECT, **times}
        return from_url(self.address, client_options=options, retry_config=RETRY)


@contextmanager
def _errors() -> Iterator[None]:
    """Turn the errors of obstore into ours, without the request's details and the server's page."""
    from obstore.exceptions import BaseError

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
