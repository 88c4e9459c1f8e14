"""Old versions: champions and the newest versions stay, those that the gate refused go with their files."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.manifest import MANIFEST
from reviewlm.core.store import Store
from reviewlm.tasks.records.track import tracker_of
from reviewlm.tasks.upkeep.collect import collect
from reviewlm.tracking.registry.versions import PREVIOUS
from tests.tasks.upkeep.judged_versions import FILES, judged, registry

LATER = time.time_ns() + 30 * 86_400 * 10**9


@pytest.fixture
def config(migrated_home: Path) -> RunConfig:
    return load_config("small", ["upkeep.runs=1", "upkeep.refused=1", "upkeep.versions=0"])


def files(bundle: Path) -> list[str]:
    return sorted(
        path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()
    )


def collected(config: RunConfig, dry_run: bool = False) -> dict[str, Any]:
    return collect(config.workspace, config.upkeep, dry_run, now=LATER)


def whole(bundles: list[Path]) -> list[int]:
    """Return the versions that have all of their files."""
    return [number for number, bundle in enumerate(bundles, 1) if files(bundle) == sorted(FILES)]


@pytest.fixture
def six_versions(config: RunConfig) -> list[Path]:
    """The bundles of three champions and three refused versions; the first champion has no alias any more."""
    bundles = judged(
        config,
        True,
        True,
        True,
        False,
        False,
        False,
    )
    assert registry(config).version(1).aliases == ()
    return bundles


def test_refused_versions_go_except_the_newest(config: RunConfig, six_versions: list[Path]) -> None:
    done = collected(config)
    assert whole(six_versions) == [1, 2, 3, 6]
    assert not any(bundle.parents[2].exists() for bundle in six_versions[3:5])
    assert [version.version for version in registry(config).versions()] == [6, 3, 2, 1]
    [row] = [row for row in done["kinds"] if row["kind"] == "refused versions"]
    assert (row["kept"], row["gone"]) == (0, 2)


@pytest.mark.usefixtures("six_versions")
def test_decisions_about_versions_that_are_gone_stay(config: RunConfig) -> None:
    decided = registry(config).decisions()
    collected(config)
    assert registry(config).decisions() == decided


@pytest.mark.slow
def test_a_version_that_nobody_has_judged_keeps_its_files(config: RunConfig) -> None:
    """A user registers models under names of their own, too."""
    bundles = judged(config, None, None, None)
    collected(config)
    assert whole(bundles) == [1, 2, 3]


@pytest.mark.slow
def test_nothing_goes_while_a_process_reads_the_store(config: RunConfig) -> None:
    bundles = judged(config, False, False)
    open_run = tracker_of(config.workspace).start_run("compare")
    collected(config)
    assert whole(bundles) == [1, 2]
    tracker_of(config.workspace).end_run(open_run)
    with closing(sqlite3.connect(config.home / "mlflow.db")) as database, database:
        database.execute("UPDATE runs SET start_time = 1000 WHERE name = 'compare'")
    collected(config)
    assert whole(bundles) == [2]


@pytest.mark.slow
def test_versions_whose_lineage_is_kept_keep_their_files(config: RunConfig) -> None:
    bundles = judged(config, False, False, False)
    upkeep = config.upkeep.model_copy(update={"versions": 2})
    config = config.model_copy(update={"upkeep": upkeep})
    collect(config.workspace, config.upkeep, now=LATER)
    assert whole(bundles) == [2, 3]


@pytest.mark.slow
def test_an_alias_of_the_user_keeps_the_files(config: RunConfig) -> None:
    bundles = judged(config, False, False, False)
    with tracker_of(config.workspace).reaching() as client:
        client.set_registered_model_alias(config.promotion.model_name, "for-the-talk", "1")
    collected(config)
    assert whole(bundles) == [1, 3]


@pytest.mark.slow
def test_files_of_a_fit_that_is_kept_stay(config: RunConfig) -> None:
    """A run that uses the fit again links the logged model."""
    store = Store.of(config.home)
    fit = store.build(
        "fit",
        1,
        {},
        {},
        lambda _: {},
    ).artifact
    bundles = judged(config, False, False, fit=fit.digest)
    os.utime(fit.folder / MANIFEST, ns=(LATER, LATER))
    collected(config)
    assert whole(bundles) == [1, 2]


@pytest.mark.slow
def test_a_dry_run_only_says_what_would_go(config: RunConfig) -> None:
    bundles = judged(config, False, False, False)
    planned = collected(config, dry_run=True)
    assert whole(bundles) == [1, 2, 3]
    assert planned["kinds"] == collected(config)["kinds"]
    assert registry(config).alias(PREVIOUS) is None
