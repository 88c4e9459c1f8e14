"""A backup holds everything that cannot be computed again, is consistent, and is restored whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sqlite3
import stat
import tarfile
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reviewlm.core.errors import (
    ArtifactError,
    ConfigError,
    Damaged,
    EmptyInput,
    ReviewLMError,
    StoreFull,
    Unreadable,
)
from reviewlm.core.store import Store
from reviewlm.tracking.artifacts import RELATIVE, places_elsewhere
from reviewlm.tracking.backup import MANIFEST, restore_backup, write_backup
from tests.command_line import call

ENDINGS = (".tar", ".tar.gz")


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A home folder with a database, a result, an artifact and things that do not belong to a backup."""
    folder = tmp_path / "home"

    def make(work: Path) -> dict[str, Any]:
        (work / "rows.txt").write_text("content of a result")
        return {}

    result = (
        Store(folder / "store")
        .build(
            "ingest",
            1,
            {},
            {},
            make,
        )
        .artifact.folder
    )
    shutil.copytree(result, folder / "store" / ".aside" / "damaged")
    (folder / "store" / ".work" / "once-0123").mkdir(parents=True)
    (folder / "store" / ".work" / "once-0123" / "half").write_text("unfinished")
    (folder / "store" / "fit" / "0123456789abcdef").mkdir(parents=True)
    (folder / "store" / "fit" / "0123456789abcdef" / "weights").write_text(
        "no manifest: unfinished"
    )
    for name, text in {
        "mlartifacts/1/model.bin": "weights",
        "ui-password": "secret",
        "services.json": "[]",
        "registry.lock": "",
        "runs/home/1/open.lock": "",
        "reports/run/report.html": "<p>",
        "logs/empty.log": "",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "reports" / "latest").symlink_to("run")
    with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE runs (number INTEGER)")
        database.execute("INSERT INTO runs VALUES (1)")
    return folder


def names_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def rows_of(database: Path) -> list[Any]:
    with closing(sqlite3.connect(database)) as opened:
        return opened.execute("SELECT * FROM runs ORDER BY number").fetchall()


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_restored_is_what_was_backed_up(
    ending: str,
    filled: Path,
    tmp_path: Path,
) -> None:
    file = tmp_path / f"backup{ending}"
    told = write_backup(filled, file)
    restored = tmp_path / "restored"
    assert restore_backup(file, restored)["files"] == told["files"]
    [result] = [
        path.relative_to(filled).as_posix() for path in (filled / "store" / "ingest").iterdir()
    ]
    assert names_of(restored) == {
        f"{result}/rows.txt",
        f"{result}/manifest.json",
        "mlflow.db",
        "mlartifacts/1/model.bin",
        "ui-password",
        "reports/run/report.html",
        "logs/empty.log",
    }
    for name in names_of(restored) - {"mlflow.db"}:
        assert (restored / name).read_bytes() == (filled / name).read_bytes()
    assert rows_of(restored / "mlflow.db") == [(1,)]
    [artifact] = Store(restored / "store").all("ingest")
    Store(restored / "store").verify(artifact)


def is_open_to_others(path: Path) -> bool:
    return not path.is_symlink() and bool(stat.S_IMODE(path.stat().st_mode) & 0o077)


def test_an_archive_is_for_the_owner_only(filled: Path, tmp_path: Path) -> None:
    write_backup(filled, tmp_path / "backup.tar")
    assert not is_open_to_others(tmp_path / "backup.tar")


def test_what_is_restored_is_for_the_owner_only(filled: Path, tmp_path: Path) -> None:
    write_backup(filled, tmp_path / "backup.tar")
    restore_backup(tmp_path / "backup.tar", tmp_path / "restored")
    paths = [tmp_path / "restored", *(tmp_path / "restored").rglob("*")]
    assert [path for path in paths if is_open_to_others(path)] == []


def test_a_database_that_is_being_written_is_copied_between_two_transactions(
    filled: Path, tmp_path: Path
) -> None:
    stop = threading.Event()

    def write_pairs() -> None:
        with closing(sqlite3.connect(filled / "mlflow.db", timeout=60)) as database:
            number = 1
            while not stop.is_set():
                with database:
                    database.executemany(
                        "INSERT INTO runs VALUES (?)", [(number + 1,), (number + 2,)]
                    )
                number += 2

    writer = threading.Thread(target=write_pairs)
    writer.start()
    try:
        write_backup(filled, tmp_path / "backup.tar")
    finally:
        stop.set()
        writer.join()
    restore_backup(tmp_path / "backup.tar", tmp_path / "restored")
    numbers = [number for (number,) in rows_of(tmp_path / "restored" / "mlflow.db")]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) % 2 == 1


def test_of_a_damaged_database_no_archive_is_made(filled: Path, tmp_path: Path) -> None:
    content = (filled / "mlflow.db").read_bytes()
    (filled / "mlflow.db").write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(Damaged, match=r"mlflow\.db"):
        write_backup(filled, tmp_path / "backup.tar")
    assert {path.name for path in tmp_path.iterdir()} == {"home"}


def test_an_archive_of_another_kind_of_place_is_refused(filled: Path, tmp_path: Path) -> None:
    for to, error in ((tmp_path / "backup.zip", ConfigError), (filled / "backup.tar", ConfigError)):
        with pytest.raises(error):
            write_backup(filled, to)
    with pytest.raises(EmptyInput):
        write_backup(tmp_path / "absent", tmp_path / "backup.tar")


@pytest.mark.parametrize("target", ["full", "full/mine", "link"])
def test_a_target_that_is_not_an_empty_folder_stays_as_it_is(
    target: str,
    filled: Path,
    tmp_path: Path,
) -> None:
    write_backup(filled, tmp_path / "backup.tar")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    with pytest.raises(ConfigError):
        restore_backup(tmp_path / "backup.tar", tmp_path / target)
    assert names_of(tmp_path / "full") == {"mine"}
    assert not (tmp_path / "empty").exists()


def test_an_empty_folder_is_a_target(filled: Path, tmp_path: Path) -> None:
    write_backup(filled, tmp_path / "backup.tar")
    (tmp_path / "empty").mkdir()
    restore_backup(tmp_path / "backup.tar", tmp_path / "empty")
    assert (tmp_path / "empty" / "ui-password").read_text() == "secret"


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_archive_that_is_cut_off_at_any_place_restores_nothing(
    ending: str,
    filled: Path,
    tmp_path: Path,
) -> None:
    whole = tmp_path / f"backup{ending}"
    write_backup(filled, whole)
    # A tar is filled up with zeros after its last member.
    content = whole.read_bytes().rstrip(b"\0")
    for share in (0.0, 0.1, 0.35, 0.6, 0.8):
        (tmp_path / "cut").write_bytes(content[: int(len(content) * share)])
        with pytest.raises((Unreadable, ArtifactError)):
            restore_backup(tmp_path / "cut", tmp_path / "restored")
    assert {path.name for path in tmp_path.iterdir()} == {"home", whole.name, "cut"}


def test_the_file_of_a_changed_byte_is_named(filled: Path, tmp_path: Path) -> None:
    write_backup(filled, tmp_path / "backup.tar")
    content = (tmp_path / "backup.tar").read_bytes()
    (tmp_path / "backup.tar").write_bytes(
        content.replace(b"content of a result", b"content of a RESULT")
    )
    with pytest.raises(Damaged, match=r"rows\.txt"):
        restore_backup(tmp_path / "backup.tar", tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_archive_with_a_changed_byte_anywhere_restores_nothing_or_all(
    ending: str,
    filled: Path,
    tmp_path: Path,
) -> None:
    write_backup(filled, whole := tmp_path / f"backup{ending}")
    content = whole.read_bytes()
    for place in range(7, len(content), len(content) // 12):
        changed = bytearray(content)
        changed[place] ^= 0xFF
        (tmp_path / "changed").write_bytes(changed)
        try:
            restore_backup(tmp_path / "changed", tmp_path / "restored")
        except ReviewLMError:
            assert not (tmp_path / "restored").exists()
        else:  # a byte that says nothing: padding, or a name's time
            assert rows_of(tmp_path / "restored" / "mlflow.db") == [(1,)]
            shutil.rmtree(tmp_path / "restored")


def entry(name: str, **about: Any) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    for key, value in about.items():
        setattr(member, key, value)
    return member


def archive(file: Path, manifest: Any, *members: tuple[tarfile.TarInfo, bytes]) -> None:
    """Write a tar of members as they are, and a manifest."""
    about = json.dumps(manifest).encode()
    with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as tar:
        for member, content in (*members, (entry(MANIFEST, size=len(about)), about)):
            tar.addfile(member, io.BytesIO(content))


TRICKS: dict[str, Callable[[], tarfile.TarInfo]] = {
    "absolute": lambda: entry("/tmp/evil", size=4),
    "upwards": lambda: entry("../evil", size=4),
    "upwards-inside": lambda: entry("store/../../evil", size=4),
    "backslash": lambda: entry("..\\evil", size=4),
    "symbolic-link": lambda: entry("store/link", type=tarfile.SYMTYPE, linkname="/etc"),
    "hard-link": lambda: entry("passwd", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
    "device": lambda: entry(
        "null",
        type=tarfile.CHRTYPE,
        devmajor=1,
        devminor=3,
    ),
    "pipe": lambda: entry("pipe", type=tarfile.FIFOTYPE),
    "twice": lambda: entry("same", size=4),
}


@pytest.mark.parametrize("trick", TRICKS)
def test_a_member_that_leads_out_of_the_folder_is_refused(trick: str, tmp_path: Path) -> None:
    place = tmp_path / "inner"
    place.mkdir()
    archive(
        place / "evil.tar",
        manifest_with(),
        (entry("same", size=4), b"fine"),
        (TRICKS[trick](), b"evil"),
    )
    with pytest.raises(Unreadable, match="not a whole backup"):
        restore_backup(place / "evil.tar", place / "restored")
    assert [path.name for path in tmp_path.rglob("*") if path.name != "inner"] == ["evil.tar"]


HOSTILE: dict[str, tuple[Sequence[tarfile.TarInfo], Any]] = {
    "a name that is too long": ([entry("x" * 300)], {}),
    "a file that is a folder, too": ([entry("a"), entry("a/b")], {}),
    "a folder that is a file, too": ([entry("a/b"), entry("a")], {}),
    "files that are a list": ([], {"files": [1]}),
    "a member without end": ([entry("a", pax_headers={"size": "9" * 30})], {}),
    "a member of negative size": ([entry("a", pax_headers={"size": "-512"})], {}),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_an_archive_that_only_a_stranger_makes_ends_as_one_that_is_no_backup(
    case: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    members, about = HOSTILE[case]
    files = {one.name: {"bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()} for one in members}
    archive(
        tmp_path / "odd.tar",
        manifest_with(**{"files": files, **about}),
        *((member, b"") for member in members),
    )
    done = call(
        monkeypatch,
        capfd,
        "home",
        "restore",
        tmp_path / "odd.tar",
        "--home",
        tmp_path / "restored",
    )
    assert done.code == Unreadable.exit_code
    assert [path.name for path in tmp_path.iterdir()] == ["odd.tar"]


@pytest.mark.parametrize("with_prefect", [True, False])
def test_a_restored_home_with_deployments_warns_that_they_run_commands(
    filled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    with_prefect: bool,
) -> None:
    (filled / "prefect").mkdir()
    if with_prefect:
        shutil.copyfile(filled / "mlflow.db", filled / "prefect" / "prefect.db")
    write_backup(filled, tmp_path / "b.tar")
    done = call(
        monkeypatch,
        capfd,
        "home",
        "restore",
        tmp_path / "b.tar",
        "--home",
        tmp_path / "restored",
        "--json",
    )
    assert len(done.facts["warnings"]) == with_prefect


def manifest_with(**about: Any) -> dict[str, Any]:
    return {
        "format": 1,
        "files": {},
        "home": "",
        "without_store": False,
        **about,
    }


@pytest.mark.parametrize(
    "manifest",
    [
        manifest_with(format=2),
        {"format": 1},
        [],
        manifest_with(files={"gone": {"bytes": 1, "sha256": ""}}),
        manifest_with(files={"gone": {"bytes": float("inf"), "sha256": ""}}),
        manifest_with(files={"gone": 1}),
    ],
    ids=["other-format", "no-keys", "list", "missing-file", "endless-file", "no-entry"],
)
def test_a_manifest_that_is_not_ours_restores_nothing(manifest: Any, tmp_path: Path) -> None:
    archive(tmp_path / "odd.tar", manifest)
    with pytest.raises(ReviewLMError):
        restore_backup(tmp_path / "odd.tar", tmp_path / "restored")
    assert [path.name for path in tmp_path.iterdir()] == ["odd.tar"]


def test_a_manifest_that_would_fill_the_memory_is_not_read(
    filled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_backup(filled, tmp_path / "b.tar")
    monkeypatch.setattr("reviewlm.tracking.backup.LARGEST_MANIFEST", 100)
    with pytest.raises(Unreadable):
        restore_backup(tmp_path / "b.tar", tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


def test_a_full_disk_is_no_damaged_database(
    filled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def small(database: Path, seconds: float) -> sqlite3.Connection:
        raise full

    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    monkeypatch.setattr("reviewlm.tracking.backup.read_only", small)
    with pytest.raises(StoreFull):
        write_backup(filled, tmp_path / "b.tar")
    assert not list(tmp_path.glob("b.tar*"))


@pytest.fixture
def saved(
    migrated_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> tuple[Path, dict[str, Any]]:
    """The backup of a home whose runs are on another server, and what the command says of it."""
    file, uri = tmp_path / "b.tar.gz", "execution.tracking_uri=http://mlflow.example:5000"
    done = call(
        monkeypatch,
        capfd,
        "home",
        "backup",
        "--to",
        file,
        "--set",
        uri,
        "--json",
    )
    assert done.code == 0
    return file, done.facts


def test_a_backup_names_the_store_that_is_no_part_of_it(saved: tuple[Path, dict[str, Any]]) -> None:
    [warning, *_] = saved[1]["warnings"]
    assert "Not part of the backup" in warning
    assert "http://mlflow.example:5000" in warning


def test_a_restored_home_is_named_in_a_command(
    saved: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    target = tmp_path / "restored"
    done = call(
        monkeypatch,
        capfd,
        "home",
        "restore",
        saved[0],
        "--home",
        target,
    )
    assert done.code == 0
    assert f"REVIEWLM_HOME={target} reviewlm history" in done.out


def test_a_backup_says_which_files_of_its_runs_are_in_a_bucket(
    migrated_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{migrated_home / 'mlflow.db'}")
    inside = client.create_experiment("inside", artifact_location=RELATIVE)
    bucket = client.create_experiment("bucket", artifact_location="s3://user:secret@bucket/mlflow")
    for experiment in (inside, bucket, bucket):
        client.create_run(experiment)
    saved = call(
        monkeypatch,
        capfd,
        "home",
        "backup",
        "--to",
        tmp_path / "b.tar",
        "--json",
    )
    [warning] = saved.facts["warnings"]
    assert "Not part of the backup: s3://user:***@bucket/mlflow, outside this home" in warning
    assert "(2)" in warning
    assert places_elsewhere(migrated_home) == {"s3://user:***@bucket/mlflow": 2}
