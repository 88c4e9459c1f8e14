"""What may go into MLflow, and the journal that comes out of the trainer."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from reviewlm.tracking.runs.publish import read_journal
from reviewlm.tracking.tags import PARAM_LENGTH, flatten, legal_name
from tests.examples import examples


def test_nested_sections_become_dotted_names():
    nested = {
        "data": {"split": {"test": 0.1}},
        "seed": 1,
        "name": "kn5",
        "none": None,
        "on": True,
        "orders": [1, 2],
    }
    assert flatten(nested) == {
        "data.split.test": "0.1",
        "seed": "1",
        "name": "kn5",
        "none": "null",
        "on": "true",
        "orders": "[1, 2]",
    }


def test_a_value_above_the_limit_is_cut_with_its_length():
    value = flatten({"long": "x" * 9000})["long"]
    assert len(value) == PARAM_LENGTH
    assert value.endswith("(shortened, 9000 characters)")


@examples(200)
@given(st.text() | st.text(alphabet="a./@ "))
def test_every_name_becomes_one_that_mlflow_takes(name: str):
    from mlflow.utils.validation import _validate_metric_name

    legal = legal_name(name)
    _validate_metric_name(legal)
    assert len(legal) <= 250


def write(path: Path, *lines: dict[str, object] | str) -> Path:
    text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(text) + "\n")
    return path


def test_a_journal_gives_one_point_per_name_at_each_step(tmp_path: Path):
    journal = write(
        tmp_path / "m",
        {
            "step": 10,
            "train/nats": 2.0,
            "rate": 0.1,
        },
        {"step": 20, "train/nats": 1},
    )
    found = {(point.name, point.step): point.value for point in read_journal(journal)}
    assert found == {
        ("train/nats", 10): 2.0,
        ("rate", 10): 0.1,
        ("train/nats", 20): 1.0,
    }


def test_a_line_torn_by_a_crash_is_skipped(tmp_path: Path):
    journal = write(
        tmp_path / "m",
        '{"step": 1, "a"{"step": 2, "a": 4.0}',
        {"step": 3, "a": 1.0},
        "[1]",
        '{"a": 1}',
    )
    journal.write_text(f'{journal.read_text()}{{"step": 4, "tra')
    assert [point.step for point in read_journal(journal)] == [3]


def test_a_journal_that_is_not_there_yet_has_no_points(tmp_path: Path):
    assert read_journal(tmp_path / "none") == []
