"""Champion and challenger as the gate finds them: scored anew from what is registered, gone, damaged or exchanged."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.errors import Damaged
from reviewlm.core.store import Artifact
from reviewlm.models.tokens.vocabulary import FILE as VOCABULARY_FILE
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.tasks.evaluation.evaluate import score_bundle
from reviewlm.tasks.fitting.fit import bundle_digest
from reviewlm.tasks.promotion.champion import score_challenger, score_champion
from reviewlm.tasks.promotion.language import LanguageModels, score_now
from reviewlm.tracking.logged_models.bundles import bundle_in
from reviewlm.tracking.tags import BUNDLE_TAG
from tests.tracking.tiny_model import TEXTS, fitted


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A token stream of test reviews, and bundles of a bigram and a trigram model."""
    folder = tmp_path_factory.mktemp("made")
    bundles = {order: fitted(folder / f"kn{order}", order) for order in (2, 3)}
    vocabulary = Vocabulary.load(bundles[2] / VOCABULARY_FILE)
    return SimpleNamespace(
        stream=folder / "kn2" / "stream",
        vocabulary=vocabulary,
        bundles=bundles,
    )


class Shelf:
    """A registry whose versions are folders."""

    def __init__(self, folder: Path, tags: dict[str, str]) -> None:
        self.folder, self.tags = folder, tags

    def alias(self, name: str) -> Any:
        return SimpleNamespace(version=4, tags=self.tags)

    def bundle_folder(self, version: Any) -> Path:
        found = bundle_in(SimpleNamespace(uri="sqlite:///"), str(self.folder))  # type: ignore[arg-type]
        assert found is not None
        return found


@dataclass
class Bench:
    """A home folder, a champion on the shelf (the bigram), and a challenger of this run (the trigram)."""

    config: RunConfig
    prepared: Any
    challenger: Any
    shelf: Path

    @property
    def registered(self) -> Path:
        return self.shelf / "artifacts" / "bundle"

    def champion(self) -> Any:
        return score_champion.fn(self.family)

    @property
    def family(self) -> LanguageModels:
        return LanguageModels(self.config, self.prepared, None, self.challenger)

    def tokens(self) -> Artifact:
        return self.prepared.tokens["word"]["test"]

    def damage(self, name: str = "") -> None:
        """Change one byte of a file, of the largest array where none is named."""
        arrays = [
            path for path in self.registered.rglob("*") if path.is_file() and path.suffix != ".json"
        ]
        file = self.registered / name if name else max(arrays, key=lambda path: path.stat().st_size)
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)


@pytest.fixture
def bench(
    made: SimpleNamespace,
    own_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Bench:
    shelf = tmp_path / "shelf"
    shutil.copytree(made.bundles[2], shelf / "artifacts" / "bundle")
    tags = {BUNDLE_TAG: bundle_digest(made.bundles[2])}
    monkeypatch.setattr(
        "reviewlm.tasks.promotion.champion.registry_of", lambda *asked: Shelf(shelf, tags)
    )
    config = load_config("small", ["execution.device=cpu"])
    tokens = Artifact("tokens", "t1", str(made.stream), {"facts": {}})
    vocabulary = Artifact(
        "vocabulary", "v1", "", {"facts": {"vocabulary_digest": made.vocabulary.digest}}
    )
    prepared = SimpleNamespace(vocabularies={"word": vocabulary}, tokens={"word": {"test": tokens}})
    test = score_bundle(
        config.workspace,
        config.evaluation,
        made.bundles[3],
        tokens,
        "kn3",
    ).artifact
    fitted = SimpleNamespace(
        bundle=made.bundles[3], spec=SimpleNamespace(vocabulary="word", name="kn3")
    )
    return Bench(
        config,
        prepared,
        SimpleNamespace(
            fitted=fitted,
            test=test,
            name="kn3",
            fresh=False,
        ),
        shelf,
    )


def test_the_scores_of_a_champion_are_the_same_from_the_store(bench: Bench) -> None:
    first, again = bench.champion(), bench.champion()
    for champion in (first, again):
        assert champion.scored.problem == ""
        assert champion.scored.departure == 0.0
        assert champion.scored.digest == bundle_digest(bench.registered)
    assert first.scored.rows.equals(again.scored.rows)


@pytest.mark.parametrize("file", ["", "vocabulary.json"])
def test_a_champion_that_was_damaged_after_it_was_scored_is_noticed(
    bench: Bench, file: str
) -> None:
    """Its scores are in the store, but it is the bundle that is served."""
    digest = bench.champion().scored.digest
    bench.damage(file)
    champion = bench.champion()
    assert champion.scored.rows is None
    assert champion.scored.digest == digest
    assert champion.scored.problem.startswith("the champion, version 4, cannot be measured: ")


def test_a_champion_whose_files_are_gone_is_no_error_but_a_finding(bench: Bench) -> None:
    shutil.rmtree(bench.registered)
    champion = bench.champion()
    assert (champion.folder, champion.scored.rows) == (None, None)
    assert "holds no bundle" in champion.scored.problem
    assert "its files were deleted" in champion.scored.problem


def test_the_challenger_is_scored_from_what_was_registered(
    bench: Bench, made: SimpleNamespace
) -> None:
    shutil.rmtree(bench.registered)
    shutil.copytree(made.bundles[3], bench.registered)
    scored = score_challenger.fn(bench.family, 5)
    assert (scored.departure, scored.problem) == (0.0, "")
    bench.damage()
    broken = score_challenger.fn(bench.family, 5)
    assert broken.departure is None
    assert broken.problem.startswith("the registered challenger, version 5, cannot be measured: ")
    assert broken.rows.equals(scored.rows), "the stored scores, for the tables"
    shutil.rmtree(bench.registered)
    gone = score_challenger.fn(bench.family, 5)
    assert "holds no bundle" in gone.problem


def test_a_challenger_scored_in_this_run_is_opened_but_not_scored_again(
    bench: Bench,
    made: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.rmtree(bench.registered)
    shutil.copytree(made.bundles[3], bench.registered)
    monkeypatch.setattr("reviewlm.tasks.promotion.language.score_stream", None)
    bench.challenger.fresh = True
    scored = score_challenger.fn(bench.family, 5)
    assert (scored.departure, scored.problem, len(scored.rows)) == (0.0, "", len(TEXTS))
    bench.damage()
    broken = score_challenger.fn(bench.family, 5)
    assert broken.problem.startswith("the registered challenger, version 5, cannot be measured: ")
    file = bench.challenger.test.folder / "scores.parquet"
    pl.read_parquet(file).with_columns(pl.col("nats") * 0.8).write_parquet(file)
    with pytest.raises(Damaged):
        score_challenger.fn(bench.family, 5)


def test_scores_that_were_written_to_the_store_by_hand_differ_from_those_of_now(
    bench: Bench, tmp_path: Path
) -> None:
    folder = tmp_path / "forged"
    folder.mkdir()
    rows = pl.read_parquet(bench.challenger.test.folder / "scores.parquet")
    rows.with_columns(pl.col("nats") * 0.8).write_parquet(folder / "scores.parquet")
    forged = Artifact("score", "f", str(folder), {"facts": bench.challenger.test.facts})
    scored = score_now(
        bench.config.execution,
        bench.challenger.fitted.bundle,
        bench.tokens(),
        forged,
        "kn3",
    )
    assert scored.departure == pytest.approx(0.25)
    assert scored.rows["nats"].to_list() == pytest.approx(rows["nats"].to_list())
