"""Which neural model is meant: by its name, or because there is no other."""

from __future__ import annotations

import pytest

from core.config.presets import parse_config
from core.config.run_config import RunConfig
from core.config.search_space import chosen_model
from core.errors import ConfigError

KINDS = {"kn5": "ngram", "gru": "gru", "nplm": "nplm"}


def config(*names: str) -> RunConfig:
    return parse_config({"models": [{"kind": KINDS[name], "name": name} for name in names], "baseline": names[0]})


@pytest.mark.parametrize(
    ("models", "name", "words", "remedy"),
    [
        (("kn5", "gru", "nplm"), "", "several neural models", "one of gru, nplm"),
        (("kn5", "gru", "nplm"), "kn5", "'kn5' is not trained by gradients", "one of gru, nplm"),
        (("kn5", "gru", "nplm"), "nlpm", "no such model", "did you mean 'nplm'?"),
        (("kn5", "gru", "nplm"), "zzz", "no such model", "one of gru, nplm"),
        (("kn5",), "", "no neural model", "add one"),
    ],
)
def test_another_name_or_none_where_one_is_needed_is_refused(
    models: tuple[str, ...], name: str, words: str, remedy: str
) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        chosen_model(config(*models), name)
    assert remedy in error.value.remedy
