"""Champions change under load: no request fails, and each answer is of exactly one version, the one that it names."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Callable

import httpx
import pytest

from core.errors import BundleError
from tests.serving.made_versions import FOODS, MadeSource, food_of
from tests.serving.served import answering

SIZES = [(200, 5, 16), pytest.param(6_000, 8, 64, marks=pytest.mark.long)]
"""Requests, swaps that succeed, users at the same time."""


class Client:
    """One of many users: asks again and again, for texts, streams, words and scores, until it is told to stop."""

    def __init__(self, http: httpx.AsyncClient, seed: int) -> None:
        self.http = http
        self.random, self.answers, self.failures = random.Random(seed), Counter(), []

    async def ask(self) -> None:
        kind = self.random.choice(["text", "text", "stream", "words", "score"])
        try:
            model, text = await getattr(self, kind)()
        except Exception as error:
            self.failures.append(f"{kind}: {error!r}")
            return
        self.answers[model] += 1
        foods = {food for food in FOODS if food in text}
        own = food_of(int(model.partition("/")[2]))
        if foods - {own}:
            self.failures.append(f"{kind}: {model} wrote of {foods}")

    async def post(self, path: str, body: dict[str, object]) -> dict:
        answer = await self.http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def text(self) -> tuple[str, str]:
        body = {"prompt": "The", "max_tokens": 12, "seed": self.random.randrange(1_000)}
        told = await self.post("/v1/completions", body)
        return told["model"], told["choices"][0]["text"]

    async def stream(self) -> tuple[str, str]:
        body = {"prompt": "The", "max_tokens": 12, "seed": self.random.randrange(1_000), "stream": True}
        models, text, done = set(), "", False
        async with self.http.stream("POST", "/v1/completions", json=body) as answer:
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                if line == "data: [DONE]":
                    done = True
                elif line:
                    event = httpx.Response(200, content=line.removeprefix("data: ")).json()
                    models.add(event["model"])
                    text += event["choices"][0]["text"]
        assert done, "the stream was cut off"
        (model,) = models
        return model, text

    async def words(self) -> tuple[str, str]:
        told = await self.post("/suggest", {"prompt": "The", "k": 3})
        return told["model"], " ".join(word["word"] for word in told["words"])

    async def score(self) -> tuple[str, str]:
        told = await self.post("/score", {"texts": [f"The {food} was good." for food in FOODS]})
        known = [food for food, one in zip(FOODS, told["scores"], strict=True) if not one["oov"]]
        return told["model"], " ".join(known)


async def load(address: str, requests: int, users: int, more: Callable[[], bool]) -> tuple[Counter, list[str]]:
    """Ask so many times at least, and for as long as *more* says."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=users)
    http = httpx.AsyncClient(base_url=address, timeout=60, limits=limits)
    clients, left = [Client(http, seed) for seed in range(users)], [requests]

    async def use(client: Client) -> None:
        while left[0] > 0 or more():
            left[0] -= 1
            await client.ask()

    async with http:
        await asyncio.gather(*map(use, clients))
    answers = sum((client.answers for client in clients), Counter())
    return answers, [failure for client in clients for failure in client.failures]


@pytest.mark.slow
@pytest.mark.parametrize(("requests", "swaps", "users"), SIZES)
def test_no_request_fails_or_is_mixed_while_champions_change(requests: int, swaps: int, users: int) -> None:
    source = MadeSource(champion=1)
    source.count = len(FOODS)
    source.broken = {4: BundleError("its files are damaged")}
    order = [2, 4, 3, 1, 5, 2, 6, 1, 3, 5][: swaps + 1]
    served: list[int] = []
    with answering(source, max_versions=0) as (address, versions):

        def swap() -> None:
            for number in order:
                wait_for_answers()
                source.aliases = {"champion": number}
                versions.look()
                served.append(versions.champion.number)
            wait_for_answers()

        def wait_for_answers() -> None:
            """Wait for more answers than there are users: at least one of them was asked for after the last swap."""
            value = versions.metrics.registry.get_sample_value
            enough = sum(_answered(value)) + max(users + 1, requests // (len(order) + 1))
            while sum(_answered(value)) < enough and not over.is_set():
                time.sleep(0.002)

        over = threading.Event()
        swapping = threading.Thread(target=swap)
        swapping.start()
        try:
            answers, failures = asyncio.run(load(address, requests, users, swapping.is_alive))
        finally:
            over.set()
            swapping.join(60)
        versions.look()
        assert failures == []
        assert sum(answers.values()) >= requests
        assert served == [2, 2, 3, 1, 5, 2, 6, 1, 3, 5][: swaps + 1]
        assert set(answers) == {f"reviewlm/{number}" for number in {1, *served}}
        assert [one.number for one in versions.open_versions()] == [served[-1]]
        assert versions.metrics.registry.get_sample_value("reviewlm_versions_total", {"event": "refused"}) == 1


def _answered(value) -> list[float]:
    return [value("reviewlm_requests_total", {"route": route, "status": "200"}) or 0.0
            for route in ("/v1/completions", "/suggest", "/score")]  # fmt: skip
