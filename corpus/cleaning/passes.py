"""Count the progress of work that goes over the reviews several times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import polars as pl

from reviewlm.corpus.ingestion.parts import part_files

Report = Callable[[int, int], None]
"""Progress callback: reviews done, and reviews in total, where each review counts once in every pass."""


class Passes:
    """A progress counter for work that goes over the reviews several times.

    Args:
        dataset_folder: Holds the parts with the reviews.
        passes: Number of passes over all reviews.
        report: Is told the progress.
    """

    def __init__(
        self,
        dataset_folder: Path,
        passes: int,
        report: Report | None,
    ) -> None:
        scan = pl.scan_parquet(part_files(dataset_folder))
        self.reviews = scan.select(pl.len()).collect().item()
        self.total = passes * self.reviews
        self.before = 0
        self.report = report

    def through(self, frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Yield the frames of the next pass."""
        done = self.before
        for frame in frames:
            yield frame
            done += frame.height
            if self.report:
                self.report(done, self.total)
        self.before += self.reviews

    def count(self, reviews: int) -> None:
        """Count the reviews of the next pass that are done."""
        if self.report:
            self.report(self.before + reviews, self.total)

    def end(self) -> None:
        """End the next pass."""
        self.count(self.reviews)
        self.before += self.reviews
