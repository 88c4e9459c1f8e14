"""What all tests share: quiet frameworks, one thread, the folder of real data if there is one, one Prefect server."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from reviewlm.core.environment import prepare_environment
from tests.examples import register_profiles
from tests.rotation import Share

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Ray reads it once, when a first test imports it; without it, 127.0.0.1 is replaced by the machine's own address.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
register_profiles()
pytest_plugins = ["tests.pretended_gpu.plugin"]


WHEN_LEFT_OUT_TESTS_RUN = {
    "slow": "`make test-slow`, in every CI run",
    "long": "`make test-all`; an eighth of their files in every CI run by `make test-long`",
}
LEFT_OUT = pytest.StashKey[Counter[str]]()
"""Number of tests left out, by marker."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that chooses a share of the long tests."""
    parser.addoption(
        "--long-share",
        type=Share.parse,
        metavar="K/N",
        help="Of the files with tests marked `long`, take those of share K of N (0 ≤ K < N).",
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take the share of the long tests; begin with flows and slow tests.

    A file, or all flows, is one process's work, and the last keeps others idle.
    """
    share = config.getoption("--long-share")
    if share is not None:
        chosen = share.tests(items)
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen

    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow and "flows" not in item.path.parts)


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Count the tests that are left out, by the marker that leaves them out."""
    for item in items:
        counts = item.config.stash.setdefault(LEFT_OUT, Counter())
        if item.get_closest_marker("long"):
            counts["long"] += 1
        elif item.get_closest_marker("slow"):
            counts["slow"] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let the process that reports know how many tests each worker left out: all workers leave out the same."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["left_out"] = dict(session.config.stash.get(LEFT_OUT, Counter()))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over how many tests a worker left out."""
    counts = getattr(node, "workeroutput", {}).get("left_out")
    if counts:
        node.config.stash[LEFT_OUT] = Counter(counts)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say how many tests were left out, and when they run."""
    for marker, number in config.stash.get(LEFT_OUT, Counter()).items():
        terminalreporter.write_line(
            f"left out: {number} tests marked {marker} ({WHEN_LEFT_OUT_TESTS_RUN[marker]})"
        )


def pytest_collection(session: pytest.Session) -> None:
    """Import this process's share of the test files first, where several processes collect the whole suite.

    In a new clone, the first process that imports a file rewrites its assertions and stores the result for the others.
    In the same order, all processes would rewrite all files at the same time: 13 seconds of each.
    """
    gc.disable()  # until all is collected: nothing of it is garbage, and to look for some takes 2 of 11 CPU seconds
    worker = getattr(session.config, "workerinput", None)
    if worker is None or session.config.args != session.config.getini("testpaths"):
        return
    number = int(worker["workerid"].removeprefix("gw"))
    for file in sorted((ROOT / "tests").rglob("test_*.py"))[number :: worker["workercount"]]:
        if str(file.parent) not in sys.path:
            sys.path.insert(0, str(file.parent))  # as pytest does
        with suppress(Exception, pytest.skip.Exception):  # collection imports it again and reports
            import_module(file.stem)


def pytest_collection_finish() -> None:
    """Let the garbage collector leave out modules and tests, which stay to the end, and look less often at the rest."""
    gc.freeze()
    gc.set_threshold(10_000, 10, 20)  # with Python's own numbers it takes 3 of 100 CPU seconds
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Start one process more than there are processors: tests of servers and child processes mostly wait for them."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each file to one process, and all flow tests to the same one, with which they share its Prefect server."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class FlowsTogether(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "flows" if nodeid.startswith("tests/flows/") else super()._split_scope(nodeid)

    return FlowsTogether(config, log)


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder for the whole session: nothing is written outside of it."""
    folder = tmp_path_factory.mktemp("home")
    os.environ["REVIEWLM_HOME"] = str(folder)
    prepare_environment(folder)
    return folder


CACHES = {".pytest_cache", ".hypothesis", ".mypy_cache", ".ruff_cache", "build"}
"""Folders of tools, which git ignores."""


@pytest.fixture(scope="session", autouse=True)
def same_checkout() -> Iterator[None]:
    """Fail where a test writes into the project's folder, as one does that names a path without a folder."""
    before = {path.name for path in ROOT.iterdir()}
    yield
    assert {path.name for path in ROOT.iterdir()} - before <= CACHES


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder for one test."""
    monkeypatch.setenv("REVIEWLM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def pytest_runtest_setup() -> None:
    """Remove the stand-in for Databricks that MLflow leaves among the modules where two threads log a model at once.

    It has every attribute, and hypothesis, which looks for constants in all modules, cannot read its file name.
    """
    sys.modules.pop("dbutils", None)


@pytest.fixture(autouse=True)
def same_servers(home: Path) -> Iterator[None]:
    """Fail a test that leaves the address of a server in the environment: the next one would send it its requests."""
    names = (
        "PREFECT_API_URL",
        "PREFECT_API_AUTH_STRING",
        "REVIEWLM_MLFLOW_URL",
        "MLFLOW_TRACKING_URI",
    )
    before = {name: os.environ.get(name) for name in names}
    yield
    assert {name: os.environ.get(name) for name in names} == before


@pytest.fixture(scope="session")
def template_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with an empty MLflow database, to be copied: one process creates its tables for all."""
    from reviewlm.tracking.client import open_client

    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, made = shared / "template", shared / "template.made"
    with FileLock(shared / "template.lock"):
        if not made.exists():
            folder.mkdir()
            open_client(f"sqlite:///{folder / 'mlflow.db'}")
            made.touch()
    return folder


@pytest.fixture
def migrated_home(own_home: Path, template_home: Path) -> Path:
    """A home folder for one test, with an empty MLflow database in it."""
    return Path(shutil.copytree(template_home, own_home))


@pytest.fixture(scope="session")
def prefect_server(home: Path) -> Iterator[None]:
    """One temporary Prefect server for all flow tests; without heartbeats, as that of a command."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    without = temporary_settings(updates={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})
    with prefect_test_harness(server_startup_timeout=600), without:
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real Yelp text, which may not be part of the project."""
    folder = Path(os.environ.get("REVIEWLM_REAL_DATA") or ROOT / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set REVIEWLM_REAL_DATA)")
    return folder
