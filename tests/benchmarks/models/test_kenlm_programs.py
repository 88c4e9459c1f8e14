"""The benchmarks against KenLM: what they find and do without, and how both sides fit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.models.kenlm_programs import kenlm_fit, parsed, parser
from benchmarks.models.ngram_text import CRAWL


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with reviews, named on the command line; nothing names KenLM."""
    (tmp_path / CRAWL).touch()
    monkeypatch.setattr(sys, "argv", ["benchmark", "--data", str(tmp_path), "--orders", "2,4"])
    for name in ("REVIEWLM_KENLM_BIN", "REVIEWLM_KENLM_PYTHON", "REVIEWLM_REAL_DATA"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_what_is_absent_of_kenlm_is_said(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = parsed(parser("", (3, 5)))
    assert args is not None
    assert (args.data, args.orders, args.kenlm, args.module) == (data, (2, 4), None, None)
    said = "".join(capsys.readouterr())
    assert "no lmplz in REVIEWLM_KENLM_BIN" in said
    assert "REVIEWLM_KENLM_PYTHON names no Python" in said


def test_kenlm_and_the_reviews_are_found_by_the_environment_alone(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "lmplz").touch()
    for name in ("REVIEWLM_KENLM_BIN", "REVIEWLM_REAL_DATA"):
        monkeypatch.setenv(name, str(data))
    monkeypatch.setenv("REVIEWLM_KENLM_PYTHON", "python-with-kenlm")
    monkeypatch.setattr(sys, "argv", ["benchmark"])
    args = parsed(parser("", (3, 5)))
    assert args is not None
    assert (args.data, args.orders, args.kenlm, args.module) == (data, (3, 5), data, "python-with-kenlm")
    assert "".join(capsys.readouterr()) == ""


def test_without_reviews_nothing_is_measured(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / CRAWL).unlink()
    assert parsed(parser("", (3, 5))) is None
    assert CRAWL in "".join(capsys.readouterr())


def test_the_lean_contender_writes_no_binary_and_the_others_say_which(tmp_path: Path) -> None:
    lean = kenlm_fit(Path("bin"), tmp_path, Path("text"), 3, "512M", None)[-1]
    assert "-S 512M" in lean
    assert "build_binary" not in lean
    trie = kenlm_fit(Path("bin"), tmp_path, Path("text"), 3, "4G", "trie")[-1]
    assert "-S 4G" in trie
    assert trie.endswith(f"trie /dev/stdin {tmp_path / '3.trie'}")
