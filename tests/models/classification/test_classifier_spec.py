"""Options of classifiers: what cannot be, and their way through JSON; read without torch and numpy."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from models.classification.spec import (
    CLASSIFIERS,
    BayesSpec,
    LogisticSpec,
    RecurrentClassifierSpec,
    classifier_from_dict,
    identity,
    to_dict,
)
from models.specs import TrainingSpec


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_a_spec_survives_json_and_a_run_fills_in_its_labels(kind):
    spec = CLASSIFIERS[kind][0](kind=kind)
    assert spec.labels == ()
    filled = replace(spec, labels=("1", "2"))
    assert classifier_from_dict(json.loads(json.dumps(to_dict(filled)))) == filled
    assert not {"name", "vocabulary"} & identity(filled).keys()
    assert identity(replace(filled, name="other", vocabulary="bpe")) == identity(filled) != identity(spec)


@pytest.mark.parametrize(
    ("spec", "options", "complaint"),
    [
        (LogisticSpec, {"strengths": ()}, "strengths is .*one or more different numbers, in rising order"),
        (LogisticSpec, {"strengths": (3.0, 1.0)}, "rising order"),
        (LogisticSpec, {"strengths": (0.0,)}, "strengths"),
        (LogisticSpec, {"orders": (2, 1)}, "orders is .*rising order"),
        (LogisticSpec, {"orders": (0,)}, "orders"),
        (LogisticSpec, {"labels": ("a",)}, "at least two different names, or left out"),
        (LogisticSpec, {"labels": ("a", "a")}, "at least two different names"),
        (BayesSpec, {"strengths": (0.0,)}, "strengths"),
        (RecurrentClassifierSpec, {"training": TrainingSpec(schedule="plateau")}, "training.schedule"),
        (RecurrentClassifierSpec, {"training": TrainingSpec(stateful=False)}, "training.stateful"),
        (RecurrentClassifierSpec, {"kind": "transformer"}, "kind"),
        (RecurrentClassifierSpec, {"layer_norm": True}, "layer_norm is True"),
        (RecurrentClassifierSpec, {"rate_decay": 2.0}, "rate_decay is 2.0; it must be left at 2.6.*with start"),
        (RecurrentClassifierSpec, {"unfreeze_epochs": 0.5}, "it only takes effect with start"),
        (RecurrentClassifierSpec, {"start": "lstm-classifier"}, "start is .*another model than itself"),
        (RecurrentClassifierSpec, {"start": "lm", "bidirectional": True}, "bidirectional is True.*false with start"),
        (RecurrentClassifierSpec, {"start": "lm", "unfreeze_epochs": 2.0}, r"below training.epochs / 2"),
        (RecurrentClassifierSpec, {"start": "lm", "training": TrainingSpec(schedule="linear")}, "slanted triangular"),
    ],
)
def test_impossible_options_are_refused(spec, options, complaint):
    with pytest.raises(ValueError, match=complaint):
        spec(**options)
