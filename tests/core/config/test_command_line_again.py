"""A configuration can be had again by a command line, or none is given."""

from __future__ import annotations

import shlex
from itertools import pairwise

import pytest

from core.config.presets import command_line, load_config
from core.errors import without_password


def parsed(line):
    """Preset, input and overrides of a command line."""
    words = shlex.split(line)
    values = list(pairwise(words))
    return tuple([value for option, value in values if option == wanted] for wanted in ("--preset", "--input", "--set"))


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["seed=7"],
        ["models.5.training.learning_rate=1e-6", 'source.licence="Yelp\'s, for study"', "split.by=user"],
        ["models.5.training.clip=none", "promotion.max_latency_ms=none"],
        ["selection.languages=[\"en\", \"fr\"]", "clean.mask_personal_data=false", "vocabulary.word.size=500"],
        ['source.licence="It was $5, Caf\u00e9 \\"Uno\\""'],
    ],
)
def test_the_command_line_gives_the_same_configuration(overrides):
    config = load_config("demo", overrides)
    (preset,), given, sets = parsed(command_line(config))
    assert (preset, given) == ("demo", [])
    assert load_config("demo", sets) == config


def test_passwords_of_addresses_are_masked():
    text = '"tracking_uri": "postgresql://reviewer:s3cret@db.example:5432/mlflow", "other": "http://host:80/a@b"'
    assert without_password(text) == text.replace(":s3cret@", ":***@")
