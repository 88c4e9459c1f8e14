"""The memory of a server stays the same, however many texts it is asked for: what it keeps of them has a limit."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

import psutil
import pytest

from benchmarks.serving.http_load import post, send_all
from reviewlm.models.bundles.bundle import INT8_LOSS, Bundle
from reviewlm.models.specs import ObjectiveSpec
from tests.serving.engine.small_models import network, vocabulary_of
from tests.serving.made_versions import MadeSource
from tests.serving.served import answering

REQUESTS, PARTS, CACHE_MB = 10_000, 10, 1
MOST_GROWTH = 12 << 20
"""Bytes that the process may grow in the second half: it was 3 and 4.6 million, and 83 million without the limit."""
LAST_SEARCH = 6_000_000
"""Bytes that the last search for words has read; they are dropped when the next one begins."""
WORDS = ("soup", "staff", "pizza", "beer", "tacos", "prices", "great", "cold", "slow", "kind")


def texts() -> Iterator[str]:
    """Yield texts, each another one."""
    for number in range(REQUESTS):
        yield "The " + " ".join(WORDS[int(digit)] for digit in f"{number:05d}")


def requests(asked: list[str], part: int) -> list[bytes]:
    """Return completions, scores, and texts that are typed letter by letter."""
    completions = [
        post(
            "/v1/completions",
            {
                "prompt": text,
                "max_tokens": 5,
                "seed": part,
            },
        )
        for text in asked[:-80]
    ]
    scores = [post("/score", {"texts": [text]}) for text in asked[-80:-40]]
    typed = [post("/suggest", {"prompt": asked[-1][:end], "k": 3}) for end in range(1, 21)]
    further = [
        post(
            "/suggest",
            {
                "prompt": asked[-2][:end],
                "k": 3,
                "stars": 5,
            },
        )
        for end in range(1, 21)
    ]
    return [*completions, *scores, *typed, *further]


@pytest.mark.long
def test_ten_thousand_requests_leave_the_memory_as_it_was(
    record_property: Callable[[str, object], None],
) -> None:
    vocabulary = vocabulary_of("bpe")
    spec, model = network("lstm", vocabulary.size, objective=ObjectiveSpec(output="softmax"))
    source = MadeSource(champion=1)
    source.make = lambda number: replace(
        Bundle(spec, vocabulary, model, {INT8_LOSS: 0.0}), digest=f"{number:064d}"
    )
    memory, kept, answered, waiting = [], [], 0, texts()
    with answering(source, cache_megabytes=CACHE_MB) as (address, versions):
        for part in range(PARTS):
            asked = requests(list(islice(waiting, REQUESTS // PARTS)), part)
            answers = send_all(int(address.rpartition(":")[2]), asked, 16).answers
            assert {answer.status for answer in answers} == {200}
            answered += len(answers)
            gc.collect()
            memory.append(psutil.Process().memory_info().rss)
            kept.append(versions.champion.engine.figures().cache_bytes)
    assert answered == REQUESTS
    record_property("KiB of the process", [one >> 10 for one in memory])
    assert max(kept) <= 1e6 * CACHE_MB + LAST_SEARCH
    assert min(kept[PARTS // 2 :]) > 0.5e6 * CACHE_MB, "the limit must have been reached"
    assert memory[-1] - memory[PARTS // 2 - 1] < MOST_GROWTH
