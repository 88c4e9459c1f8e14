"""Reviews that are shown while they grow look as whole ones do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm import terminal
from reviewlm.live_reviews import LiveReviews
from tests.examples import examples

WORDS = st.sampled_from(["the", "food", "was", "extraordinarily", "good.", "…", "a-b", "x"])
TEXTS = st.lists(st.lists(st.lists(WORDS, max_size=12), min_size=1, max_size=3), max_size=3)
"""Reviews as paragraphs of words."""


@given(TEXTS, st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9)), max_size=200), st.data())
@examples(200)
def test_reviews_in_any_pieces_look_as_whole_ones(
    texts: list[list[list[str]]],
    turns: list[tuple[int, int]],
    data: st.DataObject,
) -> None:
    whole = ["\n".join(" ".join(words) for words in text) for text in texts]
    ended = [data.draw(st.booleans()) for _ in whole]
    ratings = [data.draw(st.sampled_from([0, 3, 5])) for _ in whole]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "24")
        lines: list[str] = []
        patch.setattr("sys.stdout.write", lines.append, raising=False)
        for rating, text, is_whole in zip(ratings, whole, ended, strict=True):
            terminal.show_review(rating, text, is_whole)
        expected = "".join(lines)
        lines.clear()
        live = LiveReviews(ratings)
        left = list(whole)
        for number, length in turns:
            if number < len(left) and left[number]:
                piece, left[number] = left[number][:length], left[number][length:]
                live.hear(number, piece, ended[number] and not left[number])
        for number, rest in enumerate(left):
            live.hear(number, rest, ended[number])
        live.close()
        assert "".join(lines) == expected
        assert expected.count("★") == sum(ratings)


def test_no_heading_stands_above_a_review_that_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    live = LiveReviews([4])
    assert capsys.readouterr().out == ""
    live.hear(0, "fine", True)
    assert "★" in capsys.readouterr().out
