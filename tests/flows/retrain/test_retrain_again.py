"""More runs over a finished one: another option, a worse model, a failed fit, damage in the store, a copied home."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reviewlm.core.environment import other_home
from tests.flows.first_run import TINY, Ran, mlflow_client, run_in

pytestmark = pytest.mark.long


def test_a_changed_learning_rate_fits_again_but_does_not_tokenize_again(ran: Ran) -> None:
    again = ran.again("models.1.training.learning_rate=0.004")
    assert {"ingest", "prepare", "vocabulary", "tokens", "synthesise"} <= set(again["reused"])
    assert "fit" not in again["reused"]


def test_a_worse_challenger_is_registered_with_its_reasons_but_the_champion_stays(ran: Ran) -> None:
    weak = ran.again(
        "models.0.order=1",
        "models.1.training.epochs=0.05",
        "models.2.training.epochs=0.02",
        "seed=5",
    )
    assert weak["promoted"] is False
    client = mlflow_client(ran)
    champion = client.get_model_version_by_alias("reviewlm-demo", "champion").version
    assert weak["champion_version"] == int(champion)
    version = client.get_model_version("reviewlm-demo", str(weak["version"]))
    assert version.tags["gate/outcome"] == "refused"
    assert "champion" in version.tags["gate/reason"]


def test_a_failed_fit_ends_its_mlflow_run_as_failed(ran: Ran) -> None:
    from reviewlm.core.errors import FitError

    with pytest.raises(FitError):
        ran.again("models.1.training.learning_rate=1e30", "models.1.training.clip=1e30")
    runs = mlflow_client(ran).search_runs(["1"], "attributes.status = 'FAILED'")
    assert {"failed lstm", "failed retrain"} <= {run.info.run_name.split(",")[0] for run in runs}


def test_a_mixture_is_fitted_anew_only_where_a_part_has_changed(ran: Ran) -> None:
    from reviewlm.flows.retrain import retrain

    with other_home(ran.home):
        same = retrain(TINY, until="train")
        other = retrain(TINY, overrides=['models.0.smoothing="witten_bell"'], until="train")
    assert all(model["reused"] for model in same["models"])
    assert {model["name"]: model["reused"] for model in other["models"]} == {
        "kn2": False,
        "lstm": True,
        "gru-char": True,
        "mix": False,
    }


def test_a_copied_home_goes_on_by_itself(ran: Ran, tmp_path: Path) -> None:
    import hashlib
    import shutil
    import subprocess
    import sys

    def tree() -> dict[Path, str]:
        files = (
            path
            for path in ran.home.rglob("*")
            if path.is_file() and not path.name.endswith("-shm")
        )
        return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def reviewlm(*arguments: str) -> str:
        command = [sys.executable, "-m", "reviewlm.cli", *arguments, "--preset", TINY]
        environment = {**os.environ, "REVIEWLM_HOME": str(copy)}
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=environment,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    copy = tmp_path / "copy"
    shutil.copytree(ran.home, copy, symlinks=True)
    before = tree()
    again = run_in(copy)
    assert again["stages"] == len(again["reused"])
    assert Path(again["report"]).is_relative_to(copy)
    assert reviewlm("generate", "--stars", "5")
    assert tree() == before
    away = ran.home.rename(ran.home.with_name("away"))
    try:
        run_in(copy, "models.1.training.learning_rate=0.003")
        assert reviewlm("generate", "--stars", "1")
        assert reviewlm("version", "lineage", "champion", "--verify")
        assert "bit-equal" in reviewlm("version", "reproduce", "champion")
        assert not ran.home.exists()
    finally:
        away.rename(ran.home)


def flip_a_byte(file: Path) -> None:
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)


def test_a_run_after_damage_in_every_stage_comes_out_the_same(ran: Ran) -> None:
    before = ran.again()
    damaged = set()
    for stage in sorted((ran.home / "store").glob("[!.]*")):
        for folder in stage.iterdir():
            files = [
                path
                for path in folder.rglob("*")
                if path.is_file() and path.name != "manifest.json"
            ]
            if files:
                flip_a_byte(max(files, key=lambda path: path.stat().st_size))
                damaged.add(stage.name)
    assert {"read", "ingest", "prepare", "tokens", "vocabulary", "fit", "score", "audit"} <= damaged
    again = ran.again()
    for now, then in zip(again["models"], before["models"], strict=True):
        assert now["name"] == then["name"]
        assert now["test"]["nats"] == pytest.approx(then["test"]["nats"], rel=1e-6)
    assert again["floor"] == before["floor"]
    aside = {path.name.split("-")[0] for path in (ran.home / "store" / ".aside").iterdir()}
    assert {"read", "ingest", "prepare", "tokens", "fit", "score"} <= aside
    assert set(ran.again()["reused"]) >= aside
