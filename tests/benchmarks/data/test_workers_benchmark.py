"""The gain of a second worker is that of the stages with parts for workers, round by round."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.data.workers import ONE, TWO, cluster, report_of, with_sums


def test_the_stages_with_parts_for_workers_are_summed_up() -> None:
    table = {"read": 1.0, "ingest": 9.0, "prepare": 2.0, "vocabulary word": 4, "tokens train": 0.5, "tokens test": 0.5}
    assert with_sums(table, 30.04) == table | {"stages with parts for workers": 8.0, "whole command": 30.0}


def test_the_gain_is_the_median_over_the_rounds_and_stages_are_medians() -> None:
    one = [with_sums({"prepare": seconds}, 50.0) for seconds in (10.0, 12.0, 30.0)]
    two = [with_sums({"prepare": seconds}, 40.0) for seconds in (8.0, 6.0, 10.0)]
    table, ratios = report_of({ONE: one, TWO: two})
    assert table["prepare"] == {"one worker, s": 12.0, "two workers, s": 8.0}
    assert table["whole command"] == {"one worker, s": 50.0, "two workers, s": 40.0}
    gain = ratios["workers.speed-up"]
    assert (gain.value, gain.spread, gain.goal) == (2.0, (1.25, 3.0), None)


@pytest.mark.slow
def test_a_cluster_has_so_many_workers_with_a_thread_each_and_is_gone_afterwards(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with cluster(2, tmp_path) as address, distributed.Client(address, timeout=20) as client:
        assert sorted(client.nthreads().values()) == [1, 1]
    with pytest.raises(OSError, match="Timed out"):
        distributed.Client(address, timeout=1)
