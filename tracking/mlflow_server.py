"""Serve MLflow behind a check of Host, Origin and password (`core/web_guard.py`), for `uvicorn --factory`.

`mlflow server` needs another package for a password, and it accepts requests from web pages of other local ports. So
this module sets up its application as that command does, without the runner of background jobs and without MLflow's
assistant, which would run commands on this machine, and wraps it in the guard.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Mount, Route

from reviewlm.core.credentials import credentials_of
from reviewlm.core.environment import TRACKING_VARIABLE, home_folder
from reviewlm.core.sqlite_files import home_database
from reviewlm.core.web_guard import Application, Guard
from reviewlm.tracking.artifacts import ARTIFACTS, new_address
from reviewlm.tracking.client import require_whole

ASSISTANT = "/ajax-api/3.0/mlflow/assistant"
CLOSED = "<script>localStorage['mlflow.assistant.fab.autoOpenedOnFirstLoad_v1'] ??= 'true'</script>"
"""Tell MLflow's page that the assistant has been shown before."""


def application() -> Guard:
    """Return MLflow's server (API and UI) for the database of `REVIEWLM_TRACKING_URI`, or else that of this home.

    It is protected by the home's password.
    """
    from mlflow.server import constants

    home = home_folder()
    store = os.environ.get(TRACKING_VARIABLE) or home_database(home)
    require_whole(store)  # MLflow would migrate older tables, without a backup
    root = new_address(store, home / ARTIFACTS)
    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = store
    os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = root
    os.environ[constants.SERVE_ARTIFACTS_ENV_VAR] = "true"
    os.environ[constants.ARTIFACTS_DESTINATION_ENV_VAR] = (home / ARTIFACTS).as_uri()
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    from mlflow.server.fastapi_app import app  # reads the variables above
    from mlflow.server.handlers import initialize_backend_stores

    initialize_backend_stores(store, store, root)
    app.router.routes[:0] = [
        Route("/", _first_page),
        Mount(ASSISTANT, PlainTextResponse("not offered here", 404)),
    ]
    return Guard(cast(Application, app), credentials_of(home))


def _first_page(request: Request) -> HTMLResponse:
    """Return MLflow's page, in which the panel of its assistant does not open by itself over a third of the figures."""
    import mlflow.server

    page = Path(mlflow.server.__file__).parent / mlflow.server.REL_STATIC_DIR / "index.html"
    return HTMLResponse(page.read_text(encoding="utf-8").replace("<head>", f"<head>{CLOSED}", 1))
