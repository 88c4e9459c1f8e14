"""Files of the embedded corpus: same seed same bytes, Yelp's schema, faults at the asked rates."""

import hashlib
import json
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime
from multiprocessing import active_children, get_context

import pytest

from core.errors import ConfigError, NotWritable
from corpus.synthetic import synth

FIELDS = ["review_id", "user_id", "business_id", "stars", "useful", "funny", "cool", "text", "date"]


@pytest.fixture(autouse=True)
def _small_chunks(request, monkeypatch):
    if "workers" not in request.node.name:
        monkeypatch.setattr(synth, "CHUNK", 100)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    path = tmp_path_factory.mktemp("synth") / "reviews.jsonl"
    synth.write_reviews(path, 1_000, seed=3)
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_lines_have_the_schema_of_yelps_open_dataset(clean):
    assert len(clean) == 1_000
    for review in clean:
        assert list(review) == FIELDS
        assert all(len(review[name]) == 22 for name in ("review_id", "user_id", "business_id"))
        assert isinstance(review["stars"], float)
        assert review["stars"] in (1, 2, 3, 4, 5)
        assert min(review["useful"], review["funny"], review["cool"]) >= 0
        assert 2015 <= datetime.strptime(review["date"], "%Y-%m-%d %H:%M:%S").year <= 2022
    assert len({review["review_id"] for review in clean}) == 1_000


def test_dates_become_denser_and_few_businesses_have_many_reviews(clean):
    years = Counter(review["date"][:4] for review in clean)
    assert sorted(years) == [str(year) for year in range(2015, 2023)]
    assert years["2022"] > 1.5 * years["2015"]
    businesses = [count for _, count in Counter(review["business_id"] for review in clean).most_common()]
    assert businesses[0] >= 8
    assert sum(count == 1 for count in businesses) > len(businesses) / 3


def test_equal_seeds_give_equal_bytes_and_other_seeds_other_ones(tmp_path):
    digests = [
        synth.write_reviews(tmp_path / f"{name}.jsonl", 250, seed, malformed=0.05, duplicates=0.05)["sha256"]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert digests[0] == digests[1] != digests[2]
    assert hashlib.sha256((tmp_path / "a.jsonl").read_bytes()).hexdigest() == digests[0]


@pytest.mark.long
def test_bytes_do_not_depend_on_workers(tmp_path, monkeypatch):
    monkeypatch.setattr(synth, "CHUNK", 2_000)
    facts = [synth.write_reviews(tmp_path / f"{n}.jsonl", 8_010, 5, 0.01, 0.01, workers=n) for n in (1, 2)]
    assert facts[0] == facts[1]


@pytest.mark.slow
def test_bytes_do_not_depend_on_pythons_hash_seed_between_workers_or_runs():
    code = "from corpus.synthetic.synth import make_chunk; import hashlib; "
    code += "print(hashlib.sha256(make_chunk(0, 50, 1)[0]).hexdigest())"
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            check=True, capture_output=True, text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_a_longer_file_begins_with_the_whole_chunks_of_a_shorter_one(tmp_path):
    synth.write_reviews(tmp_path / "short", 200, 1)
    synth.write_reviews(tmp_path / "long", 300, 1)
    assert (tmp_path / "long").read_bytes().startswith((tmp_path / "short").read_bytes())


def test_malformed_lines_come_at_the_asked_rate_and_in_every_way(tmp_path):
    facts = synth.write_reviews(tmp_path / "bad", 2_000, 4, malformed=0.1)
    assert facts["malformed"] == pytest.approx(200, abs=4 * 180**0.5)
    found = Counter()
    for line in (tmp_path / "bad").read_bytes().split(b"\n")[:-1]:
        try:
            review = json.loads(line.decode())
        except UnicodeDecodeError:
            found["invalid UTF-8"] += 1
        except ValueError:
            found["not an object" if line.startswith(b"502") else "truncated"] += 1
        else:
            found["stars in words"] += isinstance(review["stars"], str)
            found["no text"] += "text" not in review
            found["empty text"] += review.get("text") == ""
    assert sum(found.values()) == facts["malformed"]
    assert set(found) == set(synth.MALFORMED)
    assert min(found.values()) > 10


def test_duplicates_come_at_the_asked_rate_half_of_them_under_a_new_id(tmp_path):
    facts = synth.write_reviews(tmp_path / "twice", 2_000, 4, duplicates=0.1)
    rows = [json.loads(line) for line in (tmp_path / "twice").read_bytes().splitlines()]
    assert facts["duplicates"] == pytest.approx(200, abs=4 * 180**0.5)
    assert 2_000 - len({row["text"] for row in rows}) >= facts["duplicates"]
    repeated = 2_000 - len({row["review_id"] for row in rows})
    assert repeated == pytest.approx(facts["duplicates"] / 2, abs=40)


def test_progress_is_reported_and_no_partial_file_stays(tmp_path):
    seen = []
    synth.write_reviews(tmp_path / "deep" / "x.jsonl", 250, 1, report=lambda done, total: seen.append((done, total)))
    assert seen == [(100, 250), (200, 250), (250, 250)]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x.jsonl"]


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synth.write_reviews(tmp_path / "x.jsonl", 250, 1, report=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"reviews": 0}, {"malformed": 0.6}, {"duplicates": -0.1}, {"workers": 0}])
def test_numbers_out_of_range_are_refused(tmp_path, wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        synth.write_reviews(tmp_path / "x", **{"reviews": 10, "seed": 1, **wrong})


def test_a_disk_that_cannot_be_written_is_said_in_words(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("core.output.tempfile.TemporaryFile", refuse)
    with pytest.raises(NotWritable):
        synth.write_reviews(tmp_path / "x", 10, 1)


@pytest.mark.long
def test_a_caller_that_stops_early_ends_the_workers_of_its_own_pool_alone() -> None:
    other = get_context("spawn").Process(target=time.sleep, args=(600,))
    other.start()
    try:
        chunks = synth._chunks(20 * synth.CHUNK, seed=1, malformed=0.0, duplicates=0.0, workers=2)
        next(chunks)
        assert len(active_children()) == 3
        chunks.close()
        assert active_children() == [other]
    finally:
        other.kill()
        other.join()
