"""Serve the files of the page, with a Content-Security-Policy that allows requests to this server only."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from fastapi import APIRouter, Response

from reviewlm.serving.api.answers import ApiError

FOLDER = Path(__file__).parent / "files"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
router = APIRouter()


@cache
def _files() -> dict[str, tuple[bytes, str]]:
    return {
        path.name: (path.read_bytes(), KINDS[path.suffix])
        for path in FOLDER.iterdir()
        if path.suffix in KINDS
    }


def _file(name: str) -> Response:
    if name not in _files():
        raise ApiError(404, f"the page has no file {name[:80]!r}", "not_found")
    content, kind = _files()[name]
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
    return Response(content, headers=headers, media_type=kind)


@router.get("/", include_in_schema=False)
async def page() -> Response:
    """Return the page."""
    return _file("index.html")


@router.get("/docs", include_in_schema=False)
async def docs() -> Response:
    """Return the page that lists all addresses with their parameters."""
    return _file("docs.html")


@router.get("/page/{name}", include_in_schema=False)
async def file(name: str) -> Response:
    """Return a file of the page."""
    return _file(name)
