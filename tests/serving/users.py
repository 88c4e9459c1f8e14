"""Users who ask a server for texts, streams, words and scores, and check each answer by the version it names."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from tests.serving.made_versions import FOODS

PROMPT, LENGTH, SEEDS, WORDS = "The", 12, 1_000, 3


@dataclass(frozen=True)
class Answer:
    """One answer: when it was asked for and complete, the version that it names, and its text.

    `text` is what is written for `seed` (in float32 if it is streamed), the suggested words, or the foods that the
    version knows.
    """

    kind: str
    seed: int
    number: int
    text: str
    asked: float
    complete: float


class User:
    """One of many users: asks again and again, and keeps the answers and what was wrong.

    Args:
        http: The server.
        seed: Decides the order of the requests.
        wrong: Says what is wrong with an answer; "" for nothing.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        seed: int,
        wrong: Callable[[Answer], str],
    ) -> None:
        self.http, self.wrong = http, wrong
        self.random = random.Random(seed)
        self.answers, self.failures = list[Answer](), list[str]()

    async def ask(self) -> None:
        kind, seed = (
            self.random.choice(["text", "text", "stream", "words", "score"]),
            self.random.randrange(SEEDS),
        )
        asked = time.monotonic()
        try:
            model, text = await getattr(self, kind)(seed)
        except Exception as error:
            self.failures.append(f"{kind}: {error!r}")
            return
        answer = Answer(
            kind,
            seed,
            int(model.partition("/")[2]),
            text,
            asked,
            time.monotonic(),
        )
        self.answers.append(answer)
        if said := self.wrong(answer):
            self.failures.append(f"{kind}: {model} {said}")

    async def post(self, path: str, body: dict[str, object]) -> dict:
        answer = await self.http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def text(self, seed: int) -> tuple[str, str]:
        told = await self.post(
            "/v1/completions",
            {
                "prompt": PROMPT,
                "max_tokens": LENGTH,
                "seed": seed,
            },
        )
        return told["model"], told["choices"][0]["text"]

    async def stream(self, seed: int) -> tuple[str, str]:
        body = {
            "prompt": PROMPT,
            "max_tokens": LENGTH,
            "seed": seed,
            "stream": True,
        }
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

    async def words(self, seed: int) -> tuple[str, str]:
        told = await self.post("/suggest", {"prompt": PROMPT, "k": WORDS})
        return told["model"], " ".join(word["word"] for word in told["words"])

    async def score(self, seed: int) -> tuple[str, str]:
        told = await self.post("/score", {"texts": [f"The {food} was good." for food in FOODS]})
        known = [food for food, one in zip(FOODS, told["scores"], strict=True) if not one["oov"]]
        return told["model"], " ".join(known)


async def load(
    address: str,
    requests: int,
    users: int,
    wrong: Callable[[Answer], str],
    more: Callable[[int], bool],
) -> tuple[list[Answer], list[str]]:
    """Ask so many times at least, and for as long as *more* says of the number of requests made; return all answers."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=users)
    http = httpx.AsyncClient(
        base_url=address,
        timeout=60,
        limits=limits,
    )
    everyone, made = [User(http, seed, wrong) for seed in range(users)], [0]

    async def use(user: User) -> None:
        while more(made[0]) or made[0] < requests:
            made[0] += 1
            await user.ask()

    async with http:
        await asyncio.gather(*map(use, everyone))
    answers = [answer for user in everyone for answer in user.answers]
    return answers, [failure for user in everyone for failure in user.failures]
