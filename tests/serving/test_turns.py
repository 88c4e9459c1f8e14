"""No request keeps an engine or the event loop from its other work for longer than one slice or one text takes."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from threading import current_thread
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from models.text.normal_form import NormalForm
from models.tokens.vocabulary import Vocabulary
from serving.api.work import warnings_of
from serving.engine import jobs
from serving.scoring import CHARACTERS
from tests.serving.engine.small_models import TEXTS, bundle_of
from tests.serving.made_versions import MadeSource
from tests.serving.served import answering

MANY = [f"{text} " * 30 for text in TEXTS[:6]] * 8
LONGEST = max(map(len, MANY))
APPLY, ENCODE = NormalForm.apply, Vocabulary.encode_documents


@pytest.mark.parametrize(("path", "name"), [("/v1/embeddings", "input"), ("/score", "texts")])
def test_texts_become_tokens_a_few_at_a_time_and_not_in_the_engines_thread(
    path: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaned, encoded, called = [0], [0], jobs._called
    threads: set[str] = set()

    def begun(*given: Any) -> None:
        cleaned.append(0)
        encoded.append(0)
        called(*given)

    def apply(form: NormalForm, text: str) -> str:
        if current_thread().name.startswith(("engine", "tokens")):
            threads.add(current_thread().name.split()[0])
            cleaned[-1] += len(text)
        return APPLY(form, text)

    def encode(vocabulary: Vocabulary, texts: Any, *rest: Any, **named: Any) -> Any:
        threads.add(current_thread().name.split()[0])
        encoded[-1] += sum(map(len, texts))
        return ENCODE(vocabulary, texts, *rest, **named)

    source = MadeSource(champion=1)
    source.make = lambda number: bundle_of("lstm")
    with answering(source) as (address, _):
        monkeypatch.setattr(jobs, "_called", begun)
        monkeypatch.setattr(NormalForm, "apply", apply)
        monkeypatch.setattr(Vocabulary, "encode_documents", encode)
        assert httpx.post(address + path, json={name: MANY}, timeout=60).status_code == 200
    assert {thread.split("_")[0] for thread in threads} == {"tokens"}
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
