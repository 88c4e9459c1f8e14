"""Answer `GET /models/card`: what a version is, how good it is, and how it came to its role."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response

from models.specs import to_dict
from serving.api.answers import as_json, described
from serving.api.work import Services

router = APIRouter()


@router.get("/models/card", **described(None, "Describe a version: model, data, verdict, history."))
async def card(request: Request, model: str = "") -> Response:
    """Return the facts of the bundle, and what the registry records about the version."""
    services = Services.of(request)
    async with services.leased(request, model) as version:
        recorded = await asyncio.to_thread(services.versions.source.card, version.number)
        bundle = version.bundle
        told: dict[str, Any] = {
            "model": version.id, "bundle": bundle.digest, "name": bundle.spec.name, "kind": bundle.spec.kind,
            "vocabulary": {"unit": bundle.vocabulary.unit, "entries": bundle.vocabulary.size},
            "stars": list(bundle.stars_prior),
            "numbers": {"used": version.engine.numbers, "int8_loss": version.engine.loss},
            "options": to_dict(bundle.spec), **recorded,
        }  # fmt: skip
    return as_json(told)
