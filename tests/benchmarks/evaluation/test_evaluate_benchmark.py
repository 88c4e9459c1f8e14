"""The benchmark of the score stage: both sides score the same tokens, and a repeated stream is a stream."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import benchmarks.evaluation.evaluate as benchmark
from benchmarks.small_text import prepare
from evaluation.scoring.score import score_stream
from models.bundles.bundle import load_bundle
from models.streams import TokenStream


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark")
    prepare(folder, None, 40, held_out=2)
    benchmark.fit(folder)
    benchmark.repeat(folder, 3)
    return folder


@pytest.mark.parametrize(("kind", "name"), [("ngram", "repeated"), ("lstm", "validation")])
def test_stage_and_bare_loop_score_the_tokens_of_one_stream(folder: Path, kind: str, name: str) -> None:
    ours, bare = benchmark.stage(folder, kind, name), benchmark.forward(folder, kind, name)
    assert ours["tokens"] == bare["tokens"] == TokenStream.open(folder / name).tokens
    assert ours["pass_cpu_s"] > 0 < bare["pass_cpu_s"]


def test_a_repeated_stream_has_the_reviews_so_many_times_over(folder: Path) -> None:
    bundle = load_bundle(folder / "ngram")
    once, thrice = (score_stream(bundle, TokenStream.open(folder / name)) for name in ("validation", "repeated"))
    assert len(once) == 20
    np.testing.assert_allclose(thrice["nats"], np.tile(once["nats"], 3), rtol=1e-12)


def test_a_stage_that_takes_a_tenth_longer_meets_the_goal() -> None:
    bare = [{"pass_cpu_s": seconds} for seconds in (1.0, 1.0, 2.0)]
    ours = [{"pass_cpu_s": seconds} for seconds in (1.1, 1.0, 4.0)]
    found = benchmark.ratio_of(ours, bare, "ngram")
    assert (found.value, found.spread, found.goal) == (0.909, (0.5, 1.0), 0.9)
