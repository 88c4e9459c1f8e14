"""Build the application: routes, checks of every request, errors in one JSON shape."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from reviewlm.core.config.sections.execution import ServingConfig
from reviewlm.core.credentials import AccessTokens
from reviewlm.serving.api import about, completions, embeddings, score, suggest
from reviewlm.serving.api import tokens as about_tokens
from reviewlm.serving.api.answers import JSON, KNOWN, ApiError, as_api_error, defect
from reviewlm.serving.api.door import Access, Door, is_loopback, path_of
from reviewlm.serving.api.work import Services
from reviewlm.serving.metrics import Metrics
from reviewlm.serving.page import routes as page
from reviewlm.serving.versions.versions import Versions

TITLE = "ReviewLM"
ABOUT = "Generate, complete, score, classify and encode reviews with registered models."
SAID = {
    404: ("not_found", "there is no such address; /openapi.json lists all"),
    405: ("method_not_allowed", "this address takes another method"),
}
"""Code and message for the framework's own refusals."""
CHAT = "/v1/chat/completions"
SLASH = "there is no such address; without the slash at its end there is"
NO_CHAT = "there is no such address: these models continue a text and do not chat; send the text to /v1/completions"


def create_app(
    versions: Versions,
    settings: ServingConfig,
    metrics: Metrics,
    tokens: AccessTokens | None,
    classifiers: Versions | None = None,
) -> Door:
    """Return the application that answers with these versions.

    Args:
        versions: The open versions; started by the caller.
        settings: Limits.
        metrics: What is counted.
        tokens: Access tokens; None: everyone is answered.
        classifiers: The open versions of the registered classifier; None: nothing is classified.
    """
    app = FastAPI(
        title=TITLE,
        description=ABOUT,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = Services(versions, settings, metrics, classifiers)
    for module in (completions, embeddings, suggest, score, about_tokens, about, page):
        # `include_router` would look for the route of each request twice.
        app.router.routes.extend(module.router.routes)

    kinds: list[type[Exception]] = [ApiError, *KNOWN, HTTPException, Exception]
    for kind in kinds:
        app.add_exception_handler(kind, _answer_error)

    hosts = None
    if settings.hosts or is_loopback(settings.host):
        hosts = settings.hosts

    access = Access(hosts, tokens, settings.requests_per_minute)
    most_bytes = settings.max_body_kilobytes * 1_000
    return Door(
        app,
        access,
        metrics,
        most_bytes,
        settings.request_seconds,
        settings.root_path,
    )


async def _answer_error(request: Request, error: Exception) -> Response:
    """Return the answer for an exception; `Door` logs the traceback of a defect."""
    if isinstance(error, HTTPException):  # the framework's own: 404, 405
        code, message = SAID.get(error.status_code, ("not_answered", str(error.detail)))
        headers = dict(error.headers or {})
        if path_of(request.scope) == CHAT:
            message = NO_CHAT
        elif error.status_code == 404 and _is_known_without_slash(request):
            # Relative, so that it holds behind any proxy. A client repeats method and body after a 307.
            headers["Location"] = f"../{request.scope['path'].rstrip('/').rpartition('/')[2]}"
            return _refuse(
                request,
                ApiError(
                    307,
                    SLASH,
                    "moved",
                    None,
                    headers,
                ),
            )
        elif allowed := (error.headers or {}).get("Allow"):
            message = f"this address does not take {request.method}; it takes {allowed}"
        refused: ApiError | None = ApiError(
            error.status_code,
            message,
            code,
            None,
            headers,
        )
    else:
        refused = as_api_error(error)
    return _refuse(request, refused or defect())


def _is_known_without_slash(request: Request) -> bool:
    """Return whether an address has only a slash too many at its end, as some clients put it there."""
    path = request.scope["path"]
    if not path.endswith("/") or path.endswith("//"):
        return False
    scope = {**request.scope, "path": path.removesuffix("/")}
    return any(route.matches(scope)[0] is not Match.NONE for route in request.app.routes)


def _refuse(request: Request, refusal: ApiError) -> Response:
    Services.of(request).metrics.refused.labels(refusal.code).inc()
    return Response(refusal.body(), refusal.status, refusal.headers, JSON)
