"""A model folder is always one model: whoever writes it, how often, and wherever a writer ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from models import atomic_files as placing
from models.base import ModelError
from models.ngram.tables import Tables
from models.specs import NGramSpec
from training.ngram.lines.line_lm import LineLM, require_ours
from training.ngram.lines.text_corpus import LineCorpus
from training.ngram.lines.text_files import fit_lines


def model_of(names: str, order: int) -> LineLM:
    """Return a model of a little text; other names, same numbers: tables and words of two of them would fit."""
    lines = [" ".join(line) for line in ("ab", "abc", "b", "cab")]
    text = [line.translate(str.maketrans("abc", names)) for line in lines]
    return fit_lines(LineCorpus.read(text), NGramSpec(order=order))[0]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(params=["exchange", "two renames"])
def way(request, monkeypatch):
    if request.param == "two renames":
        monkeypatch.setattr(placing, "_exchanged", lambda one, two: False)


def test_a_shorter_model_over_a_longer_one_leaves_nothing_of_it(way, tmp_path):
    model_of("abc", 5).save(tmp_path / "m")
    model_of("xyz", 2).save(tmp_path / "m")
    model_of("xyz", 2).save(tmp_path / "fresh")
    assert content(tmp_path / "m") == content(tmp_path / "fresh")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "m"]


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


def test_the_old_model_is_put_back_where_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    model_of("abc", 3).save(tmp_path / "m")
    before = content(tmp_path / "m")
    renamed, calls = placing._renamed, []

    def second_fails(new, target):
        calls.append(new)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        return renamed(new, target)

    monkeypatch.setattr(placing, "_exchanged", lambda one, two: False)
    monkeypatch.setattr(placing, "_renamed", second_fails)
    with pytest.raises(ModelError, match="Input/output") as caught:
        model_of("xyz", 3).save(tmp_path / "m")
    assert caught.value.kind == "disk"
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


def test_a_model_that_is_open_stays_as_it_was(way, tmp_path):
    model_of("abc", 3).save(tmp_path / "m")
    opened = LineLM.open(tmp_path / "m")
    before = [array.copy() for array in opened.tables.arrays().values()]
    model_of("xyz", 2).save(tmp_path / "m")
    assert all(map(np.array_equal, opened.tables.arrays().values(), before))
    opened.save(tmp_path / "m")  # from the maps of files that have no name any more
    assert LineLM.open(tmp_path / "m").words == opened.words


@pytest.mark.parametrize("files", [["words.txt"], ["ngram.json", "notes.txt"], ["ngram.json", "spec.json"]])
def test_a_folder_that_is_no_model_of_lines_is_never_replaced(files, tmp_path):
    (tmp_path / "m").mkdir()
    for name in files:
        (tmp_path / "m" / name).write_text("mine")
    with pytest.raises(ModelError, match="not a model, so it is not replaced") as caught:
        model_of("abc", 2).save(tmp_path / "m")
    assert caught.value.kind == "input"
    assert content(tmp_path / "m") == dict.fromkeys(files, b"mine")


def test_the_current_folder_and_a_file_are_not_replaced(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "file").write_text("mine")
    monkeypatch.chdir(tmp_path / "here")
    for path, said in ((Path("."), "current folder"), (tmp_path / "file", "name another folder")):
        with pytest.raises(ModelError, match=said):
            model_of("abc", 2).save(path)


def test_what_came_while_a_model_was_written_is_not_replaced(tmp_path):
    with pytest.raises(ModelError, match="not a model, so it is not replaced"):
        write_while_notes_come(tmp_path / "m")
    assert content(tmp_path / "m") == {"notes.txt": b"mine"}


def write_while_notes_come(folder: Path) -> None:
    with placing.new_folder(folder, require_ours) as new:
        model_of("abc", 2).tables.save(new)
        folder.mkdir()
        (folder / "notes.txt").write_text("mine")


def test_links_that_lead_to_each_other_cannot_be_written(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ModelError, match="cannot be written") as refused:
        model_of("abc", 2).save(tmp_path / "a")
    assert refused.value.kind == "disk"


def test_a_link_to_a_folder_stays_a_link_and_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far").chmod(0o777)
    (tmp_path / "fresh").mkdir()
    (tmp_path / "m").symlink_to("far")
    for names in ("abc", "xyz"):
        model_of(names, 2).save(tmp_path / "m")
        assert (tmp_path / "m").is_symlink()
        assert set(names) < set(LineLM.open(tmp_path / "far").words)
        assert (tmp_path / "far").stat().st_mode == (tmp_path / "fresh").stat().st_mode, "that of a new folder"


def test_tables_are_written_beside_what_else_a_folder_holds(tmp_path):
    (tmp_path / "vocabulary.json").write_text("{}")
    model_of("abc", 4).tables.save(tmp_path)
    model_of("abc", 2).tables.save(tmp_path)
    assert sorted(content(tmp_path)) == [
        "backoff_1.npy", "first_2.npy", "logp_1.npy", "logp_2.npy", "ngram.json", "vocabulary.json", "words_2.npy",
    ]  # fmt: skip
    assert Tables.load(tmp_path).order == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="the administrator may write everywhere")
def test_a_folder_that_may_not_be_written_is_an_error_of_the_disk(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ModelError) as caught:
        model_of("abc", 2).save(tmp_path / "m")
    tmp_path.chmod(0o700)
    assert caught.value.kind == "disk"
