"""Check that the Prefect server that PREFECT_API_URL names answers, and has a version that fits.

The servers of `services start` are checked in `servers.py`. Here only the address is known: the server may be of
another machine, of another version, or no Prefect server at all. Its pages show its pools, limits and deployments.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.parse import urlsplit

from core.errors import without_password
from core.services.prefect_api import ask
from reviewlm.doctor.health_line import HealthLine, State
from reviewlm.doctor.servers import PATIENCE, installed_version

if TYPE_CHECKING:
    from core.config.run_config import RunConfig

URL, LOGIN = "PREFECT_API_URL", "PREFECT_API_AUTH_STRING"
AS = "correct it: the address of Prefect's API ends in /api, as http://127.0.0.1:4200/api"


def check_named_server(config: RunConfig) -> Iterator[HealthLine]:
    """Check that the server answers as a Prefect API, and has a version that fits."""
    if not (url := os.environ.get(URL, "")):
        return
    shown = without_password(url)
    if urlsplit(url).scheme not in ("http", "https"):
        yield HealthLine(URL, "problem", f"{shown} is not an address of a web server", AS)
        return
    try:
        there = ask({**os.environ, URL: url.rstrip("/")}, "GET", "/admin/version", None, PATIENCE)
        if not isinstance(there, str):
            raise ValueError("no version")  # but a page
    except HTTPError as error:
        yield HealthLine(URL, "problem", f"{shown} {_refusal(error)}", _remedy_of(error))
        return
    except OSError as error:
        why = f"{shown} does not answer: {getattr(error, 'reason', error)}"
        yield HealthLine(URL, "problem", why, f"start that server, correct {URL}, or unset it to do without")
        return
    except (ValueError, HTTPException):
        yield HealthLine(URL, "problem", f"{shown} answers, but not as the API of a Prefect server", AS)
        return
    yield _version_line(shown, there)


def _refusal(error: HTTPError) -> str:
    """Return what a server has answered, in words."""
    if error.code == 401:
        sent = os.environ.get(LOGIN) or os.environ.get("PREFECT_API_KEY")
        return "does not accept the credentials" if sent else "needs credentials, and none are set"
    reason = " ".join(error.read(200).decode("utf-8", "replace").split())
    return f"answers with error {error.code}" + (f": {reason}" if error.code == 403 and reason else "")


def _remedy_of(error: HTTPError) -> str:
    if error.code == 401:
        return f"set {LOGIN} to USER:PASSWORD of that server (`reviewlm services password` shows it on its machine)"
    if error.code == 403:
        return "on the machine of the server, add this name to REVIEWLM_UI_HOSTS and start the services again"
    return AS


def _version_line(shown: str, there: str) -> HealthLine:
    ours = installed_version("prefect")
    same = [one.split(".")[:2] for one in (there, ours)]
    if same[0] == same[1]:
        return HealthLine(URL, "ok", f"{shown} answers, version {there} (installed: {ours})")
    state: State = "warning" if same[0][:1] == same[1][:1] else "problem"
    return HealthLine(URL, state, f"{shown} has version {there}, installed is {ours}",
                      "install the same version on both sides; the server first, if it is the older one")  # fmt: skip
