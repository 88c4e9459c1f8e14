"""What may go into MLflow, and the journal that comes out of the trainer."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.specs import NGramSpec, RecurrentSpec
from tests.examples import examples
from tracking.runs.params import PARAM_LENGTH, flatten, legal_name, shorten
from tracking.runs.publish import read_journal


def test_nested_sections_become_dotted_names():
    nested = {"data": {"split": {"test": 0.1}}, "seed": 1, "name": "kn5", "none": None, "on": True, "orders": [1, 2]}
    assert flatten(nested) == {
        "data.split.test": "0.1", "seed": "1", "name": "kn5", "none": "null", "on": "true", "orders": "[1, 2]",
    }


def test_lists_of_sections_and_dataclasses_are_opened():
    flat = flatten({"models": [RecurrentSpec(hidden=7), NGramSpec(order=3)]})
    assert flat["models.0.hidden"] == "7"
    assert flat["models.0.training.batch"] == "20"
    assert flat["models.1.order"] == "3"


def test_empty_sections_are_kept_visible():
    assert flatten({"a": {}, "b": []}) == {"a": "{}", "b": "[]"}


def test_a_value_above_the_limit_is_cut_and_says_so():
    value = flatten({"long": "x" * 9000})["long"]
    assert len(value) == PARAM_LENGTH
    assert value.endswith("(shortened, 9000 characters)")


def test_a_value_at_the_limit_is_left_alone():
    assert shorten("x" * 100, 100) == "x" * 100


@examples(200)
@given(st.text() | st.text(alphabet="a./@ "))
def test_every_name_becomes_one_that_mlflow_takes(name: str):
    from mlflow.utils.validation import _validate_metric_name

    legal = legal_name(name)
    _validate_metric_name(legal)
    assert len(legal) <= 250


def test_hits_at_k_stay_readable():
    assert legal_name("hit@3") == "hit_at_3"


@dataclass
class Unknown:
    where: Path = field(default_factory=lambda: Path("a/b"))


def test_values_that_json_does_not_know_are_written_as_text():
    assert flatten({"x": Unknown()}) == {"x.where": '"a/b"'}


def write(path: Path, *lines: dict[str, object] | str) -> Path:
    text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(text) + "\n")
    return path


def test_a_journal_gives_one_point_per_name_and_step(tmp_path: Path):
    journal = write(tmp_path / "m", {"step": 10, "train/nats": 2.0, "rate": 0.1}, {"step": 20, "train/nats": 1})
    found = {(point.name, point.step): point.value for point in read_journal(journal)}
    assert found == {("curves/train_nats", 10): 2.0, ("rate", 10): 0.1, ("curves/train_nats", 20): 1.0}


def test_a_step_written_again_after_a_resume_counts_once_with_its_last_value(tmp_path: Path):
    journal = write(tmp_path / "m", {"step": 1, "a": 5.0}, {"step": 2, "a": 4.0}, {"step": 2, "a": 3.0})
    assert [(point.step, point.value) for point in read_journal(journal)] == [(1, 5.0), (2, 3.0)]


def test_a_line_still_being_written_waits_for_the_next_call(tmp_path: Path):
    journal = write(tmp_path / "m", {"step": 1, "a": 5.0})
    with journal.open("a") as file:
        file.write('{"step": 2, "a": 4.')
    assert [point.step for point in read_journal(journal)] == [1]


def test_a_line_torn_by_a_crash_is_skipped_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    journal = write(tmp_path / "m", '{"step": 1, "a"{"step": 2, "a": 4.0}', {"step": 3, "a": 1.0}, "[1]", '{"a": 1}')
    assert [point.step for point in read_journal(journal)] == [3]
    assert caplog.text.count("is not a journal entry") == 3


def test_words_and_flags_in_a_journal_are_no_metrics_but_infinities_are(tmp_path: Path):
    journal = write(tmp_path / "m", '{"step": 1, "note": "hot", "done": true, "time": 12.5, "a": Infinity, "b": NaN}')
    points = {point.name: point for point in read_journal(journal)}
    assert set(points) == {"a", "b"}
    assert points["a"].value == math.inf
    assert points["a"].time == 12.5


def test_a_journal_that_is_not_there_yet_has_no_points(tmp_path: Path):
    assert read_journal(tmp_path / "none") == []
