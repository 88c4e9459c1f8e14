"""The gate's intervals are computed once for the same numbers, and are what would be computed again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.config.presets import parse_config
from core.errors import NotWritable, ReviewLMError, StoreFull
from evaluation.statistics.studentised import Ratio, studentised_intervals
from tasks.promotion.language import digest_of, kept_intervals

OPTIONS = {"confidence": 0.95, "resamples": 100, "seed": 3}
DRAW = np.random.default_rng(5)
RATIO = Ratio(DRAW.gamma(2, 30, 40), DRAW.gamma(2, 40, 40), DRAW.integers(20, 200, 40).astype(float), unseen=0.5)


@pytest.mark.parametrize("ratio", [RATIO, replace(RATIO, groups_D=np.zeros(40, np.int64))])
def test_a_kept_interval_equals_the_computed_one_to_the_bit(own_home: Path, ratio: Ratio) -> None:
    """The second ratio has one group, so the ends of its interval are no numbers."""
    config = parse_config({})
    computed = studentised_intervals([ratio], **OPTIONS)  # type: ignore[arg-type]
    for _ in range(2):
        assert repr(kept_intervals(config, [ratio], **OPTIONS)) == repr(computed)


def test_equal_numbers_are_not_drawn_again_and_others_are(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse_config({})
    first = kept_intervals(config, [RATIO], **OPTIONS)
    with monkeypatch.context() as patched:
        patched.setattr("tasks.promotion.language.studentised_intervals", None)  # not to be called
        equal = replace(RATIO, numerator_D=RATIO.numerator_D.copy())
        assert kept_intervals(config, [equal], **OPTIONS) == first
        for other in (OPTIONS | {"seed": 4}, OPTIONS | {"confidence": 0.9}):
            with pytest.raises(TypeError):
                kept_intervals(config, [RATIO], **other)


@pytest.mark.parametrize("error", [StoreFull, NotWritable])
def test_the_gate_decides_with_a_store_that_cannot_be_written_to(
    own_home: Path, error: type[ReviewLMError], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise error("No space is left on the disk")

    monkeypatch.setattr("core.store.publish", refuse)
    found = kept_intervals(parse_config({}), [RATIO], **OPTIONS)
    assert repr(found) == repr(studentised_intervals([RATIO], **OPTIONS))  # type: ignore[arg-type]
    assert "not kept for the next decision: No space is left on the disk" in caplog.text


def test_a_model_compared_with_itself_leaves_no_result(own_home: Path) -> None:
    """It is compared with itself for the first time in the run that changes nothing, which must build nothing."""
    same = replace(RATIO, denominator_D=RATIO.numerator_D)
    found = kept_intervals(parse_config({}), [same], **OPTIONS)
    assert repr(found) == repr(studentised_intervals([same], **OPTIONS))  # type: ignore[arg-type]
    assert not list(own_home.rglob("gate-interval"))


def test_every_number_of_a_ratio_counts_with_its_last_bit() -> None:
    moved = RATIO.numerator_D.copy()
    moved[7] = np.nextafter(moved[7], np.inf)
    groups_D = np.arange(40)
    others = [
        replace(RATIO, numerator_D=moved), replace(RATIO, denominator_D=moved), replace(RATIO, bytes_D=moved),
        replace(RATIO, unseen=np.nextafter(0.5, 1)), replace(RATIO, groups_D=groups_D),
        replace(RATIO, groups_D=groups_D[::-1]),
    ]  # fmt: skip
    assert len({digest_of(one) for one in [RATIO, *others]}) == 7
