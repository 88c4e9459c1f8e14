"""Champions scored again on each month's new reviews: without any flow."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.errors import EmptyInput
from reviewlm.core.store import Artifact, sha256_of
from reviewlm.corpus.splitting.split import iter_split
from reviewlm.evaluation.drift.decay import HELD_OUT, NEW
from reviewlm.tasks.data.prepare import clean_and_split
from reviewlm.tasks.evaluation.rescore import choose_versions, report_decay, rescore_version
from reviewlm.tasks.execution.stage import recorded_stages, run_stage
from reviewlm.tasks.records.track import registry_of, tracker_of
from reviewlm.tracking.tags import DATA_TAG
from tests.corpus.data_sets import ingest
from tests.tracking.tiny_model import fitted

HOW = ("good", "cold", "great", "fresh", "fine", "plain", "rich", "hot")
WHEN = ("lunch", "dinner", "noon", "breakfast")
USUAL = (("pizza", "soup", "bread", "salad", "pasta", "fish", "steak", "cake"), HOW, WHEN, HOW)
STRANGE = (
    ("masks", "tests", "doses", "queues"),
    ("closed", "scarce", "online", "shut"),
    ("gate", "door"),
    HOW,
)
CONFIG = {
    "split": {"test": 0.3},
    "duplicates": {"near": False},
    "evaluation": {"resamples": 300},
}


def lines(month: str, words: Sequence[tuple[str, ...]]) -> list[dict[str, Any]]:
    """Thirty-two reviews of a month, all different, of the same words in every month."""
    drawn = random.Random(month).sample(list(product(*words)), 32)
    return [
        {
            "review_id": f"{month} {number}",
            "date": f"{month}-{1 + number % 28:02d}",
            "stars": 4.0,
            "text": f"The {one} was {how} for {when} and the staff was {staff}.",
        }
        for number, (one, how, when, staff) in enumerate(drawn)
    ]


def data_set(config: RunConfig, folder: Path, *months: list[dict[str, Any]]) -> Artifact:
    rows = [row for month in months for row in month]
    file = folder / f"{len(rows)}.jsonl"
    file.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    return run_stage(
        config.workspace,
        "ingest",
        {},
        {"file": sha256_of(file)},
        lambda work: ingest([file], work, config.source),
    ).artifact


class Shop:
    """Two versions of data of four months; the first is the champion."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.config = folder, RunConfig.model_validate(CONFIG)
        self.made = [lines(f"2024-0{number}", USUAL) for number in (1, 2, 3, 4)]
        result = clean_and_split.fn(self.config, data_set(self.config, folder, *self.made))
        self.clean = getattr(result, "data", result)
        train = pl.concat(list(iter_split(self.clean.folder, "train")))
        self.registry = registry_of(self.config.workspace, self.config.promotion.model_name)
        tracker = tracker_of(self.config.workspace)
        tracker.client.create_registered_model("reviewlm")
        for order in (1, 2):
            bundle = fitted(folder / f"order {order}", order, train)
            tags = {
                DATA_TAG: self.clean.digest,
                "model": f"kn{order}",
                "kind": "ngram",
            }
            home = folder / "logged" / str(order)
            (home / "artifacts").mkdir(parents=True)
            bundle.rename(home / "artifacts" / "bundle")
            tracker.client.create_model_version(
                "reviewlm", str(home), tags=tags, await_creation_for=0
            )
        self.registry.settle(
            1,
            None,
            True,
            "",
            {"gate/outcome": "promoted"},
        )
        self.run_id = tracker.start_run("rescore")

    def rescored(self, *months: list[dict[str, Any]], versions: str = "champion") -> dict[int, Any]:
        dataset = data_set(self.config, self.folder, *self.made, *months)
        chosen = choose_versions.fn(self.config.workspace, "reviewlm", versions)
        return {one.version: rescore_version.fn(self.config, dataset, one) for one in chosen}


@pytest.fixture(autouse=True, scope="module")
def _few_reviews() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reviewlm.tasks.evaluation.rescore.MIN_REVIEWS", 12)
        yield


@pytest.fixture
def shop(migrated_home: Path, tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_months_like_those_of_its_data_are_no_decay(shop: Shop):
    [(version, decay)] = shop.rescored(lines("2024-05", USUAL)).items()
    assert (version, decay.worse, decay.month) == (1, False, "2024-05")


def test_a_strange_month_is_decay(shop: Shop):
    [decay] = shop.rescored(lines("2024-05", USUAL), lines("2024-06", STRANGE)).values()
    assert (decay.worse, decay.month) == (True, "2024-06")


def test_the_table_of_decay_has_new_months_beside_held_out_ones(shop: Shop):
    [decay] = shop.rescored(lines("2024-05", USUAL), lines("2024-06", STRANGE)).values()
    parts = decay.table.group_by("part").agg(pl.col("month").sort(), pl.col("reviews").sum())
    found = {row["part"]: (row["month"], row["reviews"]) for row in parts.to_dicts()}
    assert found[NEW] == (["2024-05", "2024-06"], 64)
    tested = shop.clean.facts["splits"]["test"]["reviews"]
    assert found[HELD_OUT] == (["2024-01", "2024-02", "2024-03", "2024-04"], tested)


@pytest.mark.slow
def test_only_the_month_that_is_new_is_scored_again(shop: Shop):
    shop.rescored(lines("2024-05", USUAL))
    with recorded_stages() as record:
        shop.rescored(lines("2024-05", USUAL), lines("2024-06", USUAL))
    stages = [one.reused for one in record.stages if one.stage == "rescore"]
    assert (stages.count(False), stages.count(True)) == (1, 5)


@pytest.mark.slow
def test_the_curve_of_decay_is_kept_in_mlflow(shop: Shop):
    told = report_decay.fn(
        shop.config.workspace,
        shop.rescored(lines("2024-05", USUAL), lines("2024-06", STRANGE)),
        shop.run_id,
    )
    assert (told["version"], told["worse"]) == (1, True)
    assert {row["month"] for row in told["months"]} == {f"2024-0{number}" for number in range(1, 7)}
    client = tracker_of(shop.config.workspace).client
    points = client.get_metric_history(shop.run_id, "decay/v1/open_bits_per_byte")
    assert [point.step for point in points] == [202405, 202406]
    assert points[1].value > points[0].value
    assert {entry.path for entry in client.list_artifacts(shop.run_id)} == {"decay.json", "plots"}
    assert client.get_run(shop.run_id).data.tags["decay"] == "worse"


def damage(shop: Shop, order: int) -> None:
    file = next((shop.folder / "logged" / str(order) / "artifacts" / "bundle").rglob("logp_1.npy"))
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.slow
def test_a_damaged_former_champion_is_left_out(shop: Shop):
    shop.registry.settle(
        2,
        1,
        True,
        "",
        {"gate/outcome": "promoted"},
    )
    damage(shop, 1)
    decays = shop.rescored(lines("2024-05", USUAL), versions="all")
    assert [(version, decay is None) for version, decay in decays.items()] == [
        (2, False),
        (1, True),
    ]


@pytest.mark.slow
def test_without_a_champion_there_is_nothing_to_score(own_home: Path):
    with pytest.raises(EmptyInput, match="no champion"):
        choose_versions.fn(RunConfig().workspace, "reviewlm", "champion")


def test_reviews_with_another_text_are_counted_but_not_scored(shop: Shop) -> None:
    edited = [
        {**row, "text": strange["text"]}
        for row, strange in zip(shop.made[1], lines("2024-02", STRANGE), strict=True)
    ]
    late = lines("2024-05", USUAL)
    dataset = data_set(
        shop.config,
        shop.folder,
        shop.made[0],
        edited,
        *shop.made[2:],
        late,
    )
    [champion] = choose_versions.fn(shop.config.workspace, "reviewlm", "champion")
    decay = rescore_version.fn(shop.config, dataset, champion)
    assert decay is not None
    assert decay.table.filter(part=NEW)["month"].to_list() == ["2024-05"]
    assert decay.restated.startswith("32 ")
