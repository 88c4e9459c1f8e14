"""Generate and read the credentials of the local servers.

The password is made once per home folder and kept in a file that only its owner can read. Credentials are passed on in
environment variables, never as arguments: any user of the machine can list those.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from core.errors import Unreadable, disk_errors

USER = "reviewlm"
PASSWORD_FILE = "ui-password"
BYTES = 24
RENEW = "delete the file; `reviewlm services stop` and `reviewlm services start` create a new password"


def password_of(home: Path) -> str:
    """Return the password of this home's Prefect and MLflow servers, made at random on first use.

    Raises:
        Unreadable: Others may read or write the file, or it holds no password.
    """
    file = home / PASSWORD_FILE
    with disk_errors(home):
        made = _create(file)
        return made or read_password(file)


def prefect_server(credentials: str, origin: str = "") -> dict[str, str]:
    """Return the settings of a Prefect server that needs *credentials* and takes browser requests from its own pages.

    Args:
        credentials: "user:password".
        origin: Scheme, host and port of its pages, to which the links in alerts lead unless PREFECT_UI_URL names
            another address; empty if it has none.
    """
    allowed = origin or "http://none.invalid"  # Prefect takes an empty value for "any origin"
    links = {"PREFECT_UI_URL": os.environ.get("PREFECT_UI_URL") or origin} if origin else {}
    return {
        "PREFECT_SERVER_API_AUTH_STRING": credentials, "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": allowed, **links,
    }  # fmt: skip


def prefect_client(credentials: str) -> dict[str, str]:
    """Return the setting that lets Prefect's flows, workers and commands use a server with these credentials."""
    return {"PREFECT_API_AUTH_STRING": credentials}


def credentials_of(home: Path) -> str:
    """Return "user:password" of this home's servers."""
    return f"{USER}:{password_of(home)}"


def one_time() -> str:
    """Return random credentials for a server that ends with this process."""
    return f"{USER}:{secrets.token_urlsafe(BYTES)}"


def _create(file: Path) -> str:
    """Write a new password and return it, or "" if there is a file already.

    The file appears complete, and only its owner can read it.
    """
    password = secrets.token_urlsafe(BYTES)
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.is_symlink() or file.exists():
        return ""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as out:
            out.write(password + "\n")
        os.link(temporary, file)  # fails if another process was faster
    except FileExistsError:
        return ""
    finally:
        temporary.unlink()
    return password


def read_password(file: Path, remedy: str = RENEW) -> str:
    """Return the password in a file.

    Args:
        remedy: What to do about a file that is not as it should be.

    Raises:
        Unreadable: Others may read or write the file, or it holds no password.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError as error:
        raise Unreadable("The servers' password cannot be read", where=file, cause=str(error), remedy=remedy) from error
    with os.fdopen(descriptor, encoding="utf-8", errors="replace") as found:
        about = os.fstat(found.fileno())
        if about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) & 0o077 or not stat.S_ISREG(about.st_mode):
            raise Unreadable("The password of the servers may be known to other users", where=file, remedy=remedy)
        password = found.read(1_000).strip()
    if len(password) < 16 or not password.isascii() or not password.isprintable() or ":" in password:
        raise Unreadable("The file holds no password of at least 16 characters", where=file, remedy=remedy)
    return password
