"""New data, the champion's vocabulary and the champion's weights: a warm start through the real flow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reviewlm.core.environment import other_home

pytestmark = pytest.mark.long
ONE = str(Path(__file__).parents[1] / "one.toml")
WARM = ["models.0.training.start=champion", "models.0.training.epochs=0.2"]


class Home:
    """A home folder, fits in it, and a registry whose champion the test chooses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def train(self, files: list[Path], *overrides: str) -> dict[str, Any]:
        from reviewlm.flows.retrain import retrain

        [model] = retrain(ONE, [str(file) for file in files], list(overrides), until="train")[
            "models"
        ]
        return {
            **model,
            "spec": json.loads((self.bundle(model["digest"]) / "spec.json").read_text()),
        }

    def bundle(self, digest: str) -> Path:
        return self.folder / "store" / "fit" / digest / "bundle"

    def crown(self, fit_digest: str) -> None:
        """Register the model of a fit and make it champion, whatever the gate would say."""
        from reviewlm.core.config.presets import load_config
        from reviewlm.tasks.records.track import registry_of, tracker_of
        from reviewlm.tracking.registry.versions import CHAMPION
        from reviewlm.tracking.tags import FIT_TAG

        # Models of files have another name than the demo's.
        config = load_config(ONE).with_input(["reviews.jsonl"])
        run = tracker_of(config.workspace).newest_run(FIT_TAG, fit_digest)
        assert run is not None
        run_id = run.info.run_id
        registry = registry_of(config.workspace, config.promotion.model_name)
        champion = registry.alias(CHAMPION)
        version = registry.register(
            tracker_of(config.workspace).tag(run_id, "reviewlm.model_uri"), run_id
        )
        registry.promote(version, champion.version if champion else None)

    def prepared(self, earlier: int) -> list[dict[str, Any]]:
        """Return the manifests of the prepared data that were compared with so many data sets of the past."""
        files = sorted(self.folder.glob("store/prepare/*/manifest.json"))
        found = [{"digest": path.parent.name, **json.loads(path.read_text())} for path in files]
        return [
            one
            for one in found
            if sum(name.startswith("earlier:") for name in one["inputs"]) == earlier
        ]

    def note(self, fit_digest: str) -> str:
        from reviewlm.core.config.presets import load_config
        from reviewlm.tasks.records.track import tracker_of
        from reviewlm.tracking.tags import FIT_TAG, value_of

        run = tracker_of(load_config(ONE).with_input(["reviews.jsonl"]).workspace).newest_run(
            FIT_TAG, fit_digest
        )
        return value_of(run.data.tags, "reviewlm.start") if run else ""


@pytest.fixture(scope="module")
def weeks(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("warm")
    with other_home(folder):
        yield Home(folder)


def test_from_the_first_week_to_the_third(weeks: Home, tmp_path: Path) -> None:
    from reviewlm.corpus.synthetic.synth import write_reviews

    old, new = tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    write_reviews(old, 300, seed=5)
    write_reviews(new, 200, seed=6)

    first = weeks.train([old], "models.0.training.start=champion")
    assert weeks.note(first["digest"]) == "fresh: there is no champion yet"
    data = first["spec"]["clean_digest"]
    assert first["spec"]["learnt_from"] == [data]
    weeks.crown(first["digest"])
    assert weeks.train([old], "models.0.training.start=champion")["digest"] == first["digest"]

    warm = weeks.train([old, new], *WARM)
    assert warm["spec"]["learnt_from"] == [warm["spec"]["clean_digest"], data]
    assert warm["spec"]["vocabulary_digest"] == first["spec"]["vocabulary_digest"]
    assert weeks.note(warm["digest"]) == "from the weights of champion v1"

    [taught] = weeks.prepared(earlier=1)
    assert {*taught["facts"]["learnt"]} == {"test", "validation"}

    weeks.crown(warm["digest"])
    # The champion is this very fit: it is not trained on top of itself.
    again = weeks.train([old, new], *WARM)
    assert (again["digest"], again["reused"]) == (warm["digest"], True)

    assert weeks.prepared(earlier=1) == [taught]
    assert weeks.prepared(earlier=2) == []

    other = weeks.train([old, new], *WARM, "models.0.hidden=12")
    assert weeks.note(other["digest"]) == "fresh: champion v2 does not fit: " + _another_vocabulary(
        other, warm
    )
    assert warm["validation_nats"] < other["validation_nats"] - 0.2


def _another_vocabulary(other: dict[str, Any], champion: dict[str, Any]) -> str:
    """With no network to start from there is no reason to keep the champion's vocabulary either."""
    found = [one["spec"]["vocabulary_digest"][:12] for one in (champion, other)]
    return f"it has another vocabulary ({found[0]} instead of {found[1]})"


def test_a_month_of_its_own_is_not_tested_on_what_the_champion_has_learnt(
    weeks: Home, tmp_path: Path
) -> None:
    import polars as pl

    from reviewlm.corpus.splitting.split import TABLE
    from reviewlm.corpus.synthetic.synth import write_reviews

    first, month = tmp_path / "first.jsonl", tmp_path / "month.jsonl"
    write_reviews(first, 300, seed=7)
    write_reviews(month, 200, seed=8)
    champion = weeks.train([first])
    weeks.crown(champion["digest"])
    rows = [json.loads(line) for line in first.read_text().splitlines()]
    copies = [
        {
            **row,
            "review_id": f"copy-{row['review_id']}",
            "text": row["text"] + " Thanks!",
        }
        for row in rows
    ]
    month.write_text(month.read_text() + "".join(f"{json.dumps(row)}\n" for row in copies))

    before = {one["digest"] for one in weeks.prepared(earlier=1)}
    warm = weeks.train([month], *WARM)
    assert weeks.note(warm["digest"]).startswith("from the weights of champion")
    [made] = [one for one in weeks.prepared(earlier=1) if one["digest"] not in before]
    table = pl.read_parquet(weeks.folder / "store" / "prepare" / made["digest"] / TABLE)
    told = sum(sum(kinds.values()) for kinds in made["facts"]["learnt"].values())
    taught = pl.read_parquet(
        weeks.folder / "store" / "prepare" / champion["spec"]["clean_digest"] / TABLE
    )
    taught = taught.filter(pl.col("split") == "train")["review_id"].to_list()
    kept = table.filter(pl.col("split") != "train")["review_id"].str.strip_prefix("copy-").to_list()
    assert told > 20
    assert not set(kept) & set(taught)
