"""Which fit is started when: the flow alone, over fits that only say that they were there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import Mock
from uuid import uuid4

import pytest
from prefect.futures import PrefectConcurrentFuture

import reviewlm.flows.parts
from reviewlm.core.config.presets import parse_config
from reviewlm.core.config.run_config import RunConfig

KN5, KN3 = (
    {
        "kind": "ngram",
        "name": f"kn{order}",
        "order": order,
    }
    for order in (5, 3)
)
LSTM = {"kind": "lstm", "name": "lstm"}
BOTH = {
    "kind": "mixture",
    "name": "kn5+lstm",
    "parts": ["kn5", "lstm"],
}
CACHE = {
    "kind": "cache",
    "name": "both+cache",
    "part": "kn5+lstm",
}


class Fits:
    """Stands for the task: starts *work* in a pool of so many workers, and writes down what began with which parts."""

    def __init__(self, workers: int, work: Callable[[str], None] = lambda name: None) -> None:
        self.pool, self.work = ThreadPoolExecutor(workers), work
        self.begun: list[tuple[str, dict[str, str]]] = []

    def submit(
        self,
        config: RunConfig,
        spec: Any,
        prepared: Any,
        parent_run_id: str,
        parts: Any,
    ) -> Any:
        def fit() -> str:
            self.begun.append((spec.name, dict(parts)))
            self.work(spec.name)
            return f"fitted {spec.name}"

        return PrefectConcurrentFuture(uuid4(), self.pool.submit(fit))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[Any]]]:
    pools: list[ThreadPoolExecutor] = []

    def flow(fits: Fits, *models: dict[str, Any]) -> list[Any]:
        pools.append(fits.pool)
        monkeypatch.setattr(reviewlm.flows.parts, "fit", fits)
        monkeypatch.setattr(reviewlm.flows.parts, "tracker_of", Mock())
        config = parse_config({"models": list(models), "baseline": "kn5"})
        return reviewlm.flows.parts.fit_models.fn(config, None, "parent")

    yield flow
    for pool in pools:
        pool.shutdown()


def test_fitted_models_are_returned_in_the_order_of_the_configuration(
    run: Callable[..., list[Any]],
) -> None:
    result = run(
        Fits(workers=1),
        KN3,
        LSTM,
        KN5,
        BOTH,
        CACHE,
    )
    assert result == [f"fitted {name}" for name in ("kn3", "lstm", "kn5", "kn5+lstm", "both+cache")]


def test_one_worker_fits_parts_before_what_is_made_of_them(run: Callable[..., list[Any]]) -> None:
    fits = Fits(workers=1)
    run(
        fits,
        KN3,
        LSTM,
        KN5,
        BOTH,
        CACHE,
    )
    assert [name for name, _ in fits.begun] == ["kn5", "lstm", "kn3", "kn5+lstm", "both+cache"]
    assert fits.begun[3][1] == {"kn5": "fitted kn5", "lstm": "fitted lstm"}
    assert fits.begun[4][1] == {"kn5+lstm": "fitted kn5+lstm"}


def test_a_part_that_fails_ends_the_flow_before_models_that_are_made_of_it(
    run: Callable[..., list[Any]],
) -> None:
    def work(name: str) -> None:
        if name == "lstm":
            raise RuntimeError("diverged")

    fits = Fits(workers=1, work=work)
    with pytest.raises(RuntimeError, match="diverged"):
        run(
            fits,
            KN5,
            KN3,
            LSTM,
            BOTH,
            CACHE,
        )
    assert not {"kn5+lstm", "both+cache"} & {name for name, _ in fits.begun}
