"""ReviewLM as one installs it: from a wheel, in a folder that holds nothing of ours, beside a program's own modules."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from reviewlm.core.credentials import credentials_of
from reviewlm.core.provenance import code_digest
from reviewlm.core.services import service_list
from reviewlm.core.services.pools import request
from tests.flows.first_run import ROOT, TINY, user_environment
from tests.operation.started_services import until

pytestmark = pytest.mark.slow
QUICK = {
    "source.synthetic.reviews": "300",
    "models": '[{kind="ngram",name="kn5",order=3,min_documents=2}]',
    "audit.samples": "10",
    "audit.canaries": "2",
    "audit.copies": "[1]",
    "audit.candidates": "100",
    "evaluation.resamples": "100",
    "promotion.max_latency_ms": '"none"',
}
"""Settings with which the demo takes seconds."""
THEIRS = ("core", "models", "tasks", "flows", "prefect", "mlflow")
"""Modules that a user's folder may hold; each would end the process that imports it."""


@dataclass
class Installed:
    """A folder of a user, and the environment into which the wheel was installed."""

    wheel: Path
    environment: Path
    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / ".reviewlm"

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        """Start a program of the environment in the user's folder."""
        program, *arguments = map(str, words)
        variables = user_environment(self.home)
        del variables["REVIEWLM_HOME"], variables["PYTHONPATH"]
        return subprocess.Popen(
            [str(self.environment / "bin" / program), *arguments],
            cwd=self.folder,
            env=variables,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def answer(self, *words: str | Path) -> str:
        process = self.start(*words)
        said, complaints = process.communicate(timeout=1500)
        assert process.returncode == 0, complaints[-3_000:]
        return said


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Installed offline: the packages that it needs are those of the tests, without the checkout."""
    base = tmp_path_factory.mktemp("installed")
    source = base / "source"
    source.mkdir()
    links = [link for link in (ROOT / "reviewlm").iterdir() if link.is_symlink()]
    named = ["pyproject.toml", "README.md", "LICENSE", "reviewlm", *(link.name for link in links)]
    for name in named:
        if (ROOT / name).is_dir():
            caches = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=caches)
        else:
            shutil.copy(ROOT / name, source / name)

    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    built = [*pip, "wheel", *offline, "--no-build-isolation", "-w", str(base), str(source)]
    subprocess.run(built, check=True, capture_output=True)
    [wheel] = base.glob("*.whl")
    environment = base / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = str(environment / "bin" / "python")
    subprocess.run([*pip, "--python", python, "install", *offline, str(wheel)], check=True)
    # A folder named so is searched, but its own .pth files, of which one names the checkout, are not read.
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = subprocess.check_output([python, "-c", asked], text=True).strip()
    (Path(own) / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")

    folder = base / "folder"
    folder.mkdir()
    for name in THEIRS:
        (folder / f"{name}.py").write_text(f"raise SystemExit('the user has {name}, too')\n")
    return Installed(wheel, environment, folder)


def test_the_wheel_holds_one_package_with_all_its_data(installed: Installed) -> None:
    names = zipfile.ZipFile(installed.wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"reviewlm"}
    assert sum(name.endswith("LICENSE") for name in names) == 1
    tracked = {
        path.relative_to(ROOT).as_posix()
        for room in (ROOT / "reviewlm").iterdir()
        for path in (sorted(room.resolve().rglob("*")) if room.is_dir() else [room.resolve()])
        if path.is_file() and path.suffix != ".md" and path.parent.name != "__pycache__"
    }
    held = {name.removeprefix("reviewlm/") for name in names if name.startswith("reviewlm/")}
    assert {name.removeprefix("reviewlm/") for name in tracked} - held == set()


def test_the_installed_code_is_known_as_that_of_the_checkout_but_of_no_commit(
    installed: Installed,
) -> None:
    """So results of a checkout are used again; a commit would be that of a repository around the environment."""
    subprocess.run(["git", "init", "--quiet", str(installed.folder.parent)], check=True)
    code = "from reviewlm.core import provenance as p; print(p.code_digest(), repr(p.git_commit()), p.CHECKOUT)"
    said = installed.answer("python", "-P", "-c", code).split()
    assert said == [code_digest(), "''", "None"]


@pytest.mark.parametrize("first", ["theirs", "ours"])
def test_a_program_with_modules_named_as_ours_works_whichever_it_imports_first(
    first: str, installed: Installed
) -> None:
    program = installed.folder.parent / f"{first}-first"
    program.mkdir()
    for name in THEIRS[:4]:
        (program / f"{name}.py").write_text("mine = True\n")
    ours = "import reviewlm; lm = reviewlm.ngram.fit(['The soup was cold.'], order=2)\n"
    theirs = "import core, models, tasks, flows; assert core.mine and flows.mine\n"
    order = [theirs, ours] if first == "theirs" else [ours, theirs]
    use = "print(lm.suggest('The soup was').words[0][0], reviewlm.__version__)\n"
    (program / "main.py").write_text("".join([*order, use]))
    assert installed.answer("python", program / "main.py").split() == ["cold", version(installed)]


def version(installed: Installed) -> str:
    return installed.wheel.name.split("-")[1]


def test_demo_then_run_then_serve_work_in_a_folder_of_the_user(installed: Installed) -> None:
    settings = [word for name, value in QUICK.items() for word in ("--set", f"{name}={value}")]
    demo = json.loads(installed.answer("reviewlm", "demo", "--json", *settings).splitlines()[-1])
    assert demo["promoted"], demo["reason"]
    reviews = installed.folder / "reviews.csv"
    texts = [f"{1 + n % 5},The meal number {n} was good and the staff friendly." for n in range(90)]
    reviews.write_text("\n".join(["stars,text", *texts]) + "\n")
    words = ["run", "--input", "reviews.csv", "--until", "prepare", "--preset", TINY, "--json"]
    run = json.loads(installed.answer("reviewlm", *words).splitlines()[-1])
    assert run
    assert installed.answer(
        "python",
        "-P",
        "-m",
        "reviewlm",
        "suggest",
        "the food was",
        "--k",
        "1",
    )
    with served(installed) as address:
        body = {"prompt": "the food was "}
        assert httpx.post(f"{address}/suggest", json=body, timeout=60).json()["words"]


@contextmanager
def served(installed: Installed) -> Iterator[str]:
    process = installed.start(
        "reviewlm",
        "serve",
        "--port",
        "0",
        "--json",
    )
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["address"]
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_a_course_program_runs(installed: Installed) -> None:
    said = installed.answer(
        "python",
        "-P",
        "-m",
        "reviewlm.course.optimization.lr_find",
        "--help",
    )
    assert "usage" in said


def test_the_services_run_a_deployment_beside_modules_of_the_user(
    installed: Installed,
) -> None:
    try:
        installed.answer("reviewlm", "services", "start", "--json")
        [server] = [one for one in service_list.running(installed.home) if one.name == "prefect"]
        address, login = server.address + "/api", credentials_of(installed.home)
        ingest = request(f"{address}/deployments/name/ingest-only/ingest", login).json()["id"]
        asked = {"parameters": {"preset": TINY}}
        run = request(f"{address}/deployments/{ingest}/create_flow_run", login, asked).json()["id"]
        state = lambda: request(f"{address}/flow_runs/{run}", login).json()["state"]["name"]  # noqa: E731
        until(lambda: state() in ("Completed", "Failed", "Crashed"), state)
        assert state() == "Completed"
    finally:
        installed.answer("reviewlm", "services", "stop")
