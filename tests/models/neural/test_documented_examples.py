"""Examples in the pages say what really comes out."""

from __future__ import annotations

import doctest
from pathlib import Path

PAGE = Path(__file__).resolve().parents[3] / "docs" / "concepts" / "models" / "training.md"


def test_the_worked_example_of_automatic_differentiation_gives_27_and_4_and_a_half() -> None:
    text = PAGE.read_text(encoding="utf-8")
    example = doctest.DocTestParser().get_doctest(text, {}, PAGE.name, str(PAGE), 0)
    outcome = doctest.DocTestRunner(verbose=False).run(example)
    assert (outcome.failed, outcome.attempted) == (0, 8)
    wanted = [one.want for one in example.examples if one.want]
    assert wanted[0] == "27.0\n"
    assert wanted[1].count("4.5000") == 4
