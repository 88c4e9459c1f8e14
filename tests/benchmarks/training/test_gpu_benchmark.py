"""The benchmark of a GPU: it is run here on a pretended one, so that its first run on a device is whole."""

import gzip
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import harness
from benchmarks.models.ngram_text import CRAWL
from benchmarks.training import gpu, gpu_updates

ROOT = Path(__file__).resolve().parents[3]
LINES = ["the soup was cold", "the staff was very kind", "we went back for the soup"]


@pytest.fixture
def tiny(monkeypatch):
    """Networks and batches that a processor trains in a moment."""
    of = gpu_updates.spec_of
    monkeypatch.setattr(
        gpu_updates, "spec_of", lambda _, batch, length, *more: of(8, min(batch, 4), min(length, 5), *more)
    )
    monkeypatch.setattr(gpu_updates, "HEAD", 100)
    monkeypatch.setattr(gpu_updates, "WARM", 1)
    monkeypatch.setattr(gpu_updates, "TIMED", 2)
    monkeypatch.setattr(gpu_updates, "PROFILED", 2)


@pytest.fixture
def small(monkeypatch):
    """Little text, and a stand-in for the tests, of which this is one."""
    monkeypatch.setattr(gpu, "TOKENS", 5_000)
    monkeypatch.setattr(gpu, "WORDS", 300)
    monkeypatch.setattr(gpu, "tests", lambda seconds: {"exit code": 0, "seconds": seconds})
    monkeypatch.setattr(gpu, "profile", lambda hidden, batch, stream: {"ms": 1.0})
    monkeypatch.setattr(gpu, "writing", lambda hidden, texts, stream: {"tokens/s": 1})


@pytest.mark.slow
def test_the_table_of_counts_says_where_the_host_waits_and_becomes_a_page(tiny, monkeypatch, tmp_path, capsys):
    outcomes = {"test_here.py::test_one": "passed", "test_here.py::test_other": "skipped"}
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    monkeypatch.setattr(gpu, "tests", lambda seconds: {"exit code": 0, "seconds": seconds, "outcomes": outcomes})
    gpu.main(["--pretended", "--write", "--json"])
    table = json.loads(capsys.readouterr().out.splitlines()[-1])["measurements"]
    ended = table.pop(gpu.TESTS)
    assert ended["exit code"] == 0
    assert 300 < ended["seconds"] < gpu.MOST_SECONDS
    assert list(table) == ["batch 64, window 35", "batch 512, window 70", "batch 512, window 70, GRU by review"]
    for row in table.values():
        assert row["operators"] <= 200 < row["operators before"]
        assert row["waits"] <= 3
        assert "device.py" in row["at"]
    [page] = tmp_path.iterdir()
    assert page.name.endswith("-gpu-pretended.md")
    text = page.read_text(encoding="utf-8")
    assert "| batch 512, window 70 |1,302|" in text
    assert "| `test_here.py::test_other` | skipped |" in text
    assert len(gpu_updates.counted(quick=True)) == 1


@pytest.mark.gpu
def test_speed_is_given_with_its_share_of_the_peak(tiny):
    found = gpu.speed(640, 128, gpu.zipf_text(300, 5_000))
    assert found["tokens/s"] > 0
    assert found["share of peak"] > 0
    assert found["words"] == 300


@pytest.mark.gpu
def test_the_speed_of_reviews_from_a_fresh_state_each_and_of_drawn_texts_is_given(tiny, monkeypatch):
    assert gpu.speed(640, 128, gpu.zipf_text(300, 5_000), False, "gru")["tokens/s"] > 0
    monkeypatch.setattr(gpu_updates, "WRITTEN", 20)
    found = gpu.writing(640, 3, gpu.zipf_text(300, 5_000))
    assert 3 <= found["tokens"] <= 60
    assert found["tokens/s"] > 0


@pytest.mark.gpu
@pytest.mark.needs_real_gpu
def test_a_profile_counts_per_update(tiny, capsys):
    found = gpu.profile(640, 128, gpu.zipf_text(300, 5_000))
    assert {"launches", "copies", "waits", "ms"} == set(found)
    assert "aten::" in capsys.readouterr().err


@pytest.mark.gpu
def test_a_part_that_fails_or_would_begin_too_late_takes_nothing_from_the_others(small, monkeypatch):
    monkeypatch.setattr(gpu, "speed", lambda *given, **options: 1 / 0)
    found = gpu.measured(None)
    assert "ZeroDivisionError" in found["2 × 640, batch 128"]["error"]
    assert found[gpu.TESTS]["exit code"] == 0
    monkeypatch.setattr(gpu, "MOST_SECONDS", 0.0)
    assert {"left out": "no time"} in gpu.measured(None).values()


@pytest.mark.gpu
def test_both_real_texts_are_read_where_they_are_and_not_in_a_quick_run(small, monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "speed", lambda *given, **options: {})
    monkeypatch.setattr(gpu, "speed_of_reviews", lambda hidden, batch, data: {"read": data})
    monkeypatch.setattr(gpu, "treebank", lambda data, until: {"read": data, "seconds": until - time.monotonic()})
    (tmp_path / "ptb_lm_benchmark").mkdir()
    (tmp_path / CRAWL).touch()
    found = gpu.measured(tmp_path)
    assert [name for name, row in found.items() if row.get("read") == tmp_path] == [
        "2 × 640, batch 1024, Chicago reviews", "2 × 1536, batch 512, Chicago reviews",
        "2 × 1536, batch 1024, Chicago reviews", "Penn Treebank",
    ]  # fmt: skip
    assert sum(name.startswith("profile") for name in found) == 2
    assert 300 < found["Penn Treebank"]["seconds"] < gpu.MOST_SECONDS
    quick = gpu.measured(tmp_path, quick=True)
    assert not any("read" in row for row in quick.values())
    assert list(quick)[:2] == ["2 × 640, batch 128", "2 × 1536, batch 1024"]
    assert quick[gpu.TESTS]["seconds"] <= gpu.TEST_SECONDS < gpu.QUICK_SECONDS


@pytest.fixture
def treebank(tmp_path, monkeypatch):
    """A folder with a Penn Treebank of a few lines, and a network for it."""
    folder = tmp_path / "ptb_lm_benchmark"
    folder.mkdir()
    for name, repeats in (("train", 60), ("valid", 10), ("test", 10)):
        (folder / f"{name}.txt.gz").write_bytes(gzip.compress("\n".join(LINES * repeats).encode()))
    training = replace(gpu.TREEBANK.training, epochs=2, batch=4, bptt_len=5, evaluations=1)
    monkeypatch.setattr(gpu, "TREEBANK", replace(gpu.TREEBANK, hidden=8, embedding=8, training=training))
    return tmp_path


@pytest.mark.gpu
def test_penn_treebank_is_trained_and_its_perplexities_are_given(treebank):
    found = gpu.treebank(treebank, time.monotonic() + 1_000)
    assert 1 < found["valid perplexity"] < 15
    assert found["valid perplexity"] == found["test perplexity"]  # the same lines


@pytest.mark.gpu
def test_a_training_ends_when_its_time_is_over(treebank):
    with pytest.raises(TimeoutError, match="tokens when its time was over"):
        gpu.treebank(treebank, time.monotonic() - 1)


# --- the tests of the device


def made_tests(monkeypatch, folder, last):
    path = folder / "test_made.py"
    path.write_text(
        "import time\nimport pytest\npytestmark = pytest.mark.gpu\n"
        "@pytest.mark.parametrize('word', ['a b', 'c|d'])\ndef test_passes(word): pass\n"
        "@pytest.mark.skip(reason='none here')\ndef test_skipped(): pass\n"
        f"def test_last(): {last}\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(gpu, "TESTED", (str(path),))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # pytest begins in half a second


@pytest.mark.slow
def test_each_test_of_the_device_is_named_with_its_outcome(monkeypatch, tmp_path, capsys):
    made_tests(monkeypatch, tmp_path, "assert 1 == 2")
    found = gpu.tests(60.0)
    assert found["exit code"] == 1
    assert found["result"].startswith("1 failed, 2 passed, 1 skipped")
    outcomes = {name.partition("::")[2]: outcome for name, outcome in found["outcomes"].items()}
    assert outcomes == {
        "test_passes[a b]": "passed", "test_passes[c|d]": "passed", "test_skipped": "skipped", "test_last": "failed",
    }  # fmt: skip
    assert "assert 1 == 2" in capsys.readouterr().err
    table = gpu.table_of(found["outcomes"]).splitlines()
    assert table[2].endswith("test_skipped` | skipped |")
    assert table[-1].endswith(r"test_passes[c\|d]` | passed |")


@pytest.mark.slow
def test_a_test_that_hangs_is_ended_and_named(monkeypatch, tmp_path):
    made_tests(monkeypatch, tmp_path, "time.sleep(600)")
    began = time.monotonic()
    found = gpu.tests(8.0)
    assert time.monotonic() - began < 30
    assert found["exit code"] == "ended after 8 s"
    outcomes = {name.partition("::")[2]: outcome for name, outcome in found["outcomes"].items()}
    assert outcomes["test_last"] == "not ended"
    assert outcomes["test_passes[a b]"] == "passed"


def test_all_tests_of_the_device_are_run():
    of_gpu = {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")
        if "pytest.mark." + "gpu" in path.read_text(encoding="utf-8")
    }  # fmt: skip
    assert of_gpu
    assert not [path for path in of_gpu if not path.startswith(gpu.TESTED)]
