"""The fuzzer: what it found before stays mended, and it finds nothing new."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.fuzz.__main__ import unpack
from benchmarks.fuzz.targets import TARGETS, outcome
from benchmarks.fuzz.worker import do

CASES = Path(__file__).parent / "fuzz_cases"
FOUND = sorted(path.name for path in CASES.iterdir())
FEW = 12


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_once_stays_mended(tmp_path, name):
    """Each zip is a finding as the fuzzer saved it; its `finding.txt` says what it ended in then."""
    unpack(CASES / name, tmp_path / "case")
    target = name.partition("-")[0]
    assert outcome(target, tmp_path / "case", tmp_path / "work").split()[0] in ("read", "refused")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.slow
def test_a_few_cases_of_every_kind_end_as_they_should(tmp_path, target):
    for seed in range(FEW):
        answer = do(
            {
                "target": target,
                "seed": seed,
                "folder": str(tmp_path),
            }
        )
        assert "error" not in answer, f"{target} {seed}: {answer['error']}"
