"""What tasks are given and return refers to results in the store: its size does not depend on that of the data."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import cloudpickle
import pytest
from prefect.futures import PrefectFuture

from core.config.run_config import RunConfig
from core.store import Artifact
from tasks.stage import Stage
from tests.flows.first_run import Ran, run_in

pytestmark = [pytest.mark.slow, pytest.mark.long]  # a second run of the pipeline
MOST = 4_096
"""Bytes of an artifact's reference, pickled, and of what a call has beside references and the configuration."""
LEFT_OUT = (RunConfig, Artifact, PrefectFuture)


class WithoutReferences(cloudpickle.Pickler):
    """Pickles everything but configurations, futures and artifacts, and keeps the sizes of the latter."""

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self.references: list[int] = []

    def persistent_id(self, thing: Any) -> str | None:
        if isinstance(thing, Artifact):
            self.references.append(len(cloudpickle.dumps(thing)))
        return type(thing).__name__ if isinstance(thing, LEFT_OUT) else None


def sizes(given: Any) -> tuple[int, int]:
    """Return the bytes of what is no reference, and those of the largest reference."""
    pickler = WithoutReferences(file := io.BytesIO())
    pickler.dump(given)
    return file.tell(), max(pickler.references, default=0)


@contextmanager
def measured_calls() -> Iterator[dict[str, list[tuple[int, int]]]]:
    """Measure what each stage is given, and what a direct call returns; what a thread returns is given to others."""
    found: dict[str, list[tuple[int, int]]] = {}
    call, submit = Stage.__call__, Stage.submit

    def measured(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = call(self, *args, **kwargs)
        found.setdefault(self.name, []).append(sizes((args, kwargs, result)))
        return result

    def submitted(self: Any, *args: Any, **kwargs: Any) -> Any:
        found.setdefault(self.name, []).append(sizes((args, kwargs)))
        return submit(self, *args, **kwargs)

    with mock.patch.object(Stage, "__call__", measured), mock.patch.object(Stage, "submit", submitted):
        yield found


def test_references_are_small_and_the_rest_does_not_grow_with_the_reviews(
    ran: Ran, tmp_path: Path, template_home: Path
) -> None:
    """The configuration is in each call, as it is of one size."""
    home = Path(shutil.copytree(template_home, tmp_path / "home"))
    with measured_calls() as few:
        ran.again()
    with measured_calls() as many:
        run_in(home, "source.synthetic.reviews=1500")  # three times as many
    assert few.keys() == many.keys()
    assert {"ingest", "clean", "tokens"} <= few.keys()
    largest = {name: max(reference for _, reference in calls) for name, calls in many.items()}
    assert {name: size for name, size in largest.items() if size > MOST} == {}
    beside = {name: (max(own for own, _ in few[name]), max(own for own, _ in many[name])) for name in few}
    assert {name: found for name, found in beside.items() if found[1] > found[0] + MOST / 4} == {}
