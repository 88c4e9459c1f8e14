"""The demo has a registered model of its own; what is trained on a user's files never gets its name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.evaluation import DEMO_MODEL, OWN_MODEL


class Asked(Exception):
    """The run has been asked for; it does not take place."""


@pytest.mark.parametrize(("input", "name"), [(["mine.csv"], OWN_MODEL), ([], DEMO_MODEL)])
def test_the_gate_registers_a_model_of_ones_own_files_as_ones_own_although_the_demo_alone_is_champion(
    input: list[str],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Settings are taken from the version that answers as champion, and so was its name."""
    import reviewlm.flows.retrain

    config = load_config("demo").with_input(input).asking(DEMO_MODEL)
    asked: list[RunConfig] = []

    def run(config: RunConfig) -> dict[str, Any]:
        asked.append(config)
        raise Asked

    monkeypatch.setattr(
        reviewlm.flows.retrain,
        "settings_of",
        lambda *given: SimpleNamespace(config=config, version=object()),
    )
    monkeypatch.setattr(reviewlm.flows.retrain, "run_pipeline", run)
    with pytest.raises(Asked):
        reviewlm.flows.retrain.promote_only.fn("", input)

    assert asked[0].promotion.model_name == name
