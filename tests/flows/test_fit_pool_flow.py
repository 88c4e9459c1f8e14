"""A run hands its networks over to a worker that `reviewlm worker start` has joined to the same Prefect server."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from core.manifest import read_manifest
from core.store import MANIFEST
from core.storing.remote import remote_store
from tests.flows.first_run import ROOT, TINY, living_in, user_environment

pytestmark = [pytest.mark.slow, pytest.mark.long]
POOL = "other-machine"


@contextmanager
def worker(home: Path, server: str, store: Path, *more: str) -> Iterator[Path]:
    """Let a worker run within the block; yield its log."""
    log = home / "worker.log"
    words = ["worker", "start", "--pool", POOL, "--server", server, "--store", store.as_uri(), *more]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "reviewlm.cli", *words], cwd=ROOT, stdout=out, stderr=out,
            env={**user_environment(home), "CUDA_VISIBLE_DEVICES": "-1"},
        )
    try:
        while "To end: Ctrl-C" not in log.read_text():
            assert process.poll() is None, log.read_text()
            time.sleep(0.5)
        yield log
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def files_of(home: Path) -> dict[str, object]:
    """Return the files of all fits of a home, by the fit's name, with size and SHA-256."""
    manifests = map(read_manifest, (home / "store" / "fit").glob(f"*/{MANIFEST}"))
    return {one["facts"]["name"]: {**one["files"], "metrics.jsonl": None, "system.jsonl": None} for one in manifests}


def test_models_are_those_of_fits_here(
    prefect_server: None, tmp_path: Path, template_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.partial import train_only

    mine, here = (Path(shutil.copytree(template_home, tmp_path / name)) for name in ("mine", "here"))
    (store := tmp_path / "shared").mkdir()
    (theirs := tmp_path / "theirs").mkdir()
    monkeypatch.setenv("PREFECT_API_URL", str(PREFECT_API_URL.value()))
    remote_store.cache_clear()
    sets = ["execution.threads=2"]
    with worker(theirs, os.environ["PREFECT_API_URL"], store) as log, living_in(mine):
        train_only(TINY, None, [*sets, f"execution.remote_store={store.as_uri()}", f"execution.fit_pool={POOL}"])
    said, all_of_them = log.read_text(), ("kn2", "lstm", "gru-char", "mix")
    assert {name for name in all_of_them if f"'fit {name}'" in said} == {"lstm", "gru-char", "mix"}
    with living_in(here):
        train_only(TINY, None, sets)
    assert files_of(mine) == files_of(here)
    assert not list((store / "jobs").rglob("*"))


def test_two_workers_train_each_network_together(
    prefect_server: None, tmp_path: Path, template_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run fits two networks at a time, and each needs both workers: they must not get one each."""
    from flows.partial import train_only

    mine, here = (Path(shutil.copytree(template_home, tmp_path / name)) for name in ("mine", "here"))
    for name in ("shared", "one", "other"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("PREFECT_API_URL", str(PREFECT_API_URL.value()))
    remote_store.cache_clear()
    place, server = (tmp_path / "shared"), os.environ["PREFECT_API_URL"]
    reach = ("--address", "127.0.0.1")
    sets = [f"execution.remote_store={place.as_uri()}", f"execution.fit_pool={POOL}", "execution.fit_machines=2"]
    homes = [tmp_path / name for name in ("one", "other")]
    with worker(homes[0], server, place, *reach) as one, worker(homes[1], server, place, *reach) as other:
        with living_in(mine):
            train_only(TINY, None, ["execution.threads=2", *sets])
        said = [log.read_text() for log in (one, other)]
    for name in ("lstm", "gru-char"):
        assert sum(f"'fit {name}'" in log for log in said) == 1
        assert sum(f"'fit {name}, machine 2'" in log for log in said) == 1
    with living_in(here):
        train_only(TINY, None, ["execution.threads=4", "execution.ranks=2"])  # two threads for each rank, as there
    assert files_of(mine) == files_of(here)
