"""No request keeps an engine or the event loop from its other work for longer than one slice or one text takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from threading import current_thread
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from made_versions import MadeSource
from served import answering

from models.text.normal_form import NormalForm
from models.tokens.vocabulary import Vocabulary
from serving.api.work import warnings_of
from serving.engine.engine import Engine
from serving.scoring import CHARACTERS
from tests.serving.engine.small_models import TEXTS, bundle_of

MANY = [f"{text} " * 30 for text in TEXTS[:6]] * 8
LONGEST = max(map(len, MANY))
APPLY, ENCODE = NormalForm.apply, Vocabulary.encode_documents


@pytest.mark.parametrize(("path", "name"), [("/v1/embeddings", "input"), ("/score", "texts")])
def test_a_job_of_the_engine_makes_a_few_texts_into_tokens_at_most(
    path: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaned, encoded, run = [0], [0], Engine.run

    def begun(engine: Engine, job: Callable[[Any], Any]) -> Any:
        def counted(context: Any) -> Any:
            cleaned.append(0)
            encoded.append(0)
            return job(context)

        return run(engine, counted)

    def apply(form: NormalForm, text: str) -> str:
        cleaned[-1] += len(text) if current_thread().name.startswith("engine") else 0
        return APPLY(form, text)

    def encode(vocabulary: Vocabulary, texts: Any, *rest: Any, **named: Any) -> Any:
        encoded[-1] += sum(map(len, texts))
        return ENCODE(vocabulary, texts, *rest, **named)

    source = MadeSource(champion=1)
    source.make = lambda number: bundle_of("lstm")
    with answering(source) as (address, _):
        monkeypatch.setattr(Engine, "run", begun)
        monkeypatch.setattr(NormalForm, "apply", apply)
        monkeypatch.setattr(Vocabulary, "encode_documents", encode)
        assert httpx.post(address + path, json={name: MANY}, timeout=60).status_code == 200
    assert sum(cleaned) == sum(map(len, MANY)) > 5 * CHARACTERS
    assert sum(encoded) > 5 * CHARACTERS
    assert max(*cleaned, *encoded) < CHARACTERS + LONGEST


def test_the_event_loop_gets_its_turn_while_texts_are_searched_for_unknown_scripts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = 0

    def apply(form: NormalForm, text: str) -> str:
        nonlocal read
        read += len(text)
        return APPLY(form, text)

    async def turns() -> tuple[list[str], list[int]]:
        version = cast(Any, SimpleNamespace(bundle=bundle_of("lstm")))
        work = asyncio.ensure_future(warnings_of(version, [*MANY, "очень вкусно", *MANY, "вкусно"], 0))
        found = [read]
        while not work.done():
            await asyncio.sleep(0)
            found.append(read)
        return work.result(), found

    monkeypatch.setattr(NormalForm, "apply", apply)
    warnings, found = asyncio.run(turns())
    assert ["unknown rating" in warnings[0], "Cyrillic" in warnings[1], len(warnings)] == [True, True, 2]
    assert max(after - before for before, after in pairwise(found)) < CHARACTERS + LONGEST + len(MANY)
