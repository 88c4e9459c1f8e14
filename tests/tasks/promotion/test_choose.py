"""Which model of a run is tried: the best on validation that the gate need not refuse before it has seen a score."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.errors import BundleError, TrackingUnavailable
from reviewlm.evaluation.gate.decision import Decision
from reviewlm.evaluation.gate.evidence import Leaks
from reviewlm.evaluation.gate.language import adaptation_wanted
from reviewlm.models.specs import MixtureSpec, VocabularySpec
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.vocabulary import FILE, Vocabulary
from reviewlm.tasks.promotion.choose import choose_challenger, passed_over
from reviewlm.training.vocabularies.learn import learn_vocabulary

TEXTS = ["The Soup was good.", "the soup was cold."]
PREPARED: Any = SimpleNamespace(clean=None)


class Run:
    """Models of a run by name: bits per byte on validation, and bundles."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.models = folder, list[Any]()
        self.champion: Path | None = None
        self.stained: set[Path] = set()
        choose = "reviewlm.tasks.promotion.choose"
        monkeypatch.setattr(
            f"{choose}.figures_of_artifact", lambda bits: SimpleNamespace(open_bits_per_byte=bits)
        )
        learnt = lambda config, clean, bundle: Leaks(bundle not in self.stained, "it learnt r7")  # noqa: E731
        monkeypatch.setattr(f"{choose}.look_back", learnt)
        registry = SimpleNamespace(
            alias=lambda name: self.champion and "v1", bundle_folder=self._champion
        )
        monkeypatch.setattr("reviewlm.tasks.promotion.choose.registry_of", lambda *asked: registry)

    def _champion(self, version: str) -> Path | None:
        if self.champion and not self.champion.is_dir():
            raise BundleError("gone")
        return self.champion

    def bundle(
        self,
        name: str,
        other: bool = False,
        megabytes: float = 0.0,
    ) -> Path:
        """A bundle; the text that an *other* one learnt from was cleaned in another way."""
        bundle = self.folder / name
        bundle.mkdir()
        vocabulary = learn_vocabulary(
            TEXTS, VocabularySpec(min_count=1), NormalForm(mask_personal_data=not other)
        )
        vocabulary.save(bundle / FILE)
        (bundle / "spec.json").write_text(json.dumps({"name": name}))
        (bundle / "weights").write_bytes(bytes(int(megabytes * 1e6)))
        return bundle

    def model(
        self,
        name: str,
        bits: float,
        adaptation: str = "static",
        parts: tuple[str, ...] = (),
        **how: Any,
    ) -> Path:
        bundle, test = self.bundle(name, **how), SimpleNamespace(facts={"adaptation": adaptation})
        fitted = SimpleNamespace(bundle=bundle, spec=MixtureSpec(parts=parts) if parts else None)
        self.models.append(
            SimpleNamespace(
                name=name,
                validation=bits,
                fitted=fitted,
                test=test,
            )
        )
        return bundle

    def chosen(self, *overrides: str) -> Any:
        config = load_config("small", list(overrides))
        evaluated: Any = SimpleNamespace(models=tuple(self.models))
        return choose_challenger.fn(config.workspace, config.promotion, PREPARED, evaluated)

    def notes(
        self,
        challenger: Any,
        champion: Path | None,
        *overrides: str,
        refused: dict[str, str] | None = None,
    ) -> tuple[str, ...]:
        evaluated: Any = SimpleNamespace(models=tuple(self.models))
        form = Vocabulary.load(champion / FILE).normal_form if champion else None
        config = load_config("small", list(overrides))
        return passed_over(
            config.promotion,
            config.home,
            PREPARED,
            evaluated,
            challenger,
            form,
            refused or {},
        )


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(tmp_path, monkeypatch)


def test_the_best_on_validation_is_tried_before_models_with_infinite_figures(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    run.model("mle", math.inf)
    run.model("nan", math.nan)
    run.model("kn5", 2.1)
    run.model("lstm", 1.9)
    with caplog.at_level(logging.INFO):
        assert run.chosen().name == "lstm"
    assert caplog.messages == ["challenger is 'lstm', place 1 of 4 on validation"]
    assert run.notes(run.models[3], None) == ()


def test_a_model_that_the_gate_refused_before_the_baseline_is_named_with_the_reason(
    run: Run,
) -> None:
    run.model("kn5", 2.1)
    run.model("lstm", 1.9)
    [note] = run.notes(run.models[0], None, refused={"lstm": "refused as version 3"})
    assert note == "'lstm', better on validation: refused as version 3"


def test_a_model_of_text_that_was_cleaned_in_another_way_is_passed_over(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    run.champion = run.bundle("champion")
    run.model("other", 1.8, other=True)
    run.model("honest", 1.9)
    with caplog.at_level(logging.INFO):
        assert run.chosen().name == "honest"
    assert "'other' is passed over: the section 'clean' has changed" in caplog.text
    assert caplog.messages[-1] == "challenger is 'honest', place 2 of 2 on validation"
    [note] = run.notes(run.models[1], run.champion)
    assert note.startswith("'other', better on validation: the section 'clean' has changed")
    assert run.chosen("promotion.allow_other_reading=true").name == "other"


def test_without_a_champion_or_with_a_lost_one_no_reading_is_unfair(
    run: Run, tmp_path: Path
) -> None:
    run.model("other", 1.8, other=True)
    run.model("honest", 1.9)
    assert run.chosen().name == "other"
    run.champion = tmp_path / "lost"
    assert run.chosen().name == "other"
    run.champion = run.bundle("damaged")
    (run.champion / FILE).write_text("{")
    assert run.chosen().name == "other"


def test_a_model_that_adapts_is_tried_only_where_the_policy_says_so(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run.model("lstm+cache", 1.7, adaptation="continuous cache")
    run.model("kn5+cache", 1.8, adaptation="cache")
    run.model("lstm", 1.9)
    assert run.chosen().name == "lstm"
    assert caplog.messages == [
        f"passed over: 'lstm+cache', 'kn5+cache'; {adaptation_wanted('static')}",
        "challenger is 'lstm', place 3 of 3 on validation",
    ]
    notes = run.notes(run.models[2], None)
    assert [note.split("'")[1] for note in notes] == ["lstm+cache", "kn5+cache"]
    adapts = "it adapts to the text that it is measured on (continuous cache)"
    assert f"{adapts}; {adaptation_wanted('static')}" in notes[0]
    assert run.chosen("promotion.adaptation=cache").name == "kn5+cache"
    assert run.chosen("promotion.adaptation=any").name == "lstm+cache"


def test_a_model_whose_start_weights_know_test_reviews_is_passed_over(run: Run) -> None:
    run.stained.add(run.model("warm", 1.8))
    run.model("fresh", 1.9)
    assert run.chosen().name == "fresh"
    assert run.notes(run.models[1], None) == ("'warm', better on validation: it learnt r7",)


def test_a_mixture_is_tried_where_it_saves_enough_bits_of_its_best_part(run: Run) -> None:
    run.model("kn5", 2.2)
    run.model("lstm", 2.0)
    run.model("both", 1.985, parts=("kn5", "lstm"))  # 0.75 % below the best part
    assert run.chosen().name == "lstm"
    assert "must save 1.00% (promotion.min_mixture_gain)" in run.notes(run.models[1], None)[0]
    assert run.chosen("promotion.min_mixture_gain=0.007").name == "both"
    run.models[2].validation = 1.979  # 1.05 %
    assert run.chosen().name == "both"


def test_where_none_may_pass_the_best_is_tried_so_that_the_gate_says_why(run: Run) -> None:
    run.model("larger", 1.9, megabytes=3.0)
    run.model("large", 1.8, megabytes=2.0)
    assert run.chosen("promotion.max_megabytes=1").name == "large"
    assert run.notes(run.models[1], None, "promotion.max_megabytes=1") == ()


NOTED = Decision(
    False,
    "no",
    (),
    "bits",
    "new",
    None,
    "t",
    {},
    passed_over=("'a' is too large",),
)


def test_the_note_stands_in_the_decision() -> None:
    assert "- passed over: 'a' is too large" in NOTED.to_markdown()
    assert Decision.from_json(NOTED.to_json()) == NOTED


def test_older_decisions_are_read_without_a_note() -> None:
    old = json.loads(NOTED.to_json())
    del old["passed_over"]
    assert Decision.from_json(json.dumps(old)).passed_over == ()


def test_a_registry_that_is_away_is_asked_again() -> None:
    from prefect.states import Failed

    assert choose_challenger.retries == 2
    again: Any = choose_challenger.retry_condition_fn
    assert again(
        choose_challenger, None, Failed(data=TrackingUnavailable("MLflow cannot be reached"))
    )
