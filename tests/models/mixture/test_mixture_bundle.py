"""Mixtures from options to bundles: what is refused, what is kept, and that nothing else is needed to open them."""

from __future__ import annotations

import pytest

from models.base import ModelError
from models.mixture.lm import MixtureLM
from models.specs import MixtureSpec


@pytest.mark.parametrize("damage", ["{", '{"format": 9}', "[]"])
def test_damaged_weights_are_reported(damage, tmp_path):
    (tmp_path / "mixture.json").write_text(damage)
    with pytest.raises(ModelError, match=r"mixture\.json"):
        MixtureLM.load(tmp_path, MixtureSpec(parts=("a", "b")), None)  # type: ignore[arg-type]
