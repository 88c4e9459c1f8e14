"""The benchmark of quality: a network beside the 5-gram and their mixture, on the same tokens."""

from __future__ import annotations

import math
import multiprocessing
import os
import random
import time
from pathlib import Path

import numpy as np
import pytest

import benchmarks.training.members as members
import benchmarks.training.quality as benchmark
from benchmarks.line_text import LineText
from benchmarks.training.members import perplexities, token_nats, train_side_by_side
from models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
from models.tokens.vocabulary import CONTEXT_IDS

SPEC = RecurrentSpec(
    hidden=16, embedding=16, objective=ObjectiveSpec(head=4), training=TrainingSpec(epochs=2, batch=4, bptt_len=10)
)


def lines() -> LineText:
    words, draw = ["the", "food", "was", "good", "bad", "cold", "and", "service", "slow"], random.Random(3)
    return LineText.of(
        {
            name: [draw.choices(words, k=draw.randint(3, 9)) for _ in range(count)]
            for name, count in (("train", 200), ("valid", 60), ("test", 60))
        }
    )


@pytest.mark.long
def test_network_5_gram_and_mixture_are_compared_on_all_test_tokens(tmp_path: Path) -> None:
    text = lines()
    (model,), numbers = train_side_by_side(text, None, SPEC, tmp_path, members=1, threads=1)
    row = benchmark.beside_kneser_ney(text, model, tmp_path)["test reviews"]
    assert row["tokens"] == text.reviews("test").tokens
    assert row["perplexity lstm"] == pytest.approx(benchmark.fresh_perplexity(model, text.reviews("test")), abs=0.01)
    assert row["perplexity"] <= min(row["perplexity lstm"], row["perplexity kn5"]) * 1.02
    trained = numbers["training of member-1"]["tokens"]
    assert trained == pytest.approx(2 * text.reviews("train").tokens, rel=0.1)


@pytest.mark.long
def test_members_differ_in_their_seeds_alone_and_go_on_where_they_are_done(tmp_path: Path) -> None:
    text = lines()
    models, numbers = train_side_by_side(text, 1, SPEC, tmp_path, members=2, threads=1)
    assert [model.spec.training.seed for model in models] == [SPEC.training.seed, SPEC.training.seed + 1]
    assert numbers["training of member-1"]["train_nats"] != numbers["training of member-2"]["train_nats"]
    stream = text.stream("test", 3)
    again, told = train_side_by_side(text, 1, SPEC, tmp_path, members=2, threads=1)
    assert perplexities(again, stream) == perplexities(models, stream)
    assert "training of all" in numbers
    assert "training of all" not in told, "the seconds of a start that found all done are not those of the training"


@pytest.mark.long
def test_a_training_that_fails_is_named(tmp_path: Path) -> None:
    (tmp_path / "member-2").write_text("where a folder should be")
    with pytest.raises(SystemExit, match="member-2 failed, for the reason above"):
        train_side_by_side(lines(), 1, SPEC, tmp_path, members=2, threads=1)


def test_where_one_is_killed_the_signal_is_told_and_the_others_are_stopped() -> None:
    spawn = multiprocessing.get_context("spawn")
    killed, other = spawn.Process(target=os.abort), spawn.Process(target=time.sleep, args=(300,))
    for process in (killed, other):
        process.start()
    with pytest.raises(SystemExit, match=r"member-1 was killed by signal 6; the same command goes on"):
        members._wait_for({"member-1": killed, "member-2": other})
    assert other.exitcode is not None


class Fixed:
    """A model that says of every token how probable it is."""

    def __init__(self, probability: float) -> None:
        self.nats = -math.log(probability)

    def start(self, batch: int) -> int:
        return batch

    def score(self, ids_BT: np.ndarray, state: int) -> tuple[np.ndarray, int]:
        return np.where(np.isin(ids_BT, sorted(CONTEXT_IDS)), 0.0, self.nats), state


def test_the_mean_of_all_is_that_of_probabilities() -> None:
    stream = lines().stream("test", 3)
    found = perplexities([Fixed(0.5), Fixed(0.125)], stream)  # type: ignore[list-item]
    assert found == {"member 1": 2.0, "member 2": 8.0, "mean of all": 3.2}
    assert len(token_nats(Fixed(0.5), stream)) == stream.tokens  # type: ignore[arg-type]


@pytest.mark.long
def test_nats_in_lanes_are_those_of_each_lane_by_itself_however_they_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = lines()
    (model,), _ = train_side_by_side(text, 1, SPEC, tmp_path, members=1, threads=1)
    stream = text.stream("test", 3)
    alone = [model.score(np.asarray(stream.document(n), np.int64)[None], model.start(1))[0][0, 1:] for n in range(3)]
    assert np.concatenate(alone) == pytest.approx(token_nats(model, stream), abs=1e-5)
    assert perplexities([model], stream)["member 1"] == benchmark.fresh_perplexity(model, stream)
    whole = token_nats(model, stream)
    monkeypatch.setattr(members, "CHUNK", 7)
    assert token_nats(model, stream) == pytest.approx(whole, abs=1e-5)


@pytest.mark.parametrize("name", sorted(benchmark.RECIPES))
def test_every_recipe_has_a_text(name: str) -> None:
    assert benchmark.RECIPES[name].text in benchmark.TEXTS


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ptb", "--data", "no_such_folder"], "must name the folder of the texts, not no_such_folder"),
        (["chicago", "--data", ".", "--members", "2"], "for a text that is read as one"),
        (["ptb", "--data", ".", "--members", "0"], "0 is not above 0"),
        (["ptb", "--data", ".", "--epochs", "-1"], "-1 is not above 0"),
        (["ptb", "--data", ".", "--epochs", "nan"], "nan is not above 0"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_before_any_work(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        benchmark.main([*arguments, "--work", str(tmp_path / "work")])
    assert said in capsys.readouterr().err
    assert not (tmp_path / "work").exists()
