"""Bundles of registered versions that lie on another machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from reviewlm.tracking.logged_models.bundles import download
from reviewlm.tracking.runs.runs import Tracker


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The servers and addresses from which bundles were fetched; each bundle names its own."""
    listed: list[tuple[str, str]] = []

    def fetch(
        artifact_uri: str,
        dst_path: str,
        tracking_uri: str,
    ) -> str:
        listed.append((tracking_uri, artifact_uri))
        folder = Path(dst_path) / "artifacts"
        folder.mkdir()
        (folder / "from").write_text(f"{tracking_uri} {artifact_uri}", encoding="utf-8")
        return str(folder)

    monkeypatch.setattr("mlflow.artifacts.download_artifacts", fetch)
    return listed


def test_a_version_is_fetched_once(fetched: list[tuple[str, str]], tmp_path: Path):
    tracker = Tracker("http://one:5000", "reviewlm", tmp_path / "mlartifacts")
    for _ in range(2):
        folder = download(tracker, "mlflow-artifacts:/m-1", "reviewlm", "1")
        assert (folder / "from").is_file()
    assert fetched == [(tracker.uri, "mlflow-artifacts:/m-1")]


def test_a_version_is_not_taken_for_one_of_the_same_number_elsewhere(
    fetched: list[tuple[str, str]], tmp_path: Path
):
    one, other = (
        Tracker(f"http://{host}:5000", "reviewlm", tmp_path / "mlartifacts")
        for host in ("one", "other")
    )
    asked = [
        (one, "mlflow-artifacts:/m-1"),
        (other, "mlflow-artifacts:/m-1"),
        (one, "mlflow-artifacts:/m-2"),
    ]
    for tracker, address in [*asked, *asked]:
        folder = download(tracker, address, "reviewlm", "1")
        assert (folder / "from").read_text(encoding="utf-8") == f"{tracker.uri} {address}"
    assert fetched == [(tracker.uri, address) for tracker, address in asked]


def test_two_processes_that_fetch_at_once_share_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slower one has everything fetched when the faster one begins, and renames after it."""
    tracker = Tracker("http://one:5000", "reviewlm", tmp_path / "mlartifacts")
    faster: list[Path | None] = []

    def fetch(
        artifact_uri: str,
        dst_path: str,
        tracking_uri: str,
    ) -> str:
        folder = Path(dst_path) / "artifacts"
        folder.mkdir()
        (folder / "weights").write_text("the same")
        if not faster:
            faster.append(None)
            faster[0] = download(tracker, "mlflow-artifacts:/m-1", "reviewlm", "1")
        return str(folder)

    monkeypatch.setattr("mlflow.artifacts.download_artifacts", fetch)
    slower = download(tracker, "mlflow-artifacts:/m-1", "reviewlm", "1")
    assert [slower] == faster
    assert (slower / "weights").read_text() == "the same"
    assert list(slower.parent.iterdir()) == [slower]
