"""Files of the embedded corpus: same seed same bytes, Yelp's schema, faults at the asked rates."""

import hashlib
import json
import subprocess
import sys
from collections import Counter

import pytest

from reviewlm.corpus.synthetic import synth


@pytest.fixture(autouse=True)
def _small_chunks(request, monkeypatch):
    if "workers" not in request.node.name:
        monkeypatch.setattr(synth, "CHUNK", 100)


def test_equal_seeds_give_equal_bytes_and_other_seeds_other_ones(tmp_path):
    digests = [
        synth.write_reviews(tmp_path / f"{name}.jsonl", 250, seed, malformed=0.05, duplicates=0.05)[
            "sha256"
        ]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert digests[0] == digests[1] != digests[2]
    assert hashlib.sha256((tmp_path / "a.jsonl").read_bytes()).hexdigest() == digests[0]


@pytest.mark.slow
def test_bytes_do_not_depend_on_pythons_hash_seed_between_workers_or_runs():
    code = "from reviewlm.corpus.synthetic.synth import make_chunk; import hashlib; "
    code += "print(hashlib.sha256(make_chunk(0, 50, 1)[0]).hexdigest())"
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


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


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synth.write_reviews(tmp_path / "x.jsonl", 250, 1, report=interrupt)
    assert list(tmp_path.iterdir()) == []
