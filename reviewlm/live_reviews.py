"""Show reviews while they are written: one after another, word by word, broken into lines as finished ones are."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from reviewlm import terminal

MARGIN = "  "


class LiveReviews:
    """Shows reviews that grow side by side, in their order: the next one begins when the one before is whole.

    Args:
        ratings: Rating of each review.
        prompt: The beginning of each.
    """

    def __init__(self, ratings: Sequence[int | None], prompt: str = "") -> None:
        self._ratings = list(ratings)
        self._unseen = [prompt] * len(self._ratings)
        self._ended = [False] * len(self._ratings)
        self._shown = -1
        self._word = ""
        self._column = 0
        self._gap = ""

    def hear(
        self,
        number: int,
        piece: str,
        ended: bool,
    ) -> None:
        """Take the next piece of a review, and show what can be shown.

        Args:
            number: Of the review.
            piece: Text that follows what was heard of it.
            ended: The review is whole.
        """
        self._begin()
        self._unseen[number] += piece
        self._ended[number] |= ended
        while self._shown < len(self._ratings):
            self._write(self._unseen[self._shown])
            self._unseen[self._shown] = ""
            if not self._ended[self._shown]:
                break
            self._finish()
        sys.stdout.flush()

    def close(self) -> None:
        """Show the rest: reviews that have not ended are cut at their longest length."""
        self._begin()
        while self._shown < len(self._ratings):
            self._write(self._unseen[self._shown])
            self._finish()

    def _begin(self) -> None:
        """Show the first heading when something was heard: a request that is refused shows none."""
        if self._shown < 0:
            self._begin_next()

    def _begin_next(self) -> None:
        self._shown += 1
        if self._shown < len(self._ratings):
            terminal.show_rating(self._ratings[self._shown])

    def _finish(self) -> None:
        self._end_line()
        if not self._ended[self._shown]:
            terminal.show_cut()
        self._begin_next()

    def _write(self, text: str) -> None:
        """Show all words but the last, which may go on."""
        for character in text:
            if character == "\n":
                self._end_line()
            elif character == " ":
                self._place_word()
                self._gap += " "
            else:
                self._word += character

    def _place_word(self) -> None:
        if not self._word:
            return

        word = terminal.visible(self._word)
        gap = self._gap
        if self._column and self._column + len(gap) + len(word) > terminal.width():
            self._break_line()

        if not self._column:
            gap = MARGIN

        sys.stdout.write(gap + word)
        self._column += len(gap) + len(word)
        self._word = ""
        self._gap = ""

    def _break_line(self) -> None:
        sys.stdout.write("\n")
        self._column = 0

    def _end_line(self) -> None:
        self._place_word()
        self._break_line()
        self._gap = ""
