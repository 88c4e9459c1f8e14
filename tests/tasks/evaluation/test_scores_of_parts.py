"""The stage "score" of a mixture and its parts: each network reads a text once, and all results are as without that."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from core.config.presets import load_config
from core.config.run_config import RunConfig
from core.store import Artifact, Store
from models.bundles.bundle import save_bundle
from models.mixture.lm import MixtureLM
from models.mixture.parts import Part
from models.mixture.weights import Fixed
from models.neural.lm import NeuralLM, RecurrentLM
from models.specs import MixtureSpec, ModelSpec, NGramSpec, RecurrentSpec, VocabularySpec
from models.streams import TokenStream, write_stream
from models.text.normal_form import NormalForm
from models.tokens.vocabulary import Vocabulary
from tasks.evaluation.evaluate import mixtures_first, observe_bundle, score_bundle
from tasks.fitting.fit import bundle_digest
from tasks.measuring.processes import LEAST_TOKENS, model_processes
from training.context import FitContext
from training.fit import fit_model

TEXTS = [f"The {food} was {word}." for food in ("soup", "bread", "tea") for word in ("good", "bad", "cold", "fine")]
ORDER = ("mix", "kn", "lstm")


@pytest.fixture(autouse=True)
def own_homes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REVIEWLM_HOME", raising=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A vocabulary, its stream, and bundles of a bigram model, a network that learnt nothing, and both mixed."""
    folder = tmp_path_factory.mktemp("made")
    vocabulary = Vocabulary.train(TEXTS, VocabularySpec(min_count=1), NormalForm())
    frame = pl.DataFrame({"review_id": [f"r{n:02d}" for n in range(len(TEXTS))], "text": TEXTS})
    frame = frame.with_columns(stars=pl.lit(5, pl.Int8), bytes=pl.col("text").str.len_bytes() + 1)
    write_stream(folder / "stream", vocabulary, [frame])
    stream = TokenStream.open(folder / "stream")
    kn, lstm = NGramSpec(name="kn", order=2), RecurrentSpec(name="lstm", hidden=8, embedding=8)
    torch.manual_seed(1)
    network = RecurrentLM.build(lstm, torch.ones(vocabulary.size, dtype=torch.int64))
    models: list[tuple[ModelSpec, Any]] = [
        (kn, fit_model(kn, vocabulary, stream, stream, FitContext(folder / "work")).model),
        (lstm, RecurrentLM(lstm, network, vocabulary.size)),
    ]
    for spec, model in models:
        save_bundle(folder / spec.name, spec, vocabulary, model, [], {})
    parts = [Part(spec.name, spec, model, folder / spec.name) for spec, model in models]
    mixture = MixtureLM(parts, Fixed(np.array([0.4, 0.6])))
    digests = {part.name: bundle_digest(folder / part.name) for part in parts}
    save_bundle(
        folder / "mix", MixtureSpec(name="mix", parts=("kn", "lstm")), vocabulary, mixture, [], {"parts": digests}
    )
    return SimpleNamespace(vocabulary=vocabulary, frame=frame, folder=folder)


def home(tmp_path: Path, name: str) -> RunConfig:
    settings = [f"execution.home={tmp_path / name}", "execution.device=cpu", "evaluation.observed_reviews=4"]
    return load_config("demo", settings)


def scored(config: RunConfig, made: SimpleNamespace, beside: Path | None) -> list[Artifact]:
    """Score the mixture and then its parts."""
    tokens = Store.of(config).build(
        "tokens", 1, {}, {}, lambda work: write_stream(work, made.vocabulary, [made.frame])
    ).artifact  # fmt: skip
    return [score_bundle(config, made.folder / name, tokens, name, beside).artifact for name in ORDER]


@pytest.fixture
def positions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of positions in each call of a network's `score` in this process."""
    read: list[int] = []
    score = NeuralLM.score

    def counted(self: NeuralLM, ids_BT: np.ndarray, state: Any) -> Any:
        read.append(ids_BT.size)
        return score(self, ids_BT, state)

    monkeypatch.setattr(NeuralLM, "score", counted)
    return read


def require_equal(found: list[Artifact], expected: list[Artifact]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.digest == other.digest
        assert one.facts | {"score_seconds": 0} == other.facts | {"score_seconds": 0}
        names = {file.name for file in other.folder.iterdir()}
        assert {file.name for file in one.folder.iterdir()} == names
        for name in names - {"manifest.json"}:
            assert (one.folder / name).read_bytes() == (other.folder / name).read_bytes(), name


def test_the_network_of_a_mixture_reads_each_text_once_and_no_result_changes(
    made: SimpleNamespace, tmp_path: Path, positions: list[int]
) -> None:
    apart = scored(home(tmp_path, "apart"), made, None)
    one_pass = len(TEXTS) * 8  # <bos>, stars, five pieces of text, <eos>
    assert positions == [one_pass, one_pass]
    positions.clear()
    together = scored(home(tmp_path, "together"), made, tmp_path / "beside")
    assert positions == [one_pass]
    require_equal(together, apart)


@pytest.mark.slow
def test_processes_hand_the_scores_of_parts_over_too(made: SimpleNamespace, tmp_path: Path) -> None:
    apart, config = scored(home(tmp_path, "apart"), made, None), home(tmp_path, "together")
    with model_processes(config, LEAST_TOKENS):
        together = scored(config, made, beside := tmp_path / "beside")
    require_equal(together, apart)
    assert list(beside.iterdir()) == [], "both parts were taken"


def observed(config: RunConfig, made: SimpleNamespace, shared: Path | None) -> list[Artifact]:
    """Score and observe the mixture and then its parts."""
    scores = scored(config, made, None)
    tokens = Store.of(config).build("tokens", 1, {}, {}, lambda work: {}).artifact
    streams = dict.fromkeys(("train", "validation", "test"), tokens)
    return [
        observe_bundle(config, made.folder / name, streams, score, name, shared).artifact
        for name, score in zip(ORDER, scores, strict=True)
    ]


@pytest.mark.parametrize("works", ["here", pytest.param("in processes", marks=pytest.mark.slow)])
def test_a_mixture_and_its_network_are_observed_with_one_reading(
    made: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: str
) -> None:
    read: list[int] = []
    features = NeuralLM._features
    monkeypatch.setattr(NeuralLM, "_features", lambda self, *more: read.append(1) or features(self, *more))
    apart = observed(home(tmp_path, "apart"), made, None)
    reads, shared = len(read), tmp_path / "shared"
    read.clear()
    config = home(tmp_path, "together")
    with model_processes(config, LEAST_TOKENS if works == "in processes" else 0):
        together = observed(config, made, shared)
    require_equal(together, apart)
    assert [folder.name for folder in shared.iterdir()] == [bundle_digest(made.folder / "lstm")]
    if works == "here":
        scoring = 2  # of the mixture and of its network, which are not shared here
        assert 0 < len(read) - scoring <= (reads - scoring) / 2


def test_mixtures_come_first_and_the_others_keep_their_order() -> None:
    specs = [NGramSpec(name="kn"), MixtureSpec(name="mix", parts=("kn", "lstm")), RecurrentSpec(name="lstm")]
    fitted: Any = [SimpleNamespace(spec=spec) for spec in specs]
    assert [model.spec.name for model in mixtures_first(fitted)] == ["mix", "kn", "lstm"]
