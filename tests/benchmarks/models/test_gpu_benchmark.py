"""The benchmark of a GPU: it is run here on a pretended one, so that its first run on a device is whole."""

import pytest

from benchmarks import gpu


@pytest.fixture
def tiny(monkeypatch):
    """Networks and batches that a processor trains in a moment."""
    of = gpu.spec_of
    monkeypatch.setattr(gpu, "spec_of", lambda _, batch, length, *more: of(8, min(batch, 4), min(length, 5), *more))
    monkeypatch.setattr(gpu, "HEAD", 100)
    monkeypatch.setattr(gpu, "WARM", 1)
    monkeypatch.setattr(gpu, "TIMED", 2)
    monkeypatch.setattr(gpu, "PROFILED", 2)


@pytest.mark.slow
def test_the_table_of_counts_says_where_the_host_waits(tiny):
    table = gpu.counted()
    assert len(table) == 2
    for row in table.values():
        assert row["operators"] <= 200
        assert row["waits"] <= 3
        assert "device.py" in row["at"]


@pytest.mark.gpu
def test_speed_is_given_with_its_share_of_the_peak(tiny):
    found = gpu.speed(640, 128, gpu.zipf_text(300, 5_000))
    assert found["tokens/s"] > 0
    assert found["share of peak"] > 0


@pytest.mark.gpu
@pytest.mark.needs_real_gpu
def test_a_profile_counts_per_update(tiny, capsys):
    found = gpu.profile(gpu.zipf_text(300, 5_000))
    assert {"launches", "copies", "waits", "ms"} == set(found)
    assert "aten::" in capsys.readouterr().err


@pytest.mark.gpu
def test_a_part_that_fails_or_would_begin_too_late_takes_nothing_from_the_others(tiny, monkeypatch):
    monkeypatch.setattr(gpu, "TOKENS", 5_000)
    monkeypatch.setattr(gpu, "WORDS", 300)
    monkeypatch.setattr(gpu, "tests", lambda: {"exit code": 0})
    monkeypatch.setattr(gpu, "profile", lambda stream: {"ms": 1.0})
    monkeypatch.setattr(gpu, "speed", lambda *given, **options: 1 / 0)
    found = gpu.measured(None)
    assert "ZeroDivisionError" in found["2 × 640, batch 128"]["error"]
    assert found["tests marked gpu"]["exit code"] == 0
    monkeypatch.setattr(gpu, "MOST_SECONDS", 0.0)
    assert {"left out": "no time"} in gpu.measured(None).values()
