"""Bytes of a home, seconds of its newest builds and memory of GPUs are measured beside whoever asks for them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.manifest import MANIFEST, write_manifest
from core.store import Store
from tasks.upkeep import home_figures
from tasks.upkeep.home_figures import HomeFigures, MeasuredHome, build_seconds, folder_bytes, gpu_memory


def built(store: Path, stage: str, days: float, seconds: float, name: str = "") -> Path:
    """Store a result that was built so many days after another one."""
    folder = store / stage / f"{len(list(store.glob('*/*'))):04d}"
    folder.mkdir(parents=True)
    about = {"created": 1.8e9 + 86_400 * days, "seconds": seconds, "files": {}}
    write_manifest(folder / MANIFEST, {"facts": {"name": name} if name else {}, **about})
    return folder


def test_a_file_counts_once_and_a_link_leads_nowhere(tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for folder in (home / "store" / "fit", home / "mlartifacts", elsewhere):
        folder.mkdir(parents=True)
    (elsewhere / "large").write_bytes(b"x" * 10_000)
    (home / "mlartifacts" / "a").write_bytes(b"x" * 100)
    os.link(home / "mlartifacts" / "a", home / "store" / "fit" / "a")
    (home / "store" / "b").write_bytes(b"x" * 20)
    (home / "mlflow.db").write_bytes(b"x" * 3)
    (home / "outside").symlink_to(elsewhere)
    found = folder_bytes(home)
    assert (found["mlartifacts"], found["store"]) == (100, 20)
    assert 3 < found["files"] < 1_000, "the database, and the link itself"
    assert folder_bytes(tmp_path / "none") == {"files": 0}


def test_of_a_stage_the_longest_build_of_its_last_day_counts_and_of_fits_that_of_each_model(tmp_path: Path) -> None:
    built(tmp_path, "tokens", 0, 90.0)
    built(tmp_path, "tokens", 4, 4.0)
    built(tmp_path, "tokens", 4.01, 2.0)
    built(tmp_path, "read", 4, 1.0, name="reviews.jsonl")
    for name, seconds in (("kn5", 3.0), ("lstm", 700.0)):
        built(tmp_path, "fit", 4, seconds, name)
    (built(tmp_path, "score", 4, 5.0) / MANIFEST).write_text("{")
    (tmp_path / ".work").mkdir()
    assert build_seconds(tmp_path) == {
        ("tokens", ""): 4.0, ("read", ""): 1.0, ("fit", "kn5"): 3.0, ("fit", "lstm"): 700.0,
    }  # fmt: skip


def test_a_result_of_the_store_counts(tmp_path: Path) -> None:
    Store(tmp_path).build("ingest", 1, {}, {}, lambda folder: {})
    assert build_seconds(tmp_path).keys() == {("ingest", "")}


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Set what `nvidia-smi` answers on a machine with a GPU."""
    monkeypatch.setattr(home_figures, "visible_gpus", lambda: 1)

    def set_answer(said: str, code: int = 0) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\nprintf '%s' \"$*\" > {tmp_path}/asked\ncat <<'E'\n{said}\nE\nexit {code}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    return set_answer


def test_the_memory_of_gpus_is_that_of_nvidia_smi(tmp_path: Path, nvidia_smi: Callable[..., None]) -> None:
    nvidia_smi("0, 81559, 1234\n1, [N/A], [N/A]")
    assert gpu_memory() == {"0": (81_559 * 2**20, 1_234 * 2**20)}
    assert (tmp_path / "asked").read_text().startswith("--query-gpu=index,memory.total,memory.used")
    nvidia_smi("NVIDIA-SMI has failed", 9)
    assert gpu_memory() == {}


def test_without_a_gpu_nothing_is_asked(nvidia_smi: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi("0, 81559, 1234")
    monkeypatch.setattr(home_figures, "visible_gpus", lambda: 0)
    assert gpu_memory() == {}


def test_who_asks_gets_the_last_figures_while_new_ones_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home_figures, "PATIENCE", 0.01)
    goes_on, calls = threading.Event(), list[Path]()

    def measure(home: Path) -> MeasuredHome:
        calls.append(home)
        goes_on.wait(60)
        return MeasuredHome({"files": len(calls)})

    figures = HomeFigures(tmp_path, measure)
    assert [figures.latest().bytes for _ in range(3)] == [{}, {}, {}]
    assert calls == [tmp_path], "one measurement at a time"
    goes_on.set()
    figures._thread.join(60)
    assert [figures.latest().bytes for _ in range(2)] == [{"files": 1}, {"files": 1}], "new figures are kept"
    figures._next = 0.0
    figures.latest()
    figures._thread.join(60)
    assert figures.latest().bytes == {"files": 2}


def test_a_home_that_cannot_be_measured_leaves_the_last_figures(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(home: Path) -> Any:
        raise PermissionError("not yours")

    figures = HomeFigures(tmp_path, fail)
    assert figures.latest() == MeasuredHome()
    figures._thread.join(60)
    assert "not yours" in caplog.text
