"""Where a fit begins that is to start from a champion which is lost: fresh, with the reason, and the run goes on."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.errors import BundleError, TrackingUnavailable
from reviewlm.core.store import Artifact, Store, sha256_of
from reviewlm.models.specs import RecurrentSpec, TrainingSpec, identity, to_dict
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.vocabulary import FILE, Vocabulary
from reviewlm.tasks.fitting.warm_start import (
    INPUT,
    Start,
    champion_vocabulary,
    starting_point,
    warn_of_unknown,
)
from reviewlm.training.vocabularies.learn import learn_vocabulary

SPEC = RecurrentSpec(
    hidden=8,
    embedding=4,
    training=TrainingSpec(start="champion"),
)


class Champion:
    """Version 3 of a registry: an LSTM, of which nothing but its files matters here."""

    def __init__(self, folder: Path, vocabulary: Vocabulary) -> None:
        self.folder, self.weights, self.spec = (
            folder,
            folder / "weights.safetensors",
            folder / "spec.json",
        )
        folder.mkdir()
        vocabulary.save(folder / FILE)
        self.weights.write_bytes(b"1 2 3")
        told = {
            "vocabulary_digest": vocabulary.digest,
            "spec": to_dict(SPEC),
            "learnt_from": ["june", "may"],
        }
        files = {path.name: sha256_of(path) for path in folder.iterdir()}
        self.spec.write_text(json.dumps({**told, "files": files}))

    def alias(self, name: str) -> Any:
        return SimpleNamespace(version=3)

    def bundle_folder(self, version: Any) -> Path:
        if not self.spec.is_file():
            raise BundleError(
                "The registered version holds no bundle", cause="its files were deleted"
            )
        return self.folder


@pytest.fixture
def vocabulary() -> Vocabulary:
    return learn_vocabulary(
        ["the soup was good"] * 3, load_config("small").vocabulary["word"], NormalForm()
    )


@pytest.fixture
def champion(
    own_home: Path,
    tmp_path: Path,
    vocabulary: Vocabulary,
    monkeypatch: pytest.MonkeyPatch,
) -> Champion:
    champion = Champion(tmp_path / "bundle", vocabulary)
    monkeypatch.setattr("reviewlm.tasks.fitting.warm_start.registry_of", lambda *asked: champion)
    return champion


def begin(vocabulary: Vocabulary, settings: Sequence[str] = ()) -> Start:
    artifact = Artifact("vocabulary", "v1", "", {"facts": {"vocabulary_digest": vocabulary.digest}})
    config = load_config("small", list(settings))
    return starting_point(
        config.workspace,
        config.promotion,
        SPEC,
        artifact,
        {},
    )


def kept() -> Path | None:
    config = load_config("small")
    return champion_vocabulary(
        config.model_copy(update={"models": (replace(SPEC, vocabulary="word"),)}), "word"
    )


def test_a_whole_champion_is_started_from(champion: Champion, vocabulary: Vocabulary) -> None:
    start = begin(vocabulary)
    past = {"learnt_from": ["june", "may"], "word_vectors": []}
    assert start == Start(
        champion.folder, sha256_of(champion.weights), "from the weights of champion v3", past
    )
    assert kept() == champion.folder / FILE


def stored_fit(champion: Champion, inputs: dict[str, str]) -> None:
    """Put the fit that made the champion's weights into the store."""

    def make(work: Path) -> dict[str, Any]:
        (work / "bundle").mkdir()
        shutil.copy(champion.weights, work / "bundle")
        return {}

    Store.of(load_config("small").home).build(
        "fit",
        1,
        identity(SPEC),
        inputs,
        make,
    )


@pytest.mark.parametrize(
    ("start", "rebuild", "again"),
    [
        ("", [], True),
        ("", ["fit"], True),
        ("earlier weights", [], True),
        ("earlier weights", ["fit"], False),
    ],
)
def test_the_fit_that_made_the_champion_is_found_again_unless_its_start_weights_would_be_needed(
    champion: Champion,
    vocabulary: Vocabulary,
    start: str,
    rebuild: list[str],
    again: bool,
) -> None:
    """They are not kept: a rebuilt fit would begin from fresh weights under a digest that names others."""
    stored_fit(champion, {INPUT: start} if start else {})
    found = begin(vocabulary, [f"execution.rebuild={json.dumps(rebuild)}"])
    assert found.folder == (None if again else champion.folder)
    assert found.digest == (start if again else sha256_of(champion.weights))


LOSSES: dict[str, Callable[[Champion], object]] = {
    "The registered version holds no bundle; its files were deleted": lambda lost: shutil.rmtree(
        lost.folder
    ),
    "cannot be read as a bundle": lambda lost: lost.spec.write_text("{"),
    "lacks its file weights.safetensors": lambda lost: lost.weights.unlink(),
    "is damaged: its SHA-256 is": lambda lost: lost.weights.write_bytes(b"1 2 4"),
}


@pytest.mark.parametrize("said", LOSSES)
def test_of_a_lost_champion_the_fit_starts_fresh(
    champion: Champion,
    vocabulary: Vocabulary,
    said: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    LOSSES[said](champion)
    with caplog.at_level(logging.WARNING):
        start = begin(vocabulary)
    assert (start.folder, start.digest) == (None, "")
    assert start.note.startswith("fresh: champion v3 is lost: ")
    assert said in start.note
    [fit] = caplog.messages
    assert "starts from fresh weights, not from the champion's: champion v3 is lost" in fit


@pytest.mark.parametrize("said", LOSSES)
def test_of_a_lost_champion_the_vocabulary_is_learnt_anew(
    champion: Champion,
    said: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    LOSSES[said](champion)
    with caplog.at_level(logging.WARNING):
        assert kept() is None
    [words] = caplog.messages
    assert words.startswith("vocabulary 'word' is learnt again: champion v3 is lost: ")
    assert said in words


def test_a_vocabulary_that_cannot_be_read_is_not_kept(champion: Champion) -> None:
    (champion.folder / FILE).unlink()
    assert kept() is None


def test_a_registry_that_is_away_is_no_lost_champion(
    champion: Champion,
    vocabulary: Vocabulary,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(version: Any) -> Path:
        raise TrackingUnavailable("MLflow cannot be reached")

    monkeypatch.setattr(champion, "bundle_folder", away)
    with pytest.raises(TrackingUnavailable):
        begin(vocabulary)
    with pytest.raises(TrackingUnavailable):
        kept()


@pytest.mark.parametrize(
    ("unknown", "per_word", "level"),
    [
        (0.03, 1.2, logging.WARNING),
        (0.02, 1.3, logging.WARNING),
        (0.021, 1.21, logging.INFO),
    ],
)
def test_a_kept_vocabulary_that_lacks_more_of_the_new_text_than_of_the_old_is_a_warning(
    champion: Champion,
    unknown: float,
    per_word: float,
    level: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    facts = json.loads(champion.spec.read_text()) | {
        "training_text": {"oov_share": 0.02, "fertility": 1.2}
    }
    champion.spec.write_text(json.dumps(facts))
    new = {
        "oov": 31,
        "oov_share": unknown,
        "fertility": per_word,
    }
    with caplog.at_level(logging.INFO):
        warn_of_unknown(
            "word", champion.folder / FILE, Artifact("tokens", "t1", "", {"facts": new})
        )
    assert caplog.records[-1].levelno == level
    assert "31 tokens" in caplog.text
