"""Keep the access tokens of the server: names and SHA-256 of the tokens, in a file of the home folder.

A token is 256 random bits, so a plain hash is enough: nobody can guess it from its hash.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from datetime import UTC, datetime
from pathlib import Path

from core.errors import InputError, Unreadable
from core.output import write_output
from models.names import require_name

FILE = "tokens.json"
PREFIX = "rlm_"


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
            if (now := (about.st_mtime_ns, about.st_size)) != self._read:
                self._hashes = {name: str(entry["sha256"]) for name, entry in _read(self.file).items()}
                self._read = now
        except OSError as error:
            raise Unreadable("The access tokens cannot be read", where=self.file, cause=str(error)) from error

    def name_of(self, token: str) -> str | None:
        """Return the name of a token, or None; the time it takes tells nothing about the tokens."""
        given, found = _sha256(token), None
        for name, known in self._hashes.items():
            found = name if hmac.compare_digest(given, known) else found
        return found


def list_tokens(file: Path) -> list[dict[str, str]]:
    """Return names and times of creation."""
    entries = _read(file) if file.exists() else {}
    return [{"name": name, "created": str(entry.get("created", ""))} for name, entry in entries.items()]


def add_token(file: Path, name: str) -> str:
    """Make a token and return it; only its hash is kept.

    Raises:
        InputError: The name is taken or cannot be used.
    """
    entries = _read(file) if file.exists() else {}
    try:
        require_name(name)
    except ValueError as error:
        raise InputError("The name of the token cannot be used", value=name, cause=str(error)) from error
    if name in entries:
        raise InputError("There is a token of this name", value=name, remedy=f"reviewlm home tokens remove {name}")
    token = PREFIX + secrets.token_urlsafe(32)
    entries[name] = {"sha256": _sha256(token), "created": datetime.now(UTC).isoformat(timespec="seconds")}
    _write(file, entries)
    return token


def remove_token(file: Path, name: str) -> None:
    """Remove a token.

    Raises:
        InputError: There is none of this name.
    """
    entries = _read(file) if file.exists() else {}
    if entries.pop(name, None) is None:
        known = ", ".join(entries) or "none"
        raise InputError("There is no token of this name", value=name, cause=f"known: {known}")
    _write(file, entries)


def _read(file: Path) -> dict[str, dict[str, str]]:
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        if all(isinstance(entry["sha256"], str) for entry in entries.values()):
            return dict(entries)
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise Unreadable("This is not a file of access tokens", where=file, cause=str(error)) from error
    raise Unreadable("This is not a file of access tokens", where=file)


def _write(file: Path, entries: dict[str, dict[str, str]]) -> None:
    write_output(file, json.dumps(entries, indent=1), mode=0o600)


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
