"""Keep the addresses that alerts go to in a file of the home folder; only its owner reads it, as it has passwords."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from reviewlm.core.errors import Unreadable, without_secrets
from reviewlm.core.output import write_output

FILE = "alerts.json"
WITH_HOST = ("mailto", "mailtos", "json", "jsons", "form", "forms", "xml", "xmls")
"""Kinds of addresses that begin with a host; `slack://` and others begin with a token."""
SILENCE_DAYS = 8
"""Days without a finished retrain after which an alert is sent: one more than those of a weekly schedule."""


@dataclass(frozen=True)
class AlertSettings:
    """Where alerts go, and after how many days without a finished retrain one is sent.

    Args:
        addresses: Addresses of Apprise: `mailto://user:password@host?to=…`, `json://host/path`, `slack://…`.
        silence_days: Days; a fraction is allowed.
    """

    addresses: tuple[str, ...] = ()
    silence_days: float = SILENCE_DAYS

    def shown(self) -> list[str]:
        """Return the addresses without what may be secret: the kind and, where an address begins with one, the host."""
        return [_mask(*one.split("://", 1)) for one in self.addresses]


_JSON = TypeAdapter(AlertSettings)


def _mask(kind: str, rest: str) -> str:
    host = ""
    if kind in WITH_HOST:
        host = re.split("[/?]", rest)[0].rpartition("@")[2]

    if re.fullmatch(r"[\w.-]+(:\d+)?", host):
        return f"{kind}://{host}/…"
    return f"{kind}://…"


def has_secret(address: str) -> bool:
    """Return whether an address of Apprise has a password, or begins with a token as those of services do."""
    kind, _, rest = address.partition("://")
    login = re.split("[/?]", rest)[0].rpartition("@")[0]
    return kind not in WITH_HOST or ":" in login or without_secrets(address) != address


def read_alerts(home: Path) -> AlertSettings:
    """Return the settings of a home folder; without a file, alerts go nowhere.

    Raises:
        Unreadable: The file is damaged.
    """
    file = home / FILE
    try:
        if b'"addresses"' not in (content := file.read_bytes()):
            raise ValueError("it has no addresses")
        return _JSON.validate_json(content)
    except FileNotFoundError:
        return AlertSettings()
    except (OSError, ValueError) as error:
        cause = str(error)
        # Its text shows the input, and an address may be a password.
        if isinstance(error, ValidationError):
            complaints = []
            for fault in error.errors():
                field = ".".join(map(str, fault["loc"][:1]))
                complaints.append(f"{field} {fault['msg']}".strip())

            cause = "; ".join(complaints)
        raise Unreadable(
            "The addresses of alerts cannot be read",
            where=file,
            cause=cause,
            remedy="set them again with `reviewlm home alerts set`",
        ) from error


def write_alerts(
    home: Path,
    addresses: Sequence[str],
    silence_days: float,
) -> AlertSettings:
    """Replace the settings of a home folder; only the owner may read them."""
    settings = AlertSettings(tuple(addresses), silence_days)
    home.mkdir(parents=True, exist_ok=True)
    write_output(home / FILE, _JSON.dump_json(settings), 0o600)
    return settings
