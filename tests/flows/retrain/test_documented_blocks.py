"""The blocks of README and docs that are marked `run` succeed, in the order of their page, in a small finished home."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from reviewlm.boundary import run_verb
from reviewlm.cli import command
from reviewlm.corpus.synthetic.synth import write_reviews
from tests.documentation.code_blocks import Block, Command, blocks, commands
from tests.flows.first_run import Ran

pytestmark = pytest.mark.long
EVERY = blocks()
SHELL = [block for block in EVERY if block.language == "sh" and block.way in ("run", "fails")]
PYTHON = [
    block
    for block in EVERY
    if block.language == "python" and block.way == "run" and "champion" in block.text
]


@pytest.fixture(scope="module")
def project(ran: Ran, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project folder with a copy of a finished home, and the small files that the pages name."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ran.home, folder / ".reviewlm")
    write_reviews(
        folder / "reviews.jsonl",
        300,
        seed=3,
        malformed=0.02,
        duplicates=0.02,
    )
    write_reviews(
        folder / "clean.jsonl",
        300,
        seed=4,
        malformed=0.0,
        duplicates=0.0,
    )
    reviews = pl.read_ndjson(folder / "clean.jsonl").select("stars", "text")
    texts = [" ".join(text.split()).lower() for text in reviews["text"]]
    (folder / "reviews.txt").write_text("\n".join(texts[:5]))
    (folder / "train.txt").write_text("\n".join(texts[:200]))
    (folder / "held_out.txt").write_text("\n".join(texts[200:]))
    for name in ("reviews", "new"):
        reviews.write_parquet(folder / f"{name}.parquet")
    with pytest.MonkeyPatch.context() as change:
        change.chdir(folder)
        change.setenv("PWD", str(folder))
        change.setenv("REVIEWLM_HOME", str(folder / ".reviewlm"))
        yield folder


def exit_code(one: Command, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a command, ours in this process, and return its exit code."""
    for name, value in one.variables.items():
        monkeypatch.setenv(name, os.path.expandvars(value))
    program, *words = one.words
    if Path(program).name != "reviewlm":
        return subprocess.run(
            one.words,
            input=one.stdin,
            text=True,
            check=False,
        ).returncode
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(one.stdin.encode())))
    return run_verb(lambda: command()(words, standalone_mode=False), words) or 0


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_a_shell_block_succeeds(
    block: Block,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for one in commands(block.text):
        code = exit_code(one, monkeypatch)
        assert (code != 0) == (block.way == "fails"), f"{' '.join(one.words)} ended with {code}"


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_a_python_block_about_the_champion_succeeds(block: Block, project: Path) -> None:
    names: dict[str, object] = {}
    exec(compile(block.text, str(block), "exec"), names)
    assert names.keys() - {"__builtins__"}, "the block defines nothing: it may not have run"
