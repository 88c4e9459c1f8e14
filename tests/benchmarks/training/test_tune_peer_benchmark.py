"""The search for the peer's flags: what is drawn, and how often."""

from __future__ import annotations

from random import Random
from threading import Lock

import pytest

import benchmarks.training.tune_peer as benchmark
from benchmarks.training.train import DEFAULTS

KNOWN = (
    "--model", "LSTM", "--nlayers", "1", "--emsize", "200", "--nhid", "200", "--batch_size", "20", "--bptt", "15",
    "--dropout", "0.1", "--tied", "--use-optimizer", "--lr", "0.0046", "--clip", "0.5",
)  # fmt: skip


def values(flags: tuple[str, ...]) -> dict[str, str]:
    return {flag: flags[i + 1] for i, flag in enumerate(flags[:-1]) if flag.startswith("--")}


def test_a_search_in_the_full_ranges_begins_with_the_defaults_and_the_guess() -> None:
    drawn = benchmark.drawn_flags(40, None)
    assert drawn[:2] == [DEFAULTS, benchmark.GUESS]
    assert len(set(drawn)) == 40


def test_a_search_near_known_flags_begins_with_them_and_tries_no_flags_twice() -> None:
    drawn = benchmark.drawn_flags(40, KNOWN)
    assert drawn[0] == KNOWN
    assert len(set(drawn)) == 40


@pytest.mark.parametrize("seed", range(20))
def test_flags_near_others_differ_by_one_step_and_a_factor_of_two_at_most(seed: int) -> None:
    near, given = values(benchmark.flags_near(Random(seed), KNOWN)), values(KNOWN)
    assert near.keys() == given.keys()
    assert 0.5 <= float(near["--lr"]) / float(given["--lr"]) <= 2.0
    assert near["--emsize"] == near["--nhid"], "tied weights need equal sizes"
    assert near["--nhid"] in ("160", "200", "256")
    assert near["--batch_size"] in ("16", "20", "24")
    assert near["--bptt"] in ("12", "15", "20")
    assert near["--nlayers"] == given["--nlayers"]


def test_a_size_at_the_end_of_its_range_stays_inside() -> None:
    least = tuple("8" if before in ("--batch_size", "--bptt") else word for before, word in
                  zip(("", *KNOWN), KNOWN, strict=False))  # fmt: skip
    drawn = {values(benchmark.flags_near(Random(seed), least))["--bptt"] for seed in range(30)}
    assert drawn == {"8", "10"}


@pytest.mark.parametrize("seed", range(20))
def test_flags_for_longer_than_known_ones_have_more_dropout_and_at_most_their_rate(seed: int) -> None:
    drawn, given = values(benchmark.flags_near(Random(seed), KNOWN, longer=True)), values(KNOWN)
    assert 0.25 <= float(drawn["--lr"]) / float(given["--lr"]) <= 1.0
    assert 0.1 <= float(drawn["--dropout"]) <= 0.5
    assert 200 <= int(drawn["--nhid"]) == int(drawn["--emsize"]) <= 400


def test_the_search_for_15_minutes_starts_from_the_flags_for_90_seconds_until_others_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(benchmark, "TUNED", {False: {"kaggle": KNOWN}, True: {}})
    assert benchmark._tuned("kaggle", 900) == (KNOWN, True)
    assert benchmark._tuned("kaggle", 90) == (KNOWN, False)
    monkeypatch.setattr(benchmark, "TUNED", {False: {"kaggle": KNOWN}, True: {"kaggle": DEFAULTS}})
    assert benchmark._tuned("kaggle", 900) == (DEFAULTS, False)


def test_complete_trials_rank_before_stopped_and_failed_ones() -> None:
    rows = {("a",): {"failed": True}, ("b",): {"valid_ppl": 90.0, "ended": True}, ("c",): {"valid_ppl": 170.0},
            ("d",): {"valid_ppl": 160.0}, ("e",): {"valid_ppl": float("nan")}}  # fmt: skip
    assert [flags for flags, _ in sorted(rows.items(), key=benchmark._rank)] == [("d",), ("c",), ("e",), ("b",), ("a",)]


PEER = """
import json, time
for at, perplexity in ((15.1, 500.0), (150.2, 200.0), (210.0, 90.0), (900.0, 80.0)):
    print("MARK " + json.dumps({"train_s": at, "valid_ppl": perplexity}), flush=True)
"""


@pytest.mark.parametrize(
    ("best", "expected"),
    [
        ({15.0: 100.0, 150.0: 199.0}, {"train_s": 900.0, "valid_ppl": 80.0}),
        ({150.0: 100.0}, {"train_s": 150.2, "valid_ppl": 200.0, "ended": True}),
    ],
    ids=["behind in the first sixth only", "behind after a sixth"],
)
def test_a_trial_is_stopped_that_is_far_behind_after_a_sixth_of_its_time(tmp_path, best, expected) -> None:
    (tmp_path / "wlm_driver.py").write_text(PEER, encoding="utf-8")
    assert benchmark.trial(tmp_path, tmp_path, 900, (), best, Lock()) == expected
