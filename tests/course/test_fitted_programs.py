"""The programs that fit models: what is the same in all trials, and a run of each that takes a second."""

from __future__ import annotations

import sys
from importlib import import_module

import pytest
import torch

from reviewlm.course.inputs import learnt_and_held_out, program
from reviewlm.models.neural.architectures import RecurrentNetwork
from tests.marked_cases import long_but

PROGRAMS = {
    "words.ngram_methods": "--reviews 60",
    "context.state_carry": "--reviews 60",
    "context.context_use": "--reviews 250 --tokens 20",
    "optimization.lr_find": "--reviews 120",
    "words.brown_clusters": "--reviews 60 --clusters 5",
    "words.word_laws": "--reviews 60",
    "context.gradient_flow": "--hidden 8 --distances 5",
    "optimization.optimizers": "--reviews 60 --rules adamw --epochs 0.5",
    "optimization.scaling": "--reviews 120 --epochs 4",
    "memory.toy": "recall --lag 3 --networks gru --updates 3",
    "networks.forecast": "--epochs 1",
    "context.probes": "--reviews 60",
    "context.dynamic_evaluation": "--reviews 60",
}
QUICK = {
    "words.brown_clusters",
    "context.gradient_flow",
    "words.ngram_methods",
    "memory.toy",
    "words.word_laws",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", long_but(list(PROGRAMS), QUICK))
def test_every_program_shows_a_table(
    name,
    monkeypatch,
    capsys,
):
    monkeypatch.setattr(sys, "argv", [name, *PROGRAMS[name].split()])
    threads, forward = set(), RecurrentNetwork.forward

    def counted(
        network,
        ids_BT,
        state,
    ):
        threads.add(torch.get_num_threads())
        return forward(network, ids_BT, state)

    monkeypatch.setattr(RecurrentNetwork, "forward", counted)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        import_module(f"reviewlm.course.{name}").main()
    finally:
        torch.set_num_threads(before)
    assert len(capsys.readouterr().out.splitlines()) > 2
    assert threads <= {1}, "networks this small only wait for further threads"


@pytest.fixture
def six_lines(tmp_path):
    """Options of a program that asks for more reviews than its file has."""
    (tmp_path / "text").write_text("a\n\nb\nc\nd\ne")
    return program("", reviews=5).parse_args(["--text", str(tmp_path / "text")])


def test_a_program_names_a_number_of_reviews_that_fits_the_file(six_lines):
    with pytest.raises(SystemExit, match="--reviews 2 "):
        learnt_and_held_out(six_lines)


def test_a_program_keeps_its_number_of_reviews(six_lines, capsys):
    six_lines.reviews = 2
    parts = [part["text"].to_list() for part in learnt_and_held_out(six_lines)]
    assert parts == [["a", "b"], ["c", "d"]]
    assert "first 4 of 5" in capsys.readouterr().err
