"""A model folder is always one model: whoever writes it, how often, and wherever a writer ends."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models import atomic_files as placing
from models.base import ModelError
from training.ngram.lines.line_lm import LineLM
from training.ngram.lines.text_corpus import LineCorpus
from training.ngram.lines.text_files import LineSpec, fit_lines


def model_of(names: str, order: int) -> LineLM:
    """Return a model of a little text; other names, same numbers: tables and words of two of them would fit."""
    lines = [" ".join(line) for line in ("ab", "abc", "b", "cab")]
    text = [line.translate(str.maketrans("abc", names)) for line in lines]
    return fit_lines(LineCorpus.read(text), LineSpec(order=order))[0]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(params=["exchange", "two renames"])
def way(request, monkeypatch):
    if request.param == "two renames":
        monkeypatch.setattr(placing, "_exchanged", lambda one, two: False)


@pytest.mark.parametrize("failing", ["save_array", "_write_facts"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_writer_that_ends_early_leaves_the_old_model_and_no_parts(failing, error, tmp_path, monkeypatch):
    model_of("abc", 3).save(tmp_path / "m")
    before = content(tmp_path / "m")

    def fail(*arguments):
        raise error

    monkeypatch.setattr(f"models.ngram.tables.{failing}", fail)
    with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else ModelError, match=r"^(.*No space.*)?$"):
        model_of("xyz", 3).save(tmp_path / "m")
    assert content(tmp_path / "m") == before
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_process_that_is_killed_leaves_the_old_model_whole(tmp_path):
    model_of("abc", 3).save(tmp_path / "m")
    before = content(tmp_path / "m")
    code = (
        "import os, sys; from pathlib import Path; from training.ngram.lines.line_lm import LineLM; "
        "model = LineLM.open(Path(sys.argv[1])); from models.ngram import tables; "
        "tables._write_facts = lambda *arguments: os._exit(9); model.save(Path(sys.argv[1]), 'single')"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path / "m"], check=False).returncode == 9
    assert content(tmp_path / "m") == before


def test_whoever_writes_and_reads_at_once_finds_one_model(way, tmp_path):
    """For a second, and for up to a minute until each has written or read a model: a busy machine may take long."""
    folder, start = tmp_path / "m", time.monotonic()
    models = {"abc": model_of("abc", 2), "xyz": model_of("xyz", 2), "uvw": model_of("uvw", 4)}
    signs = {tuple(sorted(names)): (model.order, set(model.words)) for names, model in models.items()}
    models["abc"].save(folder)
    done = [0] * 5  # models written or read by each thread

    def busy() -> bool:
        return time.monotonic() < start + (1 if min(done) else 60)

    def write(number: int, model: LineLM) -> None:
        while busy():
            model.save(folder)
            done[number] += 1

    def read(number: int) -> None:
        while busy():
            try:
                model = LineLM.open(folder)
            except ModelError:  # between two renames there is a moment without any
                continue
            assert (model.order, set(model.words)) in signs.values()
            done[number] += 1

    with ThreadPoolExecutor(5) as pool:
        work = [pool.submit(write, number, model) for number, model in enumerate(models.values())]
        work += [pool.submit(read, number) for number in (3, 4)]
        for one in work:
            one.result()
    assert min(done) > 0
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert (LineLM.open(folder).order, set(LineLM.open(folder).words)) in signs.values()


@pytest.mark.parametrize("files", [["words.txt"], ["ngram.json", "notes.txt"], ["ngram.json", "spec.json"]])
def test_a_folder_that_is_no_model_of_lines_is_never_replaced(files, tmp_path):
    (tmp_path / "m").mkdir()
    for name in files:
        (tmp_path / "m" / name).write_text("mine")
    with pytest.raises(ModelError, match="not a model, so it is not replaced") as caught:
        model_of("abc", 2).save(tmp_path / "m")
    assert caught.value.kind == "input"
    assert content(tmp_path / "m") == dict.fromkeys(files, b"mine")
