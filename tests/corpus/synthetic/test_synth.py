"""Files of the embedded corpus: same seed same bytes, Yelp's schema, faults at the asked rates."""

import hashlib
import json
import subprocess
import sys
from collections import Counter

import pytest

from reviewlm.corpus.synthetic import synth
from tests.programs import command


@pytest.fixture(autouse=True)
def _small_chunks(request, monkeypatch):
    if "workers" not in request.node.name:
        monkeypatch.setattr(synth, "CHUNK", 100)


def digest_of(file, seed):
    """Write reviews with a seed, and return the digest that the result names."""
    return synth.write_reviews(
        file,
        250,
        seed,
        malformed=0.05,
        duplicates=0.05,
    )["sha256"]


def test_equal_seeds_give_equal_bytes(tmp_path):
    first = digest_of(tmp_path / "a.jsonl", 1)
    assert digest_of(tmp_path / "b.jsonl", 1) == first
    assert hashlib.sha256((tmp_path / "a.jsonl").read_bytes()).hexdigest() == first


def test_other_seeds_give_other_bytes(tmp_path):
    assert digest_of(tmp_path / "a.jsonl", 1) != digest_of(tmp_path / "b.jsonl", 2)


@pytest.mark.slow
def test_bytes_do_not_depend_on_pythons_hash_seed_between_workers_or_runs():
    digests = {
        subprocess.run(
            command("digest_reviews"),
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def malformed_kinds(content):
    """Count the malformed lines of a file by what is wrong with them."""
    found = Counter()
    for line in content.split(b"\n")[:-1]:
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
    return found


def test_malformed_lines_come_at_the_asked_rate(tmp_path):
    facts = synth.write_reviews(tmp_path / "bad", 2_000, 4, malformed=0.1)
    assert facts["malformed"] == pytest.approx(200, abs=4 * 180**0.5)
    assert sum(malformed_kinds((tmp_path / "bad").read_bytes()).values()) == facts["malformed"]


def test_malformed_lines_come_in_every_way(tmp_path):
    synth.write_reviews(tmp_path / "bad", 2_000, 4, malformed=0.1)
    found = malformed_kinds((tmp_path / "bad").read_bytes())
    assert set(found) == set(synth.MALFORMED)
    assert min(found.values()) > 10


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synth.write_reviews(tmp_path / "x.jsonl", 250, 1, report=interrupt)
    assert list(tmp_path.iterdir()) == []
