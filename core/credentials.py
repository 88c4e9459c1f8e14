"""Generate and read the credentials of the local servers, and keep the access tokens of the champion's server.

The password is made once per home folder and kept in a file that only its owner can read. Credentials are passed on in
environment variables, never as arguments: any user of the machine can list those.

Of an access token, the home folder keeps name and SHA-256. A token is 256 random bits, so a plain hash is enough:
nobody can guess it from its hash.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from reviewlm.core.errors import InputError, Unreadable, disk_errors
from reviewlm.core.output import write_output
from reviewlm.models.options import require_name

USER = "reviewlm"
PASSWORD_FILE = "ui-password"
BYTES = 24
RENEW = (
    "delete the file; `reviewlm services stop` and `reviewlm services start` create a new password"
)
TOKENS_FILE = "tokens.json"
PREFIX = "rlm_"


def password_of(home: Path) -> str:
    """Return the password of this home's Prefect and MLflow servers, made at random on first use.

    Raises:
        Unreadable: Others may read or write the file, or it holds no password.
    """
    file = home / PASSWORD_FILE
    if not os.path.lexists(file):
        new = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
        write_output(new, secrets.token_urlsafe(BYTES) + "\n", 0o600)
        with disk_errors(home):
            with suppress(FileExistsError):  # another process was faster
                os.link(new, file)  # so it appears complete
            new.unlink()
    return read_password(file)


def prefect_server(credentials: str, origin: str = "") -> dict[str, str]:
    """Return the settings of a Prefect server that needs *credentials* and takes browser requests from its own pages.

    Args:
        credentials: "user:password".
        origin: Scheme, host and port of its pages, to which the links in alerts lead unless PREFECT_UI_URL names
            another address; empty if it has none.
    """
    allowed = origin or "http://none.invalid"  # Prefect takes an empty value for "any origin"
    links = {}
    if origin:
        links = {"PREFECT_UI_URL": os.environ.get("PREFECT_UI_URL") or origin}

    return {
        "PREFECT_SERVER_API_AUTH_STRING": credentials,
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": allowed,
        **links,
    }


def prefect_client(credentials: str) -> dict[str, str]:
    """Return the setting that lets Prefect's flows, workers and commands use a server with these credentials."""
    return {"PREFECT_API_AUTH_STRING": credentials}


def credentials_of(home: Path) -> str:
    """Return "user:password" of this home's servers."""
    return f"{USER}:{password_of(home)}"


def one_time() -> str:
    """Return random credentials for a server that ends with this process."""
    return f"{USER}:{secrets.token_urlsafe(BYTES)}"


def read_password(file: Path) -> str:
    """Return the password in a file.

    Raises:
        Unreadable: Others may read or write the file, or it holds no password.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise Unreadable(
            "The servers' password cannot be read",
            where=file,
            cause=str(error),
            remedy=RENEW,
        ) from error

    with os.fdopen(descriptor, encoding="utf-8", errors="replace") as stream:
        about = os.fstat(stream.fileno())
        if (
            about.st_uid != os.geteuid()
            or stat.S_IMODE(about.st_mode) & 0o077
            or not stat.S_ISREG(about.st_mode)
        ):
            raise Unreadable(
                "The password of the servers may be known to other users", where=file, remedy=RENEW
            )
        password = stream.read(1_000).strip()

    if (
        len(password) < 16
        or not password.isascii()
        or not password.isprintable()
        or ":" in password
    ):
        raise Unreadable(
            "The file holds no password of at least 16 characters", where=file, remedy=RENEW
        )

    return password


class AccessTokens:
    """The tokens in a file; a change of the file takes effect at once.

    Raises:
        Unreadable: The file is absent, or it is no file of tokens.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._read: tuple[int, int] | None = None
        self._hashes: dict[str, str] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read the file again if it has changed."""
        try:
            about = self.file.stat()
            now = (about.st_mtime_ns, about.st_size)
            if now != self._read:
                self._hashes = {
                    name: str(entry["sha256"]) for name, entry in _read(self.file).items()
                }
                self._read = now
        except OSError as error:
            raise Unreadable(
                "The access tokens cannot be read", where=self.file, cause=str(error)
            ) from error

    def name_of(self, token: str) -> str | None:
        """Return the name of a token, or None; the time it takes tells nothing about the tokens."""
        given = _sha256(token)
        owner = None
        for name, digest in self._hashes.items():
            owner = name if hmac.compare_digest(given, digest) else owner
        return owner


def list_tokens(file: Path) -> list[dict[str, str]]:
    """Return names and times of creation."""
    entries = _read(file)
    return [
        {"name": name, "created": str(entry.get("created", ""))} for name, entry in entries.items()
    ]


def add_token(file: Path, name: str) -> str:
    """Make a token and return it; only its hash is kept.

    Raises:
        InputError: The name is taken or cannot be used.
    """
    entries = _read(file)
    try:
        require_name(name)
    except ValueError as error:
        raise InputError(
            "The name of the token cannot be used", value=name, cause=str(error)
        ) from error

    if name in entries:
        raise InputError(
            "There is a token of this name",
            value=name,
            remedy=f"`reviewlm home tokens remove {name}`",
        )

    token = PREFIX + secrets.token_urlsafe(32)
    entries[name] = {
        "sha256": _sha256(token),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    _write(file, entries)
    return token


def remove_token(file: Path, name: str) -> None:
    """Remove a token.

    Raises:
        InputError: There is none of this name.
    """
    entries = _read(file)
    if entries.pop(name, None) is None:
        holders = ", ".join(entries) or "none"
        raise InputError("There is no token of this name", value=name, cause=f"known: {holders}")
    _write(file, entries)


def _read(file: Path) -> dict[str, dict[str, str]]:
    """Return the tokens of a file by their names; none if there is no file."""
    if not file.exists():
        return {}

    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        if all(isinstance(entry["sha256"], str) for entry in entries.values()):
            return dict(entries)
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise Unreadable(
            "This is not a file of access tokens", where=file, cause=str(error)
        ) from error

    raise Unreadable("This is not a file of access tokens", where=file)


def _write(file: Path, entries: dict[str, dict[str, str]]) -> None:
    write_output(file, json.dumps(entries, indent=1), mode=0o600)


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
