"""Options of classifiers and taggers: what cannot be, what has no part."""

from dataclasses import replace

import pytest

from models.neural.labelling.spec import OF_STREAMS, TaggingSpec
from tests.models.neural.labelling.made_labels import TRAINING

OTHER_VALUES = {
    "bptt_len": 10, "bptt_grad_len": 60, "state_reset_prob": 0.5, "random_window": True, "stateful": False,
    "activation_penalty": 1.0, "temporal_penalty": 1.0,
    "start": "champion", "optimizer": "nt_asgd",
    "schedule": "plateau",
}  # fmt: skip


@pytest.mark.parametrize("name", [*OF_STREAMS, "optimizer", "schedule"])
def test_options_of_the_recipe_that_have_no_part_here_are_refused(name):
    with pytest.raises(ValueError, match=rf"training\.{name} is .*it must be"):
        TaggingSpec(labels=("so", "la"), training=replace(TRAINING, **{name: OTHER_VALUES[name]}))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"labels": ()}, "at least two different names"),
        ({"labels": ("a", "a")}, "at least two different names"),
        ({"kind": "transformer"}, "one of rnn, gru, lstm"),
        ({"hidden": 0}, "hidden is 0"),
        ({"dropout": 1.0}, r"dropout is 1.0; it must be in \[0, 1\)"),
        ({"form": "cho"}, "form is 'cho'"),
        ({"layer_norm": True}, "layer_norm is True"),
        ({"forget_bias": 2.0, "kind": "gru"}, "forget_bias is 2.0"),
        ({"recurrent_start": "identity"}, "recurrent_start is 'identity'"),
    ],
)
def test_impossible_options_are_refused(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        TaggingSpec(**{"labels": ("so", "la"), **options})
