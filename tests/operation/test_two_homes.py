"""Two homes with one MLflow server: both have one champion.

MLflow's artifacts are in a folder, or in a bucket of a local S3 server. Each home has its own copy of the reviews.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from reviewlm.core.environment import TRACKING_VARIABLE
from tests.flows.first_run import TINY, answer
from tests.s3_server import BUCKET, s3_server
from tests.tracking.mlflow_servers import store_server

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(2400)]


@pytest.fixture(scope="module", params=["folder", "s3"])
def artifacts(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Where the server keeps artifacts."""
    if request.param == "s3":
        with s3_server():
            yield f"s3://{BUCKET}/mlflow"
    else:
        yield str(tmp_path_factory.mktemp("artifacts"))


@pytest.fixture(scope="module")
def shared(artifacts: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variable that names a new MLflow server."""
    folder = tmp_path_factory.mktemp("shared")
    with store_server(folder, folder, "--artifacts-destination", artifacts) as server:
        yield {TRACKING_VARIABLE: server.address}


@pytest.fixture(scope="module")
def homes(artifacts: str, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two new homes for each server."""
    return [tmp_path_factory.mktemp(name) / "home" for name in ("one", "two")]


@pytest.fixture(scope="module")
def inputs(homes: list[Path]) -> list[tuple[str, ...]]:
    """The options that name each home's copy of one file, in a folder of its own."""
    file = homes[0].with_name("raw") / "reviews.jsonl"
    answer(
        homes[0],
        "data",
        "synth",
        "--reviews",
        "500",
        "--out",
        str(file),
    )
    (other := homes[1].with_name("data of this machine")).mkdir()
    return [("--input", str(file)), ("--input", str(shutil.copy(file, other)))]


def run(home: Path, shared: dict[str, str], *options: str) -> dict[str, Any]:
    return answer(
        home,
        "run",
        "--preset",
        TINY,
        *options,
        **shared,
    )


def history(homes: list[Path], shared: dict[str, str]) -> list[Any]:
    found = [answer(home, "history", **shared) for home in homes]
    return [(one["versions"], one["events"], one["damage"]) for one in found]


def test_the_second_home_finds_the_champion_of_the_first(
    homes: list[Path],
    shared: dict[str, str],
    inputs: list[tuple[str, ...]],
    tmp_path: Path,
) -> None:
    first = run(homes[0], shared, *inputs[0])
    assert (first["reused"], first["promoted"], first["champion_version"]) == ([], True, 1)
    one, two = history(homes, shared)
    assert one == two
    (text := tmp_path / "text.txt").write_text("The food was great and the service was slow.\n")
    here, there = (answer(home, "score", str(text), **shared) for home in homes)
    assert (here["version"], here["nats"]) == (there["version"], there["nats"])


def test_of_two_promotions_at_once_one_is_decided_after_the_other(
    homes: list[Path],
    shared: dict[str, str],
    inputs: list[tuple[str, ...]],
) -> None:
    """Each home has a Prefect server of its own, so no limit serialises them: the log of decisions does.

    Whichever model is the best of its run, it is another one than before and than that of the other home.
    """

    def retrain(number: int) -> dict[str, Any]:
        others = [
            f"models.0.order={3 + number}",
            f"models.1.training.learning_rate={0.003 + number / 1000}",
        ]
        return run(
            homes[number],
            shared,
            *inputs[number],
            *(word for other in others for word in ("--set", other)),
        )

    with ThreadPoolExecutor(2) as both:
        list(both.map(retrain, (0, 1)))
    one, two = history(homes, shared)
    assert one == two
    versions, events, damage = one
    assert damage == []
    assert len(versions) == 3, "each of the two has registered a version, beside the first champion"
    assert sum("champion" in version["aliases"] for version in versions) == 1
    champion = None
    for event in reversed(events):  # the newest is first
        if event["decision"] == "promoted":
            assert event["against"] == champion, (
                "each promotion was decided against the champion of its moment"
            )
            champion = event["version"]
    assert [version["version"] for version in versions if "champion" in version["aliases"]] == [
        champion
    ]


def test_what_a_person_decides_on_one_machine_holds_on_the_other(
    homes: list[Path],
    shared: dict[str, str],
    tmp_path: Path,
) -> None:
    (versions, _, _), _ = history(homes, shared)
    other = next(version["version"] for version in versions if "champion" not in version["aliases"])
    answer(
        homes[1],
        "promote",
        "--version",
        str(other),
        "--why",
        "cheaper",
        "--force",
        **shared,
    )
    one, two = history(homes, shared)
    assert one == two
    (text := tmp_path / "text.txt").write_text("The soup was cold.\n")
    assert answer(homes[0], "score", str(text), **shared)["version"] == other
