"""The real registry promotes and rolls back while users ask the server: no answer fails or is mixed.

One version is an LSTM, whose packed, mapped and int8 weights are swapped, too.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from prometheus_client.parser import text_string_to_metric_families

from reviewlm.core.config.section import TEMPERATURE, TOP_P
from reviewlm.models.bundles.bundle import INT8_LOSS, Bundle, load_bundle, save_bundle
from reviewlm.models.completion.suggestions import suggest
from reviewlm.models.neural.lm import NeuralLM
from reviewlm.models.sampling import generate
from reviewlm.models.specs import RecurrentSpec
from reviewlm.tracking.logged_models.bundles import log_bundle
from reviewlm.tracking.registry.registry import Registry
from reviewlm.tracking.registry.versions import CHAMPION
from reviewlm.tracking.runs.runs import Tracker
from reviewlm.tracking.tags import MODEL_URI_TAG
from tests.core.waiting import until
from tests.serving.made_versions import bundle_of, food_of
from tests.serving.processes import Process
from tests.serving.users import LENGTH, PROMPT, WORDS, Answer, load

pytestmark = pytest.mark.long
REQUESTS, USERS, VERSIONS = 5_000, 16, 4
LSTM, DAMAGED = 2, 4
SECONDS = 120
"""Time within which the server must serve a new champion; on an idle machine it is a fraction of a second."""


@dataclass
class Change:
    """A change of the champion: what a person or the gate does, and the version that must answer afterwards."""

    make: Callable[[Registry], Any]
    champion: int
    served: int


CHANGES = [
    Change(lambda registry: registry.promote(2, 1, why="better"), 2, 2),
    Change(lambda registry: registry.promote(3, 2, why="better"), 3, 3),
    Change(lambda registry: registry.rollback(against=3, why="complaints"), 2, 2),
    Change(lambda registry: registry.promote(DAMAGED, 2, why="better"), DAMAGED, 2),
    Change(
        lambda registry: registry.rollback(
            to=3,
            against=DAMAGED,
            why="it is refused",
        ),
        3,
        3,
    ),
    Change(
        lambda registry: registry.rollback(
            to=1,
            against=3,
            why="complaints",
        ),
        1,
        1,
    ),
    Change(lambda registry: registry.promote(2, 1, why="better"), 2, 2),
]


class Served:
    """The figures of the server."""

    def __init__(self, address: str) -> None:
        self.address = address

    def count(self, event: str) -> int:
        """Return how often versions were opened, made champion or refused."""
        said = httpx.get(f"{self.address}/metrics", timeout=60).text
        samples = [
            sample for family in text_string_to_metric_families(said) for sample in family.samples
        ]
        return int(
            sum(
                one.value
                for one in samples
                if one.name == "reviewlm_versions_total" and one.labels["event"] == event
            )
        )

    def wait_for(self, event: str, count: int) -> None:
        """Wait until so many are counted."""
        until(lambda: self.count(event) >= count, SECONDS, pause=0.05)

    def answered(self) -> dict[str, Any]:
        """Return what `/readyz` tells."""
        return dict(httpx.get(f"{self.address}/readyz", timeout=60).json())


def version(number: int) -> Bundle:
    """Return the n-gram model of a version; for one version, an untrained LSTM with the same vocabulary."""
    made = bundle_of(number)
    if number != LSTM:
        return made
    spec = RecurrentSpec(hidden=24, embedding=24)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = NeuralLM.build(spec, torch.ones(made.vocabulary.size, dtype=torch.int64))
    return replace(
        made,
        spec=spec,
        model=NeuralLM(spec, network, made.vocabulary.size),
        facts={INT8_LOSS: 0.0},
    )


@pytest.fixture
def registry(migrated_home: Path, tmp_path: Path) -> Registry:
    """Four versions as the flow exports and registers them; the first is champion, the last is damaged by the test."""
    tracker = Tracker(
        f"sqlite:///{migrated_home / 'mlflow.db'}", "reviewlm", migrated_home / "mlartifacts"
    )
    registry, run_id = Registry(tracker, "reviewlm"), tracker.start_run("fits")
    for number in range(1, VERSIONS + 1):
        made, folder = version(number), tmp_path / f"bundle {number}"
        save_bundle(
            folder,
            made.spec,
            made.vocabulary,
            made.model,
            [("The food was good.", 5)],
            made.facts,
        )
        log_bundle(tracker, run_id, folder)
        uri = tracker.tag(run_id, MODEL_URI_TAG)
        assert registry.register(uri, run_id, {"kind": made.spec.kind}) == number
    registry.settle(
        1,
        None,
        True,
        "",
        {"gate/outcome": "promoted", "gate/reason": "first model, no rule failed"},
    )
    return registry


@pytest.fixture
def right(registry: Registry, tmp_path: Path) -> Callable[[Answer], str]:
    """What each version answers, computed here from a copy of its registered bundle; the damage comes later."""

    @cache
    def bundle(number: int) -> Bundle:
        return load_bundle(
            shutil.copytree(registry.bundle_folder(number), tmp_path / f"copy {number}")
        )

    @cache
    def text(number: int, seed: int) -> str:
        [whole] = generate(
            bundle(number),
            1,
            None,
            PROMPT,
            LENGTH,
            seed,
            temperature=TEMPERATURE,
            top_k=0,
            top_p=TOP_P,
        )
        return whole.removeprefix(PROMPT)

    @cache
    def words(number: int) -> str:
        return " ".join(word for word, _ in suggest(bundle(number), PROMPT, WORDS).words)

    def right(answer: Answer) -> str:
        if answer.kind in ("text", "stream"):
            return text(answer.number, answer.seed)
        return {"words": words, "score": food_of}[answer.kind](answer.number)

    return right


@pytest.fixture
def served(registry: Registry, migrated_home: Path) -> Iterator[Served]:
    server = Process(migrated_home)
    try:
        served = Served(server.told["address"])
        served.wait_for("champion", 1)
        yield served
    finally:
        server.process.terminate()
        said = server.process.communicate(timeout=60)[1]
        print(said)  # shown if the test fails


def test_registered_champions_change_under_load(
    registry: Registry,
    served: Served,
    right: Callable[[Answer], str],
) -> None:
    spec = registry.bundle_folder(DAMAGED) / "spec.json"
    spec.write_text(spec.read_text().replace("ngram", "ngrom"))
    stages: list[tuple[int, float, float]] = []
    refused: list[dict[str, Any]] = []
    failed: list[Exception] = []

    def change() -> None:
        champions, now = 1, 1
        try:
            for each in CHANGES:
                each.make(registry)
                current = registry.alias(CHAMPION)
                assert current is not None
                assert current.version == each.champion
                champions += each.served != now
                now = each.served
                served.wait_for("champion", champions)
                assert served.count("champion") == champions
                if each.champion == DAMAGED:
                    served.wait_for("refused", 1)
                    refused.append(served.answered())
                settled = time.monotonic()
                wait_for_requests(REQUESTS // len(CHANGES))
                stages.append((now, settled, time.monotonic()))
        except Exception as error:
            failed.append(error)

    asked = [0]

    def wait_for_requests(further: int) -> None:
        enough = asked[0] + further
        until(lambda: asked[0] >= enough, SECONDS, pause=0.05)

    def more(requests: int) -> bool:
        asked[0] = requests
        return changing.is_alive()

    changing = threading.Thread(target=change)
    changing.start()
    answers, failures = asyncio.run(
        load(
            served.address,
            REQUESTS,
            USERS,
            lambda answer: "" if answer.text == right(answer) else answer.text,
            more,
        )
    )
    changing.join()
    assert failed == []
    assert failures == []
    assert len(answers) >= REQUESTS
    assert {answer.number for answer in answers} == {1, 2, 3}
    for number, begin, end in stages:
        within = {
            answer.number for answer in answers if begin <= answer.asked and answer.complete <= end
        }
        assert within == {number}, "an old champion answered after the server had the new one"
    for told in refused:
        assert (told["status"], told["champion"]) == ("ready", "reviewlm/2")
        assert [one["version"] for one in told["refused"]] == ["reviewlm/4"]
        assert "spec.json" in told["refused"][0]["why"]
