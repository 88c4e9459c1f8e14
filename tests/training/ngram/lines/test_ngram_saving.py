"""A model folder is one whole model, or none: whoever writes it, and wherever a writer ends."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reviewlm.models.base import ModelError
from reviewlm.training.ngram.lines.line_lm import LineLM
from reviewlm.training.ngram.lines.text_corpus import LineCorpus
from reviewlm.training.ngram.lines.text_files import LineSpec, fit_lines
from tests.programs import command

ROOT = Path(__file__).resolve().parents[4]


def model_of(names: str, order: int) -> LineLM:
    """Return a model of a little text; other names, same numbers: tables and words of two of them would fit."""
    lines = [" ".join(line) for line in ("ab", "abc", "b", "cab")]
    text = [line.translate(str.maketrans("abc", names)) for line in lines]
    return fit_lines(LineCorpus.read(text), LineSpec(order=order))[0]


@pytest.mark.parametrize("failing", ["save_array", "_write_facts"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_writer_that_ends_early_leaves_nothing(
    failing,
    error,
    tmp_path,
    monkeypatch,
):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(f"reviewlm.models.ngram.tables.{failing}", fail)
    with pytest.raises(
        KeyboardInterrupt if error is KeyboardInterrupt else ModelError, match=r"^(.*No space.*)?$"
    ):
        model_of("xyz", 3).save(tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_is_killed_leaves_no_model(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command("end_while_saving", tmp_path / "m"), env=environment, check=False)
    assert done.returncode == 9
    assert not (tmp_path / "m").exists()


def test_of_several_writers_at_once_one_is_the_first(tmp_path):
    models = [model_of(names, order) for names, order in (("abc", 2), ("xyz", 2), ("uvw", 4))]

    def save(model: LineLM) -> bool:
        try:
            model.save(tmp_path / "m")
        except ModelError:
            return False
        return True

    with ThreadPoolExecutor(3) as pool:
        [written] = [
            model for model, saved in zip(models, pool.map(save, models), strict=True) if saved
        ]
    opened = LineLM.open(tmp_path / "m")
    assert (opened.order, opened.words) == (written.order, written.words)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("nowhere")])
def test_what_exists_is_never_replaced(make, tmp_path):
    make(tmp_path / "m")
    with pytest.raises(ModelError, match="m exists; name another folder") as caught:
        model_of("abc", 2).save(tmp_path / "m")
    assert caught.value.kind == "input"
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
