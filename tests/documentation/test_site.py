"""The pages are a site that needs no network, and what they say about exit codes is true."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import reviewlm
from reviewlm.core import errors
from reviewlm.corpus.account_kinds import Kind
from tests.documentation.code_blocks import ROOT

DOCS = ROOT / "docs"
PAGE = re.compile(r"(?<![\w/.])docs/[\w/]+\.md\b")


def test_folders_of_pages_stay_small() -> None:
    folders = {path.parent for path in DOCS.rglob("*.md")}
    sizes = {folder.relative_to(ROOT).as_posix(): len([*folder.glob("*.md")]) for folder in folders}
    assert {name: size for name, size in sizes.items() if size > 14} == {}


def test_pages_that_are_named_exist() -> None:
    rooms = [
        path
        for path in ROOT.iterdir()
        if path.is_dir() and not path.name.startswith((".", "build"))
    ]
    # It names pages of their time.
    pages = [page for page in ROOT.glob("*.md") if page.name != "CHANGELOG.md"]
    files = [*pages, *DOCS.rglob("*.md"), *(path for room in rooms for path in room.rglob("*.py"))]
    named = {
        (name, file) for file in files for name in PAGE.findall(file.read_text(encoding="utf-8"))
    }
    assert len(named) > 25
    assert (
        sorted(
            f"{file.relative_to(ROOT)}: {name}"
            for name, file in named
            if not (ROOT / name).exists()
        )
        == []
    )


def test_the_page_of_exit_codes_has_every_error_with_its_code() -> None:
    said: dict[str, str] = {}
    page = (DOCS / "reference/json.md").read_text(encoding="utf-8")
    for code, main, also in re.findall(r"^\| ([\d, ]+) \| (.*?) \| (.*?) ?\|$", page, re.MULTILINE):
        said |= dict.fromkeys(re.findall(r"`(\w+)`", main + also), code)
    known = (kind for kind in vars(errors).values() if isinstance(kind, type))
    kinds = [kind for kind in known if issubclass(kind, errors.ReviewLMError)]
    assert {kind.__name__: str(kind.exit_code) for kind in kinds} == said


def test_the_page_of_json_has_every_kind_of_the_account() -> None:
    page = (DOCS / "reference/json.md").read_text(encoding="utf-8")
    table = page.partition("| | kinds |")[2].partition("\n\n")[0]
    rows = [row.split("|")[2] for row in table.splitlines() if row.startswith("| ")]
    assert sorted(re.findall("`([^`]+)`", " ".join(rows))) == sorted(Kind)


def test_pages_that_show_a_run_for_a_time_show_the_same_time() -> None:
    shown = {}
    for page in (ROOT / "README.md", *DOCS.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        if times := re.findall(r"reviewlm run [^`\n]*--minutes (\d+)", text):
            shown[page.relative_to(ROOT).as_posix()] = {*times}, "reviewlm check" in text

    assert len(shown) >= 4
    assert {page: found for page, found in shown.items() if found != ({"15"}, True)} == {}


def test_the_list_of_tutorials_has_each_of_them_with_its_subject() -> None:
    index = (DOCS / "tutorials/index.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| \[.+\]\((\w+\.ipynb)\) \| (.+) \|$", index, re.MULTILINE))
    assert sorted(rows) == sorted(path.name for path in DOCS.glob("tutorials/*.ipynb"))
    assert "TBPTT" in rows["04_lstm.ipynb"]


def test_the_page_of_python_says_without_a_build_what_the_build_describes() -> None:
    page = (DOCS / "reference/python.md").read_text(encoding="utf-8")
    plain = re.sub(r"```\{eval-rst\}.*?```", "", page, flags=re.DOTALL)
    described = re.findall(r"auto(?:function|class):: ([\w.]+)", page)
    functions = [name for name in described if name.rpartition(".")[2].islower()]
    methods = [
        name
        for name, value in vars(reviewlm.LoadedModel).items()
        if callable(value) and not name.startswith("_")
    ]
    assert functions
    assert len(methods) > 5
    lacking = [name for name in functions if f"`{name}(" not in plain]
    lacking += [name for name in methods if f"`lm.{name}(" not in plain]
    assert lacking == []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of the documentation, built with warnings as errors."""
    for name in ("sphinx", "furo", "myst_nb"):
        pytest.importorskip(name, reason="pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("documentation")
    options = ["-q", "-W", "--keep-going", "-d", str(folder / "trees")]
    command = [sys.executable, "-m", "sphinx", *options, str(DOCS), str(folder / "site")]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "site"


@pytest.mark.long
@pytest.mark.slow
def test_the_site_is_built_without_a_warning(site: Path) -> None:
    assert len([*site.rglob("*.html")]) > 25
    assert "perplex" in (site / "searchindex.js").read_text(encoding="utf-8")


@pytest.mark.long
@pytest.mark.slow
def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    loads = re.compile(r'<(?:script|img|iframe|link)\b[^>]*(?:src|href)="(?:https?:)?//')
    pages = {page.name: page.read_text(encoding="utf-8") for page in site.rglob("*.html")}
    assert [name for name, text in pages.items() if loads.search(text)] == []


def test_no_formula_with_a_proof_is_called_absent() -> None:
    page = (DOCS / "concepts/models/equations.md").read_text(encoding="utf-8")
    proved, _, absent = page.partition("## Not there")
    rows = re.findall(r"^\| ([ABCDX]\d+) \|", proved, re.MULTILINE)
    named = re.findall(r"[ABCDX]\d+", " ".join(re.findall(r"^\| ([^|]*) \|", absent, re.MULTILINE)))
    assert len(rows) > 100
    assert not set(rows) & set(named)
