"""The benchmark beside word_language_model: what its table holds."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import benchmarks.training.train as benchmark
from benchmarks.line_text import LineText

LINES = LineText.of({"train": [["a", "b"], ["b", "c"]], "valid": [["a", "b"]], "test": [["b", "c"]]})


def peer(
    peers: Path, text: Path, seconds: int, onednn: bool, flags: tuple[str, ...] = benchmark.DEFAULTS
) -> list[dict[str, float]]:
    assert sorted(path.name for path in text.iterdir()) == ["test.txt", "train.txt", "valid.txt"]
    tok_s = int(flags[-1]) / 2
    perplexity = 40.0 if "--tied" in flags else 50.0 if onednn else 80.0
    return [{"valid_ppl": perplexity, "train_s": 90.0, "tokens": 900.0, "tok_s": tok_s}]


def ours(lines: LineText, target: float, budgets: Any, name: str) -> dict[str, Any]:
    return {"perplexity": target, "rate": budgets[0][0].training.learning_rate, "cpu_s": 6.0 if target > 60 else 9.0}


def test_each_peer_stands_beside_the_run_of_ours_that_reached_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "peer", peer)
    monkeypatch.setattr(benchmark, "time_to", ours)
    rows, ratios = benchmark.compare(LINES, "kaggle", Path(), long=False, kinds=["plain", "onednn"])
    for kind, perplexity in (("plain", 80.0), ("onednn", 50.0)):
        assert rows[f"kaggle: word_language_model, {kind}"]["perplexity"] == perplexity
        assert rows[f"kaggle: ours, to the perplexity of word_language_model, {kind}"]["perplexity"] == perplexity
    assert {name: ratio.value for name, ratio in ratios.items()} == {
        "train.kaggle.short.plain": 15.0, "train.kaggle.short.onednn": 10.0,
    }  # fmt: skip


def test_both_sides_are_judged_on_lines_that_neither_was_tuned_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def peer_of_test(peers: Path, text: Path, *rest: Any) -> list[dict[str, float]]:
        assert (text / "valid.txt").read_text() == "b c\n", "the driver scores valid.txt"
        return peer(peers, text, 90, False)

    monkeypatch.setattr(benchmark, "peer", peer_of_test)
    monkeypatch.setattr(benchmark, "time_to", ours)
    assert benchmark.compare(LINES, "kaggle", Path(), long=False, kinds=["plain"])[1]


def test_a_tuned_peer_runs_with_its_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "peer", peer)
    monkeypatch.setattr(benchmark, "time_to", ours)
    monkeypatch.setattr(benchmark, "TUNED", {False: {"kaggle": ("--tied", "--lr", "10")}, True: {}})
    rows, _ = benchmark.compare(LINES, "kaggle", Path(), long=False, kinds=["tuned"])
    their = rows["kaggle: word_language_model, tuned"]
    assert (their["perplexity"], their["flags"]) == (40.0, "--tied --lr 10")
    assert not benchmark.compare(LINES, "kaggle", Path(), long=True, kinds=["tuned"])[0], "not tuned for 15 minutes"


def test_the_longer_time_has_a_recipe_of_its_own_and_one_kind_of_peer_may_be_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(benchmark, "peer", peer)
    monkeypatch.setattr(benchmark, "time_to", ours)
    rows, ratios = benchmark.compare(LINES, "kaggle", Path(), long=True, kinds=["plain"])
    rate = rows["kaggle: ours, to the perplexity of word_language_model, plain"]["rate"]
    assert rate == benchmark.LONG.training.learning_rate < benchmark.SHORT.training.learning_rate
    assert [*ratios] == ["train.kaggle.long.plain"]


def test_a_perplexity_that_no_budget_reaches_is_no_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "peer", peer)
    found = SimpleNamespace(result={"perplexity": 90.0, "cpu_s": 1.0})
    monkeypatch.setattr(benchmark, "measure", lambda what, threads: found)
    rows, ratios = benchmark.compare(LINES, "kaggle", Path(), long=False, kinds=["plain"])
    assert {ratio.value for ratio in ratios.values()} == {0.0}
    own = rows["kaggle: ours, to the perplexity of word_language_model, plain"]
    recipe, epochs = benchmark.BUDGETS[False]["kaggle"][-1]
    assert (own["epochs"], own["rate"]) == (epochs, recipe.training.learning_rate)
    assert own["reached"] is False


def test_speeds_stand_beside_the_peer_s_own_batch_and_the_same_and_beside_the_peak(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(lines: LineText, hidden: int, batch: int, threads: int, seconds: float) -> dict[str, float]:
        return {"tokens_per_cpu_s": batch / 1.25 * 200 / hidden, "tokens": 100.0 * threads, "wall_s": 10.0 + threads}

    monkeypatch.setattr(benchmark, "peer", peer)
    monkeypatch.setattr(benchmark, "comparable", run)
    monkeypatch.setattr(benchmark, "gemm_peak", lambda threads: 1e-3)
    monkeypatch.setattr(benchmark, "measure", lambda what, threads: SimpleNamespace(result=what()))
    rows, ratios = benchmark._speed(LINES, "kaggle", Path(), {"tokens_per_cpu_s": 10.0})
    for batch in benchmark.BATCHES:
        assert rows[f"kaggle: word_language_model, plain, batch {batch}"] == {"tokens_per_cpu_s": batch / 2}
        assert ratios[f"train.kaggle.tokens_per_core.{batch}"].value == round(batch / 12.5, 2)
        assert ratios[f"train.kaggle.tokens_per_core.{batch}.same_batch"].value == 1.6
        assert ratios[f"train.kaggle.two_threads.{batch}"].value == round(2 * 11 / 12, 2)
        # Three words are fewer than the head holds: nothing is left for the tail.
        per_token = 6 * (2 * 8 * 640**2 + 640 * (1_000 + 1 + 0 * (LINES.size - 1_000)))
        expected = per_token * batch / 1.25 * 200 / 640 / 1e9 / 1e-3
        assert ratios[f"train.kaggle.peak_share.640.{batch}"].value == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("long", [False, True])
def test_budgets_grow_and_their_rates_fall(long: bool) -> None:
    for tried in benchmark.BUDGETS[long].values():
        passes, rates = zip(*[(epochs, recipe.training.learning_rate) for recipe, epochs in tried], strict=True)
        assert [*passes] == sorted(set(passes))
        assert [*rates] == sorted(rates, reverse=True)
