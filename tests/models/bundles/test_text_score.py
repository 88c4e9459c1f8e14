"""A scored text shows its figures, the one to compare by first."""

from __future__ import annotations

from reviewlm.models.bundles.text_scores import TextScore


def test_a_scored_text_shows_its_open_bits_per_byte() -> None:
    score = TextScore(
        2,
        4,
        1.0,
        0,
        [("a", 0.5), ("b", 0.5)],
        spelling_nats=1.0,
    )
    assert f"open_bits_per_byte={score.open_bits_per_byte:.4f}" in repr(score)
