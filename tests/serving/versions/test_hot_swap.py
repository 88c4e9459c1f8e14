"""Champions change under load: no request fails, and each answer is of exactly one version, the one that it names."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from core.errors import BundleError
from tests.serving.made_versions import FOODS, MadeSource, food_of
from tests.serving.served import answering
from tests.serving.users import Answer, load

SIZES = [(200, 5, 16), pytest.param(6_000, 8, 64, marks=pytest.mark.long)]
"""Requests, swaps that succeed, users at the same time."""


def other_foods(answer: Answer) -> str:
    """Say which foods of other versions an answer has."""
    foods = {food for food in FOODS if food in answer.text} - {food_of(answer.number)}
    return f"wrote of {foods}" if foods else ""


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
            answers, failures = asyncio.run(
                load(address, requests, users, other_foods, lambda made: swapping.is_alive())
            )
        finally:
            over.set()
            swapping.join(60)
        versions.look()
        assert failures == []
        assert len(answers) >= requests
        assert served == [2, 2, 3, 1, 5, 2, 6, 1, 3, 5][: swaps + 1]
        assert {answer.number for answer in answers} == {1, *served}
        assert [one.number for one in versions.open_versions()] == [served[-1]]
        assert versions.metrics.registry.get_sample_value("reviewlm_versions_total", {"event": "refused"}) == 1


def _answered(value) -> list[float]:
    return [value("reviewlm_requests_total", {"route": route, "status": "200"}) or 0.0
            for route in ("/v1/completions", "/suggest", "/score")]  # fmt: skip
