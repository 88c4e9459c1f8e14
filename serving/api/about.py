"""Answer requests about the server: models, versions, health, readiness, metrics."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from reviewlm.core.errors import ReviewLMError
from reviewlm.models.bundles.bundle import INT8_LOSS, Bundle
from reviewlm.models.specs import to_dict
from reviewlm.serving.api.answers import ApiError, as_json, describe_route
from reviewlm.serving.api.work import Services
from reviewlm.serving.versions.open_version import (
    Contents,
    Refusal,
    RegistrySource,
    reason_of,
)

NOT_RECORDED: dict[str, Any] = {
    "links": {},
    "family": "",
    "adaptation": "",
    "since": None,
    "data": {"made_from": "", "digest": ""},
    "rules": [],
    "figures": [],
    "history": [],
}
"""Card of a version that the registry does not know, without its verdict."""
router = APIRouter()
log = logging.getLogger(__name__)


@router.get("/v1/models/", include_in_schema=False)
@router.get("/v1/models", **describe_route(None, "List the aliases and versions of the model."))
async def models(request: Request) -> Response:
    """Return the aliases first, then all versions, the newest first, each with the other models of its run."""
    versions = Services.of(request).versions
    contents = versions.contents()
    names = [(f"{versions.name}@{alias}", key) for alias, key in sorted(contents.aliases.items())]
    names += [(f"{versions.name}/{key}", key) for key in contents.created]
    entries = [_model(versions.name, id, key, contents) for id, key in names]
    return as_json({"object": "list", "data": entries})


@router.get(
    "/v1/models/{model:path}",
    **describe_route(None, "Describe an alias or a version.", {"model": "champion"}),
)
async def named_model(request: Request, model: str) -> Response:
    """Return which version a name stands for."""
    versions = Services.of(request).versions
    return as_json(_model(versions.name, model, versions.key_of(model), versions.contents()))


def _model(
    name: str,
    id: str,
    key: str,
    contents: Contents,
) -> dict[str, Any]:
    created: datetime = contents.created[key]
    aliases = sorted(alias for alias, target in contents.aliases.items() if target == key)
    return {
        "id": id,
        "object": "model",
        "created": int(created.timestamp()),
        "owned_by": "reviewlm",
        "version": f"{name}/{key}",
        "aliases": aliases,
    }


@router.get(
    "/models/card", **describe_route(None, "Describe a version: model, data, verdict, history.")
)
async def card(request: Request, model: str = "") -> Response:
    """Return the facts of the bundle, and what the registry records about the version."""
    services = Services.of(request)
    async with services.lease(request, model) as version:
        recorded = await asyncio.to_thread(_registry_facts, services.versions.source, version.key)
        created = _creation_time(services.versions.contents(), version.key)
        facts = _bundle_facts(version.bundle)

    return as_json(
        {
            "model": version.id,
            "created": created,
            **facts,
            **recorded,
        }
    )


def _creation_time(contents: Contents, key: str) -> int | None:
    """Return when a version was registered, in seconds since 1970; None if it was deleted meanwhile."""
    created = contents.created.get(key)
    if created is None:
        return None
    return int(created.timestamp())


def _bundle_facts(bundle: Bundle) -> dict[str, Any]:
    """Return the facts of an answer about a model that its bundle holds."""
    vocabulary = {"unit": bundle.vocabulary.unit, "entries": bundle.vocabulary.size}
    numbers = {
        "used": bundle.writer.numbers,
        "why": bundle.writer.why,
        "int8_loss": bundle.facts.get(INT8_LOSS),
    }
    spec = bundle.spec
    return {
        "bundle": bundle.digest,
        "name": spec.name,
        "kind": spec.kind,
        "vocabulary": vocabulary,
        "stars": list(bundle.stars_prior),
        "numbers": numbers,
        "options": to_dict(spec),
    }


def _registry_facts(source: RegistrySource, key: str) -> dict[str, Any]:
    """Return the registry's facts about a version; if it lacks the version or is away, the reason."""
    try:
        return source.card(key)
    except ReviewLMError as error:
        return {**NOT_RECORDED, "verdict": f"not known: {reason_of(error)}"}


@router.get(
    "/healthz",
    **describe_route(None, "Say whether the process works; if not, it must be started again."),
)
async def healthz(request: Request) -> Response:
    """Answer 503 if the thread of an engine has ended; which one is in the log, since anybody may ask."""
    open_versions = Services.of(request).versions.open_versions()
    dead = [version.id for version in open_versions if not version.engine.figures().alive]
    if dead:
        log.error("the engine of %s has ended", ", ".join(dead))
        raise ApiError(
            503, "an engine has ended: restart the server; its log has the reason", "engine_ended"
        )

    return as_json({"status": "ok"})


@router.get(
    "/readyz",
    **describe_route(
        None, "Say whether requests should be sent here, and which versions are refused."
    ),
)
async def readyz(request: Request) -> Response:
    """Answer 503 while the server is shutting down, or if the champion's engine has ended.

    Without a language model, `champion` and `since` are null, and the server is there for its classifier. A request
    without a known token, if there are tokens, or under another Host name gets the status only: reasons of refusals may
    name files and addresses.
    """
    services = Services.of(request)
    versions = services.versions
    classifiers = services.classifiers
    champion = versions.champion
    classifier = classifiers and classifiers.champion
    alive = champion is None or champion.engine.figures().alive
    status = "ready" if alive else "engine ended"
    if versions.draining:
        status = "ending"

    code = 200 if status == "ready" else 503
    if request.scope["stranger"]:
        return as_json({"status": status}, code)

    answer: dict[str, Any] = {"status": status, "champion": champion and champion.id}
    answer["classifier"] = classifier and classifier.id
    answer["since"] = champion and champion.opened.isoformat(timespec="seconds")
    answer["open"] = sorted(version.id for version in versions.open_versions())
    refusals = versions.refusals()
    answer["refused"] = [_as_json_values(versions.name, refusal) for refusal in refusals]
    answer["registry"] = versions.registry_error or versions.registry_note or "ok"
    return as_json(answer, code)


def _as_json_values(name: str, refusal: Refusal) -> dict[str, str]:
    return {
        "version": f"{name}/{refusal.key}",
        "why": refusal.why,
        "when": refusal.when.isoformat(timespec="seconds"),
    }


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    **describe_route(None, "Figures in Prometheus' text format."),
)
async def metrics(request: Request) -> Response:
    """Return the figures of this process."""
    services = Services.of(request)
    services.versions.observe()
    return Response(services.metrics.text(), media_type=services.metrics.content_type)
